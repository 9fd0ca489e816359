//! `outplane status`: nodes, switches, store, what is degraded, and the last tasks.

mod kept;
mod nodes;
mod packets;
mod switches;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Alert, AlertOf, NodeStatus, Object};
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::EndpointState;
use serde::Serialize;

use self::nodes::{NodeForm, nodes};
use self::packets::Packets;
use self::switches::SwitchForm;
use super::tasks::{Recent, TaskLine, Unreadable, recent, table};
use crate::clocks;
use crate::exit::Exit;
use crate::node::{Node, NodeArguments};
use crate::options::Format;
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, columns, count, styled, wrapped};
use crate::runtime;
use crate::standing;
use crate::times;

/// An alert that holds is written again each minute; one that is older than this was left behind.
const LEFT_BEHIND: Duration = Duration::from_mins(3);

/// Generations, and probes, whose tasks are shown.
const GENERATIONS: usize = 2;

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    node: NodeArguments,
}

/// All of it.
#[derive(Serialize)]
struct Status {
    /// When this was asked, RFC 3339, by the store's clock where it differs: ages are from then.
    at: String,
    /// By how many seconds this machine's clock is ahead of the store's, less than 0: behind; null: it does not differ.
    clock_ahead: Option<f64>,
    /// Version of the shared configuration.
    config: u64,
    /// Why nobody can work with the store as it is, in words; null: they can.
    unusable: Option<String>,
    /// Roles that nobody up has, in words.
    lacking: Vec<String>,
    /// Members that do not run and cannot be asked why, in words, with the cure; null: there are none.
    unasked: Option<String>,
    nodes: Vec<NodeForm>,
    switches: Vec<SwitchForm>,
    /// The newest generation, if a recovery has left it: it wants nothing, and switches hold what they held. Null: there is
    /// none, or it wants something.
    placeholder: Option<u64>,
    /// The newest generation, if it cannot be read, and why: switches are kept at what the one before says. Null: it can.
    unreadable: Option<Unreadable>,
    packets: Packets,
    endpoints: Vec<EndpointForm>,
    degraded: Vec<Degraded>,
    tasks: Vec<TaskLine>,
}

/// An endpoint of the store, as this command found it.
#[derive(Serialize)]
struct EndpointForm {
    endpoint: String,
    /// `answers` or `avoided`; `not-asked` where the endpoints before it did.
    state: &'static str,
    requests: u64,
    failures: u64,
    timeouts: u64,
    p50_ms: Option<f64>,
}

#[derive(Serialize)]
struct Degraded {
    node: String,
    /// `sender`, `receiver`, or `silent`.
    of: &'static str,
    hard: bool,
    reason: String,
    by: String,
    /// When it was told last: what still holds is told each minute.
    since: String,
    /// Seconds since then.
    age: f64,
    /// Nobody repeats it: it was left behind.
    left_behind: bool,
}

/// Asks the store.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let status = runtime::block_on(status(&node))??;
    output::print(format, &status)?;
    Ok(Exit::Done)
}

async fn status(node: &Node) -> anyhow::Result<Status> {
    let objects = &node.objects;
    let (version, config) = node.shared().await?;
    // Members are asked for by name: a listing may lack them.
    let members =
        |key: fn(String) -> Key| config.members.iter().map(|member| key(member.name.clone())).collect();
    let statuses = read(objects, &Prefix::Statuses, members(Key::Status), |object| match object {
        Object::Status(status) => Some(status),
        _ => None,
    });
    let alerts = read(objects, &Prefix::Degraded, members(Key::Degraded), |object| match object {
        Object::Degraded(alert) => Some(alert),
        _ => None,
    });
    let kept = read(objects, &Prefix::Kept, members(Key::Kept), |object| match object {
        Object::Kept(kept) => Some(kept),
        _ => None,
    });
    let (packets, tasks) = (Packets::read(objects), recent(objects, GENERATIONS));
    let (unusable, waits) = (standing::of_store(objects), standing::waits(objects, &config));
    let (statuses, alerts, kept, packets, tasks, unusable, waits) =
        tokio::join!(statuses, alerts, kept, packets, tasks, unusable, waits);
    let mut ahead = clocks::Ahead::new();
    let set_right = |(mut status, taken): (NodeStatus, _)| {
        ahead.extend(standing::set_right(&mut status, taken).map(|by| (status.node.clone(), by)));
        status
    };
    let statuses: Vec<NodeStatus> = statuses?.into_iter().map(set_right).collect();
    let endpoints = objects.store().endpoints().into_iter().map(|stats| EndpointForm {
        state: match stats.state {
            EndpointState::Avoided(_) => "avoided",
            EndpointState::Healthy if stats.requests == 0 => "not-asked",
            EndpointState::Healthy => "answers",
        },
        endpoint: stats.endpoint,
        requests: stats.requests,
        failures: stats.failures,
        timeouts: stats.timeouts,
        p50_ms: stats.p50.map(|p50| (p50.as_secs_f64() * 10_000.0).round() / 10.0),
    });
    let lacking = standing::nobody(&config, &statuses);
    let unasked = standing::unasked(&config, &statuses);
    let nodes = nodes(&config, statuses, waits, &ahead);
    let mut degraded: Vec<Degraded> = nodes.iter().filter_map(NodeForm::silence).collect();
    let unusable = unusable?;
    degraded.extend(alerts?.into_iter().map(|(mut alert, taken)| {
        if let Some(by) = clocks::ahead(alert.at_ms, taken) {
            clocks::earlier(&mut alert.at_ms, by);
        }
        Degraded::from(alert)
    }));
    let (at, recent) = (times::time(clocks::now()), tasks?);
    let (endpoints, switches) = (endpoints.collect(), kept::forms(kept?, &recent));
    let Recent { lines: tasks, placeholder, unreadable, .. } = recent;
    Ok(Status {
        at,
        clock_ahead: clocks::own().map(times::tenths_of),
        config: version,
        unusable,
        lacking,
        unasked,
        nodes,
        switches,
        placeholder,
        unreadable,
        packets: packets?,
        endpoints,
        degraded,
        tasks,
    })
}

/// All objects under a prefix, these among them, and how long ago the store took each, as far as a listing says. Those that
/// cannot be read are told and left out.
async fn read<T>(
    objects: &Objects,
    prefix: &Prefix,
    mut all: BTreeSet<Key>,
    pick: fn(Object) -> Option<T>,
) -> anyhow::Result<Vec<(T, Option<Duration>)>> {
    let taken = standing::taken(objects, prefix).await?;
    all.extend(taken.keys().cloned());
    let mut found = Vec::new();
    for key in all {
        match objects.get(&key).await {
            Ok(object) => found.extend(object.and_then(pick).map(|one| (one, taken.get(&key).copied()))),
            Err(outplane_rmdp_node::Error::Object(error)) => tracing::warn!(%error, "left out"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

impl From<Alert> for Degraded {
    fn from(alert: Alert) -> Self {
        let of = match alert.of {
            AlertOf::Sender => "sender",
            AlertOf::Receiver => "receiver",
        };
        let Alert { node, hard, reason, by, at_ms, .. } = alert;
        let age = clocks::since(at_ms);
        let left_behind = age > LEFT_BEHIND;
        Self { node, of, hard, reason, by, since: times::time(at_ms), age: times::tenths(age), left_behind }
    }
}

/// What stands first below *Degraded*: that nobody is, or what else is wrong; none where those that are say enough.
fn summary(waiting: usize, unusable: bool, lacking: bool, listed: bool) -> Option<String> {
    let (style, words) = if waiting > 0 {
        (BAD, format!("{}, see above", count(waiting, "node waits", "nodes wait")))
    } else if unusable {
        (BAD, "the store cannot be worked with, see above".to_owned())
    } else if lacking {
        (BAD, "nobody up has a role that has to be there, see above".to_owned())
    } else if listed {
        return None;
    } else {
        (GOOD, "nobody".to_owned())
    };
    Some(styled(style, words))
}

impl Report for Status {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, format_args!("Nodes (configuration {})", self.config)))?;
        writeln!(out, "  {}", styled(FAINT, format_args!("as of {}", self.at)))?;
        if let Some(ahead) = clocks::own().filter(|_| self.clock_ahead.is_some()) {
            wrapped(out, 2, 4, &styled(WARN, clocks::own_words(ahead)))?;
        }
        if let Some(unusable) = &self.unusable {
            wrapped(out, 2, 4, &styled(BAD, unusable))?;
        }
        nodes::text(&self.nodes, &self.lacking, &switches::reasons(&self.switches), out)?;
        if let Some(unasked) = &self.unasked {
            wrapped(out, 2, 4, &styled(FAINT, unasked))?;
        }
        let unreadable = self.unreadable.as_ref().map(|unreadable| unreadable.why.as_str());
        switches::text(&self.switches, self.placeholder, unreadable, out)?;
        self.packets.text(out)?;
        writeln!(out, "\n{}", styled(HEAD, "Store"))?;
        let rows = self.endpoints.iter().map(|endpoint| {
            vec![
                endpoint.endpoint.clone(),
                endpoint.state.to_owned(),
                endpoint.p50_ms.map_or_else(|| "-".to_owned(), |p50| format!("{p50:.1}")),
                endpoint.failures.to_string(),
                endpoint.timeouts.to_string(),
            ]
        });
        columns(out, &["endpoint", "state", "p50, ms", "failures", "timeouts"], &[2, 3, 4], rows)?;
        writeln!(out, "\n{}", styled(HEAD, "Degraded"))?;
        let waiting = self.nodes.iter().filter(|node| node.is_waiting()).count();
        let (unusable, lacking) = (self.unusable.is_some(), !self.lacking.is_empty());
        if let Some(line) = summary(waiting, unusable, lacking, !self.degraded.is_empty()) {
            writeln!(out, "  {line}")?;
        }
        for Degraded { node, of, hard, reason, by, since, age, left_behind } in &self.degraded {
            let mark = if *hard { styled(BAD, "hard") } else { styled(WARN, "soft") };
            let told = match (*of, *left_behind) {
                ("silent", _) => format!("told by {by}"),
                (_, false) => format!("told by {by} at {since}, {age:.0} s ago"),
                (_, true) => {
                    format!("told by {by} at {since} and not repeated for {age:.0} s: it may be over")
                }
            };
            let told = styled(FAINT, told);
            let what = if *of == "silent" { "is silent".to_owned() } else { format!("as {of}") };
            wrapped(out, 2, 4, &format!("{node} {what} ({mark}): {reason}; {told}"))?;
        }
        writeln!(out, "\n{}", styled(HEAD, "Last tasks"))?;
        if self.tasks.is_empty() {
            return writeln!(out, "  none");
        }
        table(out, &self.tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_degraded_is_never_an_empty_heading() {
        for (waiting, unusable, lacking) in
            [(0, false, false), (0, false, true), (0, true, false), (2, true, true)]
        {
            assert!(summary(waiting, unusable, lacking, false).is_some(), "{waiting} {unusable} {lacking}");
        }
        assert_eq!(summary(0, false, false, true), None);
        assert!(summary(0, false, false, false).is_some_and(|line| line.contains("nobody")));
    }
}
