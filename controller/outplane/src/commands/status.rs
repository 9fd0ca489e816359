//! `outplane status`: nodes, switches, store, what is degraded, and the last tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use outplane_rmdp_core::config::{Role, SharedConfig};
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Alert, AlertOf, KeptSwitches, NodeStatus, Object, Standing};
use outplane_rmdp_node::clock;
use outplane_rmdp_node::daemon::LEFT;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::EndpointState;
use serde::Serialize;

use super::tasks::{TaskLine, recent, table};
use crate::cli::Format;
use crate::exit::Exit;
use crate::node::{self, Node, NodeArguments};
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, columns, styled};
use crate::runtime;

/// A status that is older than this is stale: nodes write theirs every 5 s.
const STALE: Duration = Duration::from_secs(15);

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
    /// Version of the shared configuration.
    config: u64,
    nodes: Vec<NodeForm>,
    switches: Vec<SwitchForm>,
    endpoints: Vec<EndpointForm>,
    degraded: Vec<Degraded>,
    tasks: Vec<TaskLine>,
}

#[derive(Serialize)]
struct NodeForm {
    node: String,
    role: &'static str,
    /// `up`, `draining`, `left`, `stale`, `absent`, `stranger` (not in the configuration).
    state: &'static str,
    /// Seconds since its last status, by the clocks of this machine and the node.
    age: Option<f64>,
    epoch: Option<u64>,
    config: Option<u64>,
    generation: Option<u64>,
    receiver: Option<String>,
    version: Option<String>,
    tasks: Vec<String>,
    alerts: Vec<String>,
    counters: BTreeMap<String, u64>,
}

/// How a switch stands to what it should hold, as the controller says that keeps it.
#[derive(Serialize)]
struct SwitchForm {
    switch: String,
    /// The generation that it is kept at.
    desired: u64,
    /// What it was seen to hold at the last look.
    seen: String,
    /// `kept`, `drifted`, `unreachable`, `unknown` (nobody has looked yet), `unwatched` (nobody looks any more).
    standing: &'static str,
    /// What differs, or why it cannot be looked at.
    what: String,
    /// Seconds since it was last seen to hold what it should, by the clocks of this machine and the node.
    verified_age: Option<f64>,
    /// Who keeps it.
    by: String,
    /// Seconds since that one has told of it.
    told_age: f64,
    /// How often that one has brought it back since its start.
    repairs: u64,
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
    /// `sender` or `receiver`.
    of: &'static str,
    hard: bool,
    reason: String,
    by: String,
    since: String,
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
    let (statuses, alerts, kept, tasks) = tokio::join!(statuses, alerts, kept, recent(objects, GENERATIONS));
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
    Ok(Status {
        config: version,
        nodes: nodes(&config, statuses?),
        switches: switches(kept?),
        endpoints: endpoints.collect(),
        degraded: alerts?.into_iter().map(Degraded::from).collect(),
        tasks: tasks?,
    })
}

/// All objects under a prefix, these among them. Those that cannot be read are told and left out.
async fn read<T>(
    objects: &Objects,
    prefix: &Prefix,
    mut all: BTreeSet<Key>,
    pick: fn(Object) -> Option<T>,
) -> anyhow::Result<Vec<T>> {
    all.extend(objects.list_all(prefix, 1000).await?.0);
    let mut found = Vec::new();
    for key in all {
        match objects.get(&key).await {
            Ok(object) => found.extend(object.and_then(pick)),
            Err(outplane_rmdp_node::Error::Object(error)) => tracing::warn!(%error, "left out"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// The members in the order of the configuration, then whoever else has a status.
fn nodes(config: &SharedConfig, statuses: Vec<NodeStatus>) -> Vec<NodeForm> {
    let mut statuses: BTreeMap<String, NodeStatus> =
        statuses.into_iter().map(|status| (status.node.clone(), status)).collect();
    let mut nodes: Vec<NodeForm> = config
        .members
        .iter()
        .map(|member| match statuses.remove(&member.name) {
            Some(status) => NodeForm::of(status, true),
            None => NodeForm::absent(&member.name, member.role),
        })
        .collect();
    nodes.extend(statuses.into_values().map(|status| NodeForm::of(status, false)));
    nodes
}

/// By name. Whoever told of a switch last keeps it; those that are not kept are told again, last.
fn switches(mut kept: Vec<KeptSwitches>) -> Vec<SwitchForm> {
    let now = clock::unix_millis();
    let age = |at_ms| Duration::from_millis(now.saturating_sub(at_ms));
    let seconds = |age: Duration| (age.as_secs_f64() * 10.0).round() / 10.0;
    kept.sort_by_key(|kept| kept.at_ms);
    let mut switches = BTreeMap::new();
    for KeptSwitches { node, switches: those, at_ms } in kept {
        for kept in those {
            let standing = if age(at_ms) > STALE { "unwatched" } else { kept.standing.word() };
            let form = SwitchForm {
                desired: kept.generation,
                seen: kept.seen,
                standing,
                what: kept.what,
                verified_age: kept.verified_ms.map(|at| seconds(age(at))),
                by: node.clone(),
                told_age: seconds(age(at_ms)),
                repairs: kept.repairs,
                switch: kept.switch.clone(),
            };
            switches.insert(kept.switch, form);
        }
    }
    switches.into_values().collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Distributor => "distributor",
        Role::Controller => "controller",
    }
}

impl NodeForm {
    fn absent(node: &str, is: Role) -> Self {
        Self {
            node: node.to_owned(),
            role: role(is),
            state: "absent",
            age: None,
            epoch: None,
            config: None,
            generation: None,
            receiver: None,
            version: None,
            tasks: Vec::new(),
            alerts: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    fn of(status: NodeStatus, member: bool) -> Self {
        let age = Duration::from_millis(clock::unix_millis().saturating_sub(status.at_ms));
        let state = match () {
            () if status.receiver == LEFT => "left",
            () if age > STALE => "stale",
            () if !member => "stranger",
            () if status.draining => "draining",
            () => "up",
        };
        Self {
            role: role(status.role),
            state,
            age: Some((age.as_secs_f64() * 10.0).round() / 10.0),
            epoch: Some(status.epoch),
            config: Some(status.config),
            generation: Some(status.generation),
            receiver: Some(status.receiver),
            version: Some(status.version),
            tasks: status.tasks,
            alerts: status.alerts,
            counters: status.counters,
            node: status.node,
        }
    }
}

impl From<Alert> for Degraded {
    fn from(alert: Alert) -> Self {
        let of = match alert.of {
            AlertOf::Sender => "sender",
            AlertOf::Receiver => "receiver",
        };
        let Alert { node, hard, reason, by, at_ms, .. } = alert;
        Self { node, of, hard, reason, by, since: node::time(at_ms) }
    }
}

impl Report for Status {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, format_args!("Nodes (configuration {})", self.config)))?;
        let dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let rows = self.nodes.iter().map(|node| {
            vec![
                node.node.clone(),
                node.role.to_owned(),
                match node.age {
                    Some(age) if node.state == "stale" => format!("stale {age:.0} s"),
                    _ => node.state.to_owned(),
                },
                dash(node.epoch.map(|epoch| epoch.to_string())),
                dash(node.config.map(|config| config.to_string())),
                dash(node.generation.map(|generation| generation.to_string())),
                dash(node.receiver.clone().filter(|_| node.state != "left")),
            ]
        });
        let head = ["node", "role", "state", "epoch", "configuration", "generation", "receives by"];
        columns(out, &head, &[3, 4, 5], rows)?;
        // Who has left has told why: it was asked to.
        for node in self.nodes.iter().filter(|node| node.state != "left") {
            for alert in &node.alerts {
                writeln!(out, "  {}: {alert}", styled(WARN, &node.node))?;
            }
        }
        writeln!(out, "\n{}", styled(HEAD, "Switches"))?;
        if self.switches.is_empty() {
            writeln!(out, "  none is kept yet")?;
        } else {
            let rows = self.switches.iter().map(|switch| {
                vec![
                    switch.switch.clone(),
                    switch.desired.to_string(),
                    switch.seen.clone(),
                    switch.standing.to_owned(),
                    switch.verified_age.map_or_else(|| "never".to_owned(), |age| format!("{age:.0} s ago")),
                    switch.by.clone(),
                    switch.repairs.to_string(),
                ]
            });
            let head = ["switch", "desired", "seen", "standing", "verified", "by", "brought back"];
            columns(out, &head, &[1, 4, 6], rows)?;
        }
        let kept = Standing::Kept.word();
        for switch in self.switches.iter().filter(|switch| switch.standing != kept) {
            let SwitchForm { what, by, told_age, .. } = switch;
            let what = match switch.standing {
                "unwatched" => {
                    format!("{by} has told nothing of it for {told_age:.0} s, and nobody else looks")
                }
                _ if what.is_empty() => continue,
                _ => what.clone(),
            };
            writeln!(out, "  {}: {what}", styled(WARN, &switch.switch))?;
        }
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
        if self.degraded.is_empty() {
            writeln!(out, "  {}", styled(GOOD, "nobody"))?;
        }
        for Degraded { node, of, hard, reason, by, since } in &self.degraded {
            let mark = if *hard { styled(BAD, "hard") } else { styled(WARN, "soft") };
            let told = styled(FAINT, format_args!("told by {by} at {since}"));
            writeln!(out, "  {node} as {of} ({mark}): {reason}; {told}")?;
        }
        writeln!(out, "\n{}", styled(HEAD, "Last tasks"))?;
        if self.tasks.is_empty() {
            return writeln!(out, "  none");
        }
        table(out, &self.tasks)
    }
}
