//! Nodes in `outplane status`: what each says of itself, and who has heard it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use outplane_rmdp_core::config::{Role, SharedConfig};
use outplane_rmdp_core::object::{HeardAt, NodeStatus, PastAlert};
use outplane_rmdp_node::daemon::LEFT;
use serde::Serialize;

use super::Degraded;
use crate::clocks::{self, Ahead, STALE};
use crate::output::{BAD, FAINT, WARN, columns, styled, wrapped};
use crate::times;

/// A node that has written nothing for so long, and that nobody has heard since, does not count as up.
const OVERDUE: Duration = Duration::from_secs(7);

/// How a node is that runs and does not work.
const WAITING: &str = "waiting";

/// A node, by its last word and by what others have heard of it.
#[derive(Serialize)]
pub(super) struct NodeForm {
    node: String,
    role: &'static str,
    /// `up`, `waiting` (it says itself why it does not work), `silent`, `overdue`, `draining`, `left`, `stale`, `absent`,
    /// `stranger` (not in the configuration).
    state: &'static str,
    /// When it wrote its last status, by its clock, RFC 3339.
    status_at: Option<String>,
    /// Seconds since then, by the clocks of the store and the node; by the store's alone where they differ.
    age: Option<f64>,
    /// By how many seconds the node's clock is ahead of the store's, less than 0: behind; null: it does not differ.
    /// `status_at`, `alerts_since` and `past_alerts` are taken for as much earlier, or later.
    clock_ahead: Option<f64>,
    /// Who has heard it how long ago.
    heard: Heard,
    epoch: Option<u64>,
    config: Option<u64>,
    generation: Option<u64>,
    receiver: Option<String>,
    version: Option<String>,
    tasks: Vec<String>,
    /// Why it does not work with this store, as its own page says; empty where it does, or does not say.
    waits: Vec<String>,
    /// What is wrong now, by the node's last word.
    alerts: Vec<String>,
    /// Since when, in the order of `alerts`, RFC 3339; fewer where its version does not tell.
    alerts_since: Vec<String>,
    /// What was wrong and is over.
    past_alerts: Vec<Past>,
    /// Ids of the keys that it has; null: its version does not tell.
    keys: Option<Vec<u16>>,
    /// Why the store is not what it was for this node; null: it is.
    estranged: Option<String>,
    counters: BTreeMap<String, u64>,
}

/// An alert that is over. For what was about a moment both times are the same.
#[derive(Serialize)]
struct Past {
    text: String,
    /// RFC 3339.
    from: String,
    until: String,
}

/// Who has heard a node, as the others' statuses say that are not stale.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Heard {
    /// Seconds since somebody heard it last, the age of that one's status included; null: nobody has.
    seconds: Option<f64>,
    /// Who that was.
    by: Option<String>,
    /// Those for whom it has been silent for too long.
    silent_for: Vec<String>,
    /// Those who would have heard it: everybody else who tells.
    listeners: usize,
    /// It has told somebody that it leaves.
    left: bool,
}

/// The members in the order of the configuration, then whoever else has a status.
/// What they say themselves why they wait counts for more than a status that they wrote before.
pub(super) fn nodes(
    config: &SharedConfig,
    statuses: Vec<NodeStatus>,
    mut waits: BTreeMap<String, Vec<String>>,
    ahead: &Ahead,
) -> Vec<NodeForm> {
    let now = clocks::now();
    let mut statuses: BTreeMap<String, NodeStatus> =
        statuses.into_iter().map(|status| (status.node.clone(), status)).collect();
    let heard: BTreeMap<String, Heard> = config
        .members
        .iter()
        .map(|member| (member.name.clone(), heard(&member.name, statuses.values(), now)))
        .collect();
    let of = |name: &str| heard.get(name).cloned().unwrap_or_default();
    let mut nodes: Vec<NodeForm> = config
        .members
        .iter()
        .map(|member| match statuses.remove(&member.name) {
            Some(status) => NodeForm::of(status, true, of(&member.name), now),
            None => NodeForm::absent(&member.name, member.role, of(&member.name)),
        })
        .collect();
    for node in nodes.iter_mut().filter(|node| !["draining", "left"].contains(&node.state)) {
        if let Some(why) = waits.remove(&node.node) {
            (node.state, node.waits) = (WAITING, why);
        }
    }
    nodes.extend(statuses.into_values().map(|status| NodeForm::of(status, false, Heard::default(), now)));
    for node in &mut nodes {
        node.clock_ahead = ahead.get(&node.node).map(|ms| times::tenths_of(*ms));
    }
    nodes
}

pub(super) fn age(at_ms: u64, now: u64) -> Duration {
    Duration::from_millis(now.saturating_sub(at_ms))
}

/// What the statuses of the others say of a node.
fn heard<'s>(node: &str, statuses: impl Iterator<Item = &'s NodeStatus>, now: u64) -> Heard {
    let mut heard = Heard::default();
    let mut latest: Option<Duration> = None;
    let others = statuses
        .filter(|status| status.node != node && status.receiver != LEFT && age(status.at_ms, now) <= STALE);
    for status in others {
        let Some(HeardAt { ms, left, silent, .. }) = status.heard.get(node) else { continue };
        heard.listeners += 1;
        heard.left |= left;
        if *silent {
            heard.silent_for.push(status.node.clone());
        }
        let ago = ms.map(|ms| Duration::from_millis(ms) + age(status.at_ms, now));
        if let Some(ago) = ago
            && latest.is_none_or(|latest| ago < latest)
        {
            latest = Some(ago);
            heard.by = Some(status.node.clone());
        }
    }
    heard.seconds = latest.map(times::tenths);
    heard
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Distributor => "distributor",
        Role::Controller => "controller",
    }
}

impl NodeForm {
    fn absent(node: &str, is: Role, heard: Heard) -> Self {
        Self {
            heard,
            node: node.to_owned(),
            role: role(is),
            state: "absent",
            status_at: None,
            age: None,
            clock_ahead: None,
            epoch: None,
            config: None,
            generation: None,
            receiver: None,
            version: None,
            tasks: Vec::new(),
            waits: Vec::new(),
            alerts: Vec::new(),
            alerts_since: Vec::new(),
            past_alerts: Vec::new(),
            keys: None,
            estranged: None,
            counters: BTreeMap::new(),
        }
    }

    fn of(status: NodeStatus, member: bool, heard: Heard, now: u64) -> Self {
        let age = age(status.at_ms, now);
        let unheard = heard.listeners > 0 && heard.silent_for.len() == heard.listeners;
        // Others' words may be older than its silence.
        let heard_since = heard.seconds.is_some_and(|seconds| seconds <= OVERDUE.as_secs_f64());
        let state = match () {
            () if status.receiver == LEFT => "left",
            () if age > STALE => "stale",
            () if !member => "stranger",
            () if unheard => "silent",
            () if age > OVERDUE && !heard_since => "overdue",
            () if status.draining => "draining",
            () => "up",
        };
        Self {
            role: role(status.role),
            state,
            status_at: Some(times::time(status.at_ms)),
            age: Some(times::tenths(age)),
            clock_ahead: None,
            heard,
            epoch: Some(status.epoch),
            config: Some(status.config),
            generation: Some(status.generation),
            receiver: Some(status.receiver),
            version: Some(status.version),
            tasks: status.tasks,
            waits: Vec::new(),
            alerts: status.alerts,
            alerts_since: status.since_ms.into_iter().map(times::time).collect(),
            past_alerts: status.past.into_iter().map(Past::from).collect(),
            keys: status.keys,
            estranged: status.estranged,
            counters: status.counters,
            node: status.node,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.state == WAITING
    }

    /// Whether what it told last is so still, as far as anybody knows.
    fn is_alive(&self) -> bool {
        !["silent", "overdue", "left", "stale"].contains(&self.state)
    }

    /// What is wrong with it since when, and what was until when. What one says that is not up any more was so by its last
    /// word. Long `reasons` of switches stand with these.
    fn alerts(&self, reasons: &[&str], out: &mut dyn Write) -> io::Result<()> {
        for why in &self.waits {
            wrapped(out, 2, 4, &format!("{} waits: {why}", styled(BAD, &self.node)))?;
        }
        if self.is_waiting() {
            return Ok(());
        }
        let brief = |text: &String| {
            let said = |text: String, reason: &&str| text.replace(*reason, "see Switches");
            reasons.iter().fold(text.clone(), said)
        };
        for (at, alert) in self.alerts.iter().map(brief).enumerate() {
            let since = self.alerts_since.get(at);
            let line = if self.is_alive() {
                let since = since.map_or_else(String::new, |since| format!(" (since {since})"));
                format!("{}: {alert}{}", styled(WARN, &self.node), styled(FAINT, since))
            } else {
                let since = since.map_or_else(String::new, |since| format!("from {since} "));
                let last = self.status_at.as_deref().unwrap_or("-");
                let text = format!("{alert} ({since}to its last word at {last})");
                format!("{}: {}", self.node, styled(FAINT, text))
            };
            wrapped(out, 2, 4, &line)?;
        }
        for Past { text, from, until } in &self.past_alerts {
            let text = brief(text);
            let past = if from == until {
                format!("once, at {from}")
            } else {
                format!("over, from {from} to {until}")
            };
            wrapped(out, 2, 4, &format!("{}: {}", self.node, styled(FAINT, format_args!("{past}: {text}"))))?;
        }
        Ok(())
    }

    /// As degraded, where others say that it is silent.
    pub(super) fn silence(&self) -> Option<Degraded> {
        let Heard { seconds, silent_for, listeners, .. } = &self.heard;
        if silent_for.is_empty() || self.state == "left" {
            return None;
        }
        let by = silent_for.join(", ");
        let (some, all) = (silent_for.len(), *listeners);
        let whom = if some == all { "nobody hears it" } else { &format!("{some} of {all} do not hear it") };
        let reason = match seconds {
            Some(seconds) => format!("{whom}, last {seconds:.1} s ago"),
            None => format!("{whom}, and nobody ever has"),
        };
        let (node, hard) = (self.node.clone(), some == all);
        Some(Degraded {
            node,
            of: "silent",
            hard,
            reason,
            by,
            since: times::time(clocks::now()),
            age: 0.0,
            left_behind: false,
        })
    }

    /// In words: who has heard it when.
    fn heard_words(&self) -> String {
        match (&self.heard.seconds, &self.heard.by) {
            (Some(seconds), Some(by)) => format!("{seconds:.1} s by {by}"),
            _ if self.heard.listeners == 0 => "nobody listens".to_owned(),
            _ => "never".to_owned(),
        }
    }
}

impl From<PastAlert> for Past {
    fn from(past: PastAlert) -> Self {
        let PastAlert { text, from_ms, until_ms } = past;
        Self { text, from: times::time(from_ms), until: times::time(until_ms) }
    }
}

/// Who receives datagrams by what: nodes of a site mostly do alike.
fn receivers(nodes: &[NodeForm]) -> BTreeMap<&str, Vec<&str>> {
    let mut receivers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.state != "left") {
        if let Some(receiver) = &node.receiver {
            receivers.entry(receiver).or_default().push(&node.node);
        }
    }
    receivers
}

/// A table, the roles that nobody up has, and what is wrong.
pub(super) fn text(
    nodes: &[NodeForm],
    lacking: &[String],
    reasons: &[&str],
    out: &mut dyn Write,
) -> io::Result<()> {
    let dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = nodes.iter().map(|node| {
        vec![
            node.node.clone(),
            node.role.to_owned(),
            node.state.to_owned(),
            node.heard_words(),
            match node.age {
                Some(age) if age > clocks::FAR.as_secs_f64() => times::NONSENSE.to_owned(),
                Some(age) => format!("{age:.1} s"),
                None => "-".to_owned(),
            },
            dash(node.epoch.map(|epoch| epoch.to_string())),
            dash(node.config.map(|config| config.to_string())),
            dash(node.generation.map(|generation| generation.to_string())),
        ]
    });
    let head = ["node", "role", "state", "heard, ago", "status, ago", "epoch", "config", "generation"];
    columns(out, &head, &[4, 5, 6, 7], rows)?;
    for (receiver, names) in receivers(nodes) {
        let receive = if names.len() == 1 { "receives" } else { "receive" };
        let text = format!("{} {receive} by {receiver}", names.join(", "));
        wrapped(out, 2, 4, &styled(FAINT, text))?;
    }
    for lacking in lacking {
        wrapped(out, 2, 4, &styled(BAD, lacking))?;
    }
    for node in nodes {
        if let Some(by) = node.clock_ahead {
            #[expect(clippy::cast_possible_truncation, reason = "casts to integers saturate")]
            let words = clocks::ahead_words((by * 1000.0) as i64);
            wrapped(out, 2, 4, &format!("{}: {words}", styled(WARN, &node.node)))?;
        }
    }
    // What the last word of one says that is gone is not so now.
    for node in nodes.iter().filter(|node| !["left", "stale"].contains(&node.state)) {
        node.alerts(reasons, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_node::clock;

    use super::*;
    use crate::standing::tests::plain;

    fn status(node: &str, ago: u64, heard: &[(&str, Option<u64>, bool)]) -> NodeStatus {
        let at = |ms, silent| HeardAt { ms, silent, ..HeardAt::default() };
        NodeStatus {
            heard: heard.iter().map(|(node, ms, silent)| ((*node).to_owned(), at(*ms, *silent))).collect(),
            ..plain(node, ago)
        }
    }

    fn config(names: &[&str]) -> SharedConfig {
        let member = |(number, name): (usize, &&str)| {
            let role = if name.starts_with('d') { "distributor" } else { "controller" };
            format!(
                "[[member]]\nname = \"{name}\"\nsender = {number}\nrole = \"{role}\"\naddress = \"192.0.2.{number}:1\"\n"
            )
        };
        SharedConfig::from_toml(&(1..).zip(names).map(member).collect::<String>()).unwrap()
    }

    /// It died a while ago, and nobody listens.
    #[test]
    fn what_one_says_that_is_overdue_is_past() {
        let mut status = status("c1", 9000, &[]);
        (status.alerts, status.since_ms) = (vec!["no disk".to_owned()], vec![1000]);
        let written = |mut status: NodeStatus, ago| {
            status.at_ms = clock::unix_millis() - ago;
            let mut out = Vec::new();
            let nodes = nodes(&config(&["d1", "c1"]), vec![status], BTreeMap::new(), &Ahead::new());
            text(&nodes, &[], &[], &mut out).unwrap();
            String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap()
        };
        let overdue = written(status.clone(), 9000);
        let past = "c1: no disk (from 1970-01-01T00:00:01.000Z to its last word at ";
        assert!(overdue.contains("overdue") && overdue.contains(past), "{overdue}");
        assert!(overdue.contains("\n  c1 receives by socket\n"), "{overdue}");
        let up = written(status, 100);
        assert!(up.contains("c1: no disk (since 1970-01-01T00:00:01.000Z)"), "{up}");
    }

    #[test]
    fn what_is_over_begins_with_that() {
        let past = |text: &str, from_ms, until_ms| PastAlert { text: text.to_owned(), from_ms, until_ms };
        let status = NodeStatus {
            past: vec![past("no disk", 1000, 3000), past("a key", 4000, 4000)],
            ..plain("c1", 0)
        };
        let mut out = Vec::new();
        let nodes = nodes(&config(&["d1", "c1"]), vec![status], BTreeMap::new(), &Ahead::new());
        text(&nodes, &[], &[], &mut out).unwrap();
        let told = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
        let is_over = "c1: over, from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:03.000Z: no disk\n";
        assert!(told.contains(is_over), "{told}");
        assert!(told.contains("c1: once, at 1970-01-01T00:00:04.000Z: a key\n"), "{told}");
    }

    /// Its own last status is young still, and it is not called up: the others say how it is.
    #[test]
    fn a_frozen_node_is_not_up() {
        let statuses = vec![
            status("c1", 4200, &[("d1", Some(10), false), ("c2", Some(20), false)]),
            status("c2", 300, &[("d1", Some(10), false), ("c1", Some(3900), true)]),
            status("d1", 900, &[("c1", Some(3200), true), ("c2", Some(100), false)]),
            // Stale: says nothing of anybody any more.
            status("c3", 60_000, &[("c1", Some(1), false)]),
        ];
        let nodes = nodes(&config(&["d1", "c1", "c2", "c3", "c4"]), statuses, BTreeMap::new(), &Ahead::new());
        let states: Vec<_> = nodes.iter().map(|node| (node.node.as_str(), node.state)).collect();
        assert_eq!(states, [("d1", "up"), ("c1", "silent"), ("c2", "up"), ("c3", "stale"), ("c4", "absent")]);
        let heard = &nodes[1].heard;
        assert_eq!((heard.by.as_deref(), heard.listeners), (Some("d1"), 2));
        assert!(heard.seconds.is_some_and(|seconds| (4.1..4.5).contains(&seconds)), "{heard:?}");
        let degraded = nodes[1].silence().unwrap();
        assert!(
            degraded.hard && degraded.reason.starts_with("nobody hears it, last 4."),
            "{}",
            degraded.reason
        );
        assert_eq!(degraded.by, "c2, d1");
        assert!(nodes[0].silence().is_none());
        assert!(nodes[0].heard_words().ends_with("s by c2"), "{}", nodes[0].heard_words());
        assert_eq!(nodes[4].heard_words(), "nobody listens");
    }

    /// What says that it is up is older than its silence may be.
    #[test]
    fn a_node_that_is_overdue_is_not_up() {
        let statuses = vec![
            status("c1", 8200, &[("c2", Some(10), false)]),
            status("c2", 8200, &[]),
            status("d1", 7600, &[("c1", Some(10), false)]),
            status("d2", 4000, &[("c2", Some(10), false)]),
        ];
        let nodes = nodes(&config(&["c1", "c2", "d1", "d2"]), statuses, BTreeMap::new(), &Ahead::new());
        let states: Vec<_> = nodes.iter().map(|node| node.state).collect();
        assert_eq!(states, ["overdue", "up", "overdue", "up"]);
    }

    #[test]
    fn who_waits_is_not_up_whatever_its_last_status_says() {
        let statuses = vec![status("c1", 100, &[]), status("c2", 100, &[])];
        let waits = [("c1".to_owned(), vec!["the store says no network any more".to_owned()])].into();
        let nodes = nodes(&config(&["d1", "c1", "c2"]), statuses, waits, &Ahead::new());
        assert_eq!((nodes[1].state, nodes[2].state), ("waiting", "up"));
        let mut out = Vec::new();
        text(&nodes, &[], &[], &mut out).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        assert!(String::from_utf8(text).unwrap().contains("c1 waits: the store says no network"));
    }

    #[test]
    fn one_that_some_do_not_hear_is_up_and_told_of() {
        let statuses = vec![
            status("c1", 100, &[]),
            status("c2", 100, &[("c1", Some(9000), true)]),
            status("d1", 100, &[("c1", Some(50), false)]),
        ];
        let nodes = nodes(&config(&["d1", "c1", "c2"]), statuses, BTreeMap::new(), &Ahead::new());
        assert_eq!(nodes[1].state, "up");
        let degraded = nodes[1].silence().unwrap();
        assert!(!degraded.hard && degraded.reason.contains("1 of 2 do not"), "{}", degraded.reason);
    }
}
