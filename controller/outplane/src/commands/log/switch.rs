//! Packets straight from a switch. It sends them to its primary controller and to nobody else, so this command becomes
//! that, if nobody else is, and says so.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use outplane_compiler::compile::segment_ids;
use outplane_compiler::numbers::Numbers;
use outplane_compiler::state::Desired;
use outplane_driver_p4runtime::ClientProblem;
use outplane_driver_p4runtime::{Connection, Options, PacketIn, Primacy, Problem};
use outplane_intent::model::Intent;
use outplane_rmdp_node::packets::{Resolved, frame, tags};

use super::super::apply::latest_election_id;
use super::{Arguments, print};
use crate::exit::{Exit, SwitchTrouble};
use crate::input;
use crate::options::Format;
use crate::runtime;
use crate::switches::pipeline;

/// Without `--follow`: how long it listens.
const LISTEN: Duration = Duration::from_secs(10);

/// The rules of a switch by their tags.
type Rules = BTreeMap<u32, Vec<(String, String)>>;

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let intent =
        if arguments.files.is_empty() { Intent::default() } else { input::read(&arguments.files)?.intent };
    // Ctrl-C is how listening ends, or that whoever reads has seen enough.
    let listened = runtime::block_on(runtime::read_or_interrupted(listen(arguments, format, &intent)))??;
    listened.unwrap_or(Ok(Exit::Done))
}

async fn listen(arguments: &Arguments, format: Format, intent: &Intent) -> anyhow::Result<Exit> {
    let targets = arguments.targets.resolve(intent)?;
    let [target] = <[_; 1]>::try_from(targets).ok().context("--address is about one switch")?;
    let name = target.name.clone();
    let segments = segment_ids(intent, &Numbers::default());
    let segments: BTreeMap<u16, String> = segments.into_iter().map(|(name, id)| (id, name)).collect();
    let options = Options { election_id: latest_election_id(), ..arguments.targets.options() };
    let mut rules = read(arguments, target.clone()).await?;
    let opened = Connection::open(target.clone(), pipeline(), options).await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) if matches!(*error.problem, Problem::Client(ClientProblem::NotPrimary { .. })) => {
            return Err(SwitchTrouble(format!(
                "{error}\n  a switch sends denied packets to its primary controller alone: where controllers drive it, \
                 ask them (`outplane log --config FILE`)"
            ))
            .into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut packets = connection.packets().context("this connection is new")?;
    let mut primacy = connection.primacy().context("this connection is a controller's")?;
    let until =
        if arguments.follow { "until Ctrl-C".to_owned() } else { format!("for {} s", LISTEN.as_secs()) };
    writeln!(
        anstream::stderr(),
        "listening {until} as the primary controller of {name}: only the primary hears of denied packets, and from now \
         on; an `apply` takes that over"
    )?;
    let end = async {
        if arguments.follow { std::future::pending().await } else { tokio::time::sleep(LISTEN).await }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(Exit::Done),
            packet = packets.next() => {
                let Some(packet) = packet else { return Err(gone(&name, "it has ended")) };
                let tag = tag(&packet);
                if !rules.contains_key(&tag) {
                    // The policy has changed since; a tag that nobody has is not asked for again and again.
                    rules = read(arguments, target.clone()).await.unwrap_or(rules);
                    rules.entry(tag).or_default();
                }
                let line = line(&name, &rules, &segments, tag, &packet);
                if arguments.wants(&line) {
                    print(format, None, line)?;
                }
            }
            changed = primacy.changed() => {
                let state = primacy.borrow().clone();
                match (changed, state) {
                    (Ok(()), Primacy::Primary | Primacy::NotOffered) => {}
                    (_, Primacy::Lost(reason)) => return Err(gone(&name, &reason)),
                    _ => {
                        return Err(SwitchTrouble(format!(
                            "another controller is primary of {name} now, and hears of its packets: start again when \
                             it is done"
                        ))
                        .into());
                    }
                }
            }
        }
    }
}

fn gone(switch: &str, reason: &str) -> anyhow::Error {
    SwitchTrouble(format!("the connection to {switch} is gone: {reason}")).into()
}

fn tag(packet: &PacketIn) -> u32 {
    packet.fields.get("rule").and_then(|tag| u32::try_from(*tag).ok()).unwrap_or(0)
}

/// The rules of the switch, as its entries say themselves.
async fn read(arguments: &Arguments, target: outplane_driver_p4runtime::Target) -> anyhow::Result<Rules> {
    let connection = Connection::open_read_only(target, pipeline(), arguments.targets.options()).await?;
    let installed = connection.read_installed(&Desired::default(), false).await?.installed;
    Ok(tags(&Desired { entries: installed.entries, ..Desired::default() }))
}

fn line(
    switch: &str,
    rules: &Rules,
    segments: &BTreeMap<u16, String>,
    tag: u32,
    packet: &PacketIn,
) -> outplane_rmdp_core::object::PacketLine {
    let names = rules.get(&tag).filter(|rules| !rules.is_empty());
    let join = |of: fn(&(String, String)) -> &String| {
        names.map(|rules| rules.iter().map(|rule| of(rule).as_str()).collect::<Vec<_>>().join(" or "))
    };
    let resolved =
        Resolved { policy: join(|rule| &rule.0), rule: join(|rule| &rule.1), ..Resolved::default() };
    let number = |name: &str| packet.fields.get(name).and_then(|value| u16::try_from(*value).ok());
    let segment = number("segment").filter(|id| *id != 0);
    let segment = segment.map(|id| segments.get(&id).cloned().unwrap_or_else(|| id.to_string()));
    frame::line(switch, tag, resolved, number("ingress_port"), segment, &packet.payload, packet.payload.len())
}
