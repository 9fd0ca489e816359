//! What must hold between the keys.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::{MAX_GROUPS, MAX_KEYS, MAX_MEMBERS, MAX_SWITCHES, MIN_KEPT, Role, SharedConfig};
use crate::key::{MAX_ATTEMPT, check_name};

/// Why a shared configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// More than [`crate::object::MAX_CONFIG`].
    #[error("the shared configuration has {length} bytes, at most {} are taken", crate::object::MAX_CONFIG)]
    TooLarge {
        /// Its size.
        length: usize,
    },
    /// It cannot be read, or cannot work: every fault, in the order of the lines.
    #[error("the shared configuration cannot work:{}", list(.0))]
    Faults(Vec<ConfigProblem>),
}

/// One fault, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Line, from 1; 0 where it is about no line.
    pub line: usize,
    /// The key, as in `claims.budget_ms`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    problems.iter().flat_map(|problem| ["\n  ".to_owned(), problem.to_string()]).collect()
}

#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(ConfigProblem { line: 0, key: key.into(), what: what.into() });
    }

    fn range(&mut self, key: &str, value: impl Into<u64>, low: u64, high: u64) {
        let value = value.into();
        if !(low..=high).contains(&value) {
            self.add(key, format!("{value} is out of range, {low} to {high} are possible"));
        }
    }
}

impl SharedConfig {
    /// Whether a set of nodes can work with it. All faults are told at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.check_members(&mut problems);
        self.check_datagrams(&mut problems);
        self.check_ranges(&mut problems);
        self.check_between(&mut problems);
        self.check_switches(&mut problems);
        if problems.0.is_empty() { Ok(()) } else { Err(ConfigError::Faults(problems.0)) }
    }

    fn check_members(&self, problems: &mut Problems) {
        if self.members.len() > MAX_MEMBERS {
            problems
                .add("member", format!("{} members, at most {MAX_MEMBERS} are possible", self.members.len()));
        }
        for (role, word) in [(Role::Distributor, "distributor"), (Role::Controller, "controller")] {
            if !self.members.iter().any(|member| member.role == role) {
                problems.add("member", format!("no member has the role \"{word}\", at least one must"));
            }
        }
        let (mut names, mut senders, mut addresses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (number, member) in self.members.iter().enumerate() {
            let place = format!("member {} (`{}`)", number + 1, member.name);
            if let Err(error) = check_name(&member.name) {
                problems.add(format!("member {}: name", number + 1), error.to_string());
            }
            if member.sender == 0 {
                problems.add(format!("{place}: sender"), "0 is nobody's, take another number");
            }
            if member.address.port() == 0
                || member.address.ip().is_unspecified()
                || member.address.ip().is_multicast()
            {
                problems.add(
                    format!("{place}: address"),
                    format!("{} is no address that others can send to", member.address),
                );
            }
            for (other, what) in [
                (names.insert(member.name.clone(), number), "name"),
                (senders.insert(member.sender, number), "sender"),
                (addresses.insert(member.address, number), "address"),
            ] {
                if let Some(other) = other {
                    problems.add(format!("{place}: {what}"), format!("member {} has it already", other + 1));
                }
            }
        }
    }

    fn check_datagrams(&self, problems: &mut Problems) {
        let datagrams = &self.datagrams;
        if datagrams.groups.len() > MAX_GROUPS {
            problems.add("datagrams.groups", format!("at most {MAX_GROUPS} groups are possible"));
        }
        for group in &datagrams.groups {
            if !group.is_multicast() {
                let family = match group {
                    IpAddr::V4(_) => "224.0.0.0/4",
                    IpAddr::V6(_) => "ff00::/8",
                };
                problems.add(
                    "datagrams.groups",
                    format!("{group} is no multicast address, those are in {family}"),
                );
            }
        }
        if datagrams.port == 0 {
            problems.add("datagrams.port", "0 is no port");
        }
        problems.range("datagrams.ttl", datagrams.ttl, 1, 255);
        problems.range("datagrams.burst", datagrams.burst, 1, 16);
        let keys = &self.keys;
        if !keys.accept.contains(&keys.sign_with) {
            problems.add(
                "keys.accept",
                format!("it lacks sign_with = {}: everybody would drop our datagrams", keys.sign_with),
            );
        }
        if keys.accept.len() > MAX_KEYS {
            problems.add(
                "keys.accept",
                format!(
                    "{} keys, at most {MAX_KEYS} are possible, the current one and the next: take out those that nobody signs with any more",
                    keys.accept.len()
                ),
            );
        }
    }

    fn check_ranges(&self, problems: &mut Problems) {
        let day = 24 * 60 * 60 * 1000;
        problems.range("heartbeat.interval_ms", self.heartbeat.interval_ms, 10, 60_000);
        problems.range("heartbeat.silent_after", self.heartbeat.silent_after, 2, 1000);
        problems.range("claims.delay_ms", self.claims.delay_ms, 0, 60_000);
        problems.range("claims.lease_base_ms", self.claims.lease_base_ms, 10, day);
        problems.range("claims.lease_per_entry_us", self.claims.lease_per_entry_us, 0, 1_000_000);
        problems.range("claims.lease_max_ms", self.claims.lease_max_ms, 10, day);
        problems.range("claims.budget_ms", self.claims.budget_ms, 1, day);
        problems.range("claims.push_ms", self.claims.push_ms, 1, day);
        problems.range("claims.watch_ms", self.claims.watch_ms, 10, day);
        if self.takeover.silence_ms > 0 {
            problems.range("takeover.silence_ms", self.takeover.silence_ms, 50, 60_000);
        }
        problems.range("attempts.max", self.attempts.max, 1, u64::from(MAX_ATTEMPT) / 2);
        problems.range("attempts.backoff_ms", self.attempts.backoff_ms, 1, day);
        problems.range("attempts.backoff_max_ms", self.attempts.backoff_max_ms, 1, day);
        problems.range("audit.interval_s", self.audit.interval_s, 1, 86_400);
        problems.range("queue.delay_ms", self.queue.delay_ms, 0, 10_000);
        problems.range("queue.poll_ms", self.queue.poll_ms, 10, 600_000);
        problems.range("limits.tasks", self.limits.tasks, 16, 1_000_000);
        problems.range("limits.executions", self.limits.executions, 1, 4096);
        problems.range("limits.requests", self.limits.requests, 8, 4096);
        problems.range("degradation.late_ms", self.degradation.late_ms, 1, 60_000);
        problems.range("degradation.late_mads", self.degradation.late_mads, 1, 100);
        problems.range("degradation.late_of_20", self.degradation.late_of_20, 1, 20);
        problems.range("degradation.missing_percent", self.degradation.missing_percent, 1, 100);
        problems.range("degradation.hard_ms", self.degradation.hard_ms, 1, 600_000);
        problems.range("degradation.clear_s", self.degradation.clear_s, 1, 86_400);
        problems.range("packet_log.lines_per_s", self.packet_log.lines_per_s, 0, 10_000);
        problems.range("packet_log.batches", self.packet_log.batches, 0, 100_000);
        problems.range("counters.rule_series", self.counters.rule_series, 0, 100_000);
        problems.range("retention.horizon_s", self.retention.horizon_s, 1, 10 * 365 * 86_400);
        problems.range("retention.grace_s", self.retention.grace_s, 1, 86_400);
        problems.range("retention.generations", self.retention.generations, MIN_KEPT.into(), 1_000_000);
        problems.range("retention.configs", self.retention.configs, MIN_KEPT.into(), 1_000_000);
    }

    fn check_between(&self, problems: &mut Problems) {
        let claims = &self.claims;
        if claims.lease_max_ms < claims.lease_base_ms {
            problems.add(
                "claims.lease_max_ms",
                format!("{} is less than lease_base_ms = {}", claims.lease_max_ms, claims.lease_base_ms),
            );
        }
        // Half of the shortest lease is left for the claim itself and for reading the switch.
        if claims.budget_ms.saturating_mul(2) > claims.lease_base_ms {
            problems.add(
                "claims.budget_ms",
                format!(
                    "{} is more than half of lease_base_ms = {}: nothing could be started in time",
                    claims.budget_ms, claims.lease_base_ms
                ),
            );
        }
        let pushes = self
            .switches
            .iter()
            .filter_map(|(name, switch)| Some((format!("switch.{name}.push_ms"), switch.push_ms?)));
        for (key, push_ms) in pushes.chain([("claims.push_ms".to_owned(), claims.push_ms)]) {
            // One that is quick fits into half of any lease.
            let fits = push_ms.saturating_mul(2) <= claims.lease_base_ms
                || push_ms.saturating_add(claims.lease_base_ms) <= claims.lease_max_ms;
            if push_ms == 0 || !fits {
                problems.add(
                    key,
                    format!(
                        "{push_ms} does not fit: a lease with a push is lease_base_ms = {} longer than it, and at most lease_max_ms \
                         = {}",
                        claims.lease_base_ms, claims.lease_max_ms
                    ),
                );
            }
        }
        if self.attempts.backoff_max_ms < self.attempts.backoff_ms {
            problems.add(
                "attempts.backoff_max_ms",
                format!(
                    "{} is less than backoff_ms = {}",
                    self.attempts.backoff_max_ms, self.attempts.backoff_ms
                ),
            );
        }
        if self.degradation.hard_ms < self.degradation.late_ms {
            problems.add(
                "degradation.hard_ms",
                format!("{} is less than late_ms = {}", self.degradation.hard_ms, self.degradation.late_ms),
            );
        }
        // A claim that was sent before the horizon was raised must be over before anything below it is deleted.
        let needed = self.longest_lease() * 2 + self.poll_interval() * 4;
        if self.grace() < needed {
            problems.add(
                "retention.grace_s",
                format!(
                    "{} is too short: twice lease_max_ms and four times queue.poll_ms, {} s, are needed",
                    self.retention.grace_s,
                    needed.as_millis().div_ceil(1000)
                ),
            );
        }
        if self.horizon() < self.grace() {
            problems.add(
                "retention.horizon_s",
                format!("{} is less than grace_s = {}", self.retention.horizon_s, self.retention.grace_s),
            );
        }
    }

    fn check_switches(&self, problems: &mut Problems) {
        if self.switches.len() > MAX_SWITCHES {
            problems.add(
                "switch",
                format!("{} switches, at most {MAX_SWITCHES} are possible", self.switches.len()),
            );
        }
        for (name, switch) in &self.switches {
            if name.is_empty() || name.len() > crate::task::MAX_STRING {
                problems.add("switch", format!("a name has 1 to {} bytes", crate::task::MAX_STRING));
            }
            if let Some(address) = &switch.address
                && !is_host_and_port(address)
            {
                problems.add(
                    format!("switch.{name}.address"),
                    format!("`{address}` is not HOST:PORT, as in 192.0.2.1:9559, [2001:db8::1]:9559 or leaf1.example:9559"),
                );
            }
            let Some(tls) = &switch.tls else { continue };
            if tls.cert.is_some() != tls.key.is_some() {
                problems.add(format!("switch.{name}.tls"), "cert and key belong together");
            }
            for (key, file) in [("ca", Some(&tls.ca)), ("cert", tls.cert.as_ref()), ("key", tls.key.as_ref())]
            {
                if let Some(file) = file
                    && (file.is_empty() || file.contains(['/', '\\', '\0']) || file.starts_with('.'))
                {
                    problems.add(
                        format!("switch.{name}.tls.{key}"),
                        format!(
                            "`{file}` is no plain file name: files are looked up in the nodes' TLS folder"
                        ),
                    );
                }
            }
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', ' ', '[', ']']),
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}
