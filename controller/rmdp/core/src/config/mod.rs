//! The shared configuration: everything that all nodes follow alike. A node's own file says who it is, where the store
//! is and what its secrets are; the rest is here, a versioned object in the store ([`crate::object::StoredConfig`]).
//!
//! It is TOML. Every key but the members has a default; unknown keys are refused.
//!
//! ```toml
//! [[member]]
//! name = "d1"                 # as the node's own file says
//! sender = 1                  # id in datagrams, never given to another
//! role = "distributor"        # or "controller"
//! address = "192.0.2.1:8277"  # where it takes datagrams
//! http = "192.0.2.1:9277"     # metrics and health; optional, for people and `outplane status`
//!
//! [datagrams]
//! groups = ["239.255.82.77", "ff15::524d:4450"]  # multicast; [] sends to the members' addresses alone
//! port = 8277                 # of the groups
//! ttl = 1                     # hops that multicast may take, 1 to 255
//! fan_out = false             # send to every member's address as well, where multicast cannot go
//! burst = 1                   # copies of each announce, 1 to 16
//!
//! [keys]
//! sign_with = 1               # id of the key that datagrams are signed with; the secrets are in the nodes' own files
//! accept = [1, 2]             # ids of the keys that are taken, at most 2 (the current one and the next), sign_with among them
//!
//! [heartbeat]
//! interval_ms = 200
//! silent_after = 5            # intervals without a heartbeat after which a node counts as gone
//!
//! [claims]
//! delay_ms = 30               # rank k waits k times this before it claims
//! lease_base_ms = 3000        # lease = base + per entry, at most max
//! lease_per_entry_us = 100
//! lease_max_ms = 60000
//! budget_ms = 1000            # no write starts later than this before the lease ends
//! push_ms = 30000             # a push of the pipeline may take so long, where it is not known how long it takes
//! watch_ms = 1500             # a task that ought to be decided is looked after when this has passed
//!
//! [takeover]
//! silence_ms = 200            # an owner of whom nothing is heard for so long is taken over, where the switch fences; 0: never
//!
//! [attempts]
//! max = 5                     # then the task fails
//! backoff_ms = 250            # before the second attempt, doubled each time
//! backoff_max_ms = 10000
//!
//! [audit]
//! interval_s = 60             # how often who keeps a switch reads it and compares, give or take a quarter
//!
//! [queue]
//! delay_ms = 50               # a task that is not decided after k + 1 times this is queued by the distributor of rank k
//! poll_ms = 1000              # how often q/ is listed
//!
//! [limits]
//! tasks = 10000               # that a controller keeps in mind; the queue has the others
//! executions = 64             # at a time in a controller, one a switch
//! requests = 256              # to the store under way at a time, for one node
//!
//! [degradation]
//! late_ms = 5                 # late: later than this and than median + late_mads x MAD
//! late_mads = 4
//! late_of_20 = 5              # so many late ones of the last 20 make a sender degraded
//! missing_percent = 20        # or more missing than this of the last 50
//! hard_ms = 50                # median lateness for a hard alert
//! clear_s = 30                # good for so long clears the mark
//!
//! [retention]
//! horizon_s = 86400           # how long decisions stay, and events may be late
//! grace_s = 600               # between raising the horizon and deleting below it
//! generations = 100           # of the intent that stay
//! configs = 100               # versions of this configuration that stay
//!
//! [packet_log]                # packets that rules with `log` deny
//! lines_per_s = 20            # of one switch that get a line; the others are counted
//! batches = 300               # of each controller that stay in the store; 0: none are written
//!
//! [counters]                  # what rules count
//! rule_series = 0             # rules that have series of their own in a controller's metrics; the others of a switch are one
//!
//! [switch.leaf1]              # what differs from the intent's Switch object, or all that is known of the switch
//! address = "192.0.2.9:9559"  # P4Runtime server
//! device_id = 1
//! push_ms = 30000             # instead of claims.push_ms, and of what was measured
//! role = "outplane"           # P4Runtime role; without it the default role
//! tls = { ca = "ca.pem", cert = "us.pem", key = "us.key", server_name = "leaf1" }  # in the nodes' TLS folder
//! ```

mod check;
mod read;
mod times;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use check::{ConfigError, ConfigProblem};
pub(crate) use times::MOST_PATIENCE;

/// Most members.
pub const MAX_MEMBERS: usize = 64;
/// Most accepted keys: the current one and the next. The XDP program has room for these.
pub const MAX_KEYS: usize = 2;
/// Fewest generations, and versions of this configuration, that stay: appenders reckon with it.
pub const MIN_KEPT: u32 = 2;
/// Most multicast groups.
pub const MAX_GROUPS: usize = 8;
/// Most switches.
pub const MAX_SWITCHES: usize = 10_000;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Compiles, queues and announces.
    Distributor,
    /// Claims and executes.
    Controller,
}

impl From<Role> for outplane_rmdp_wire::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Distributor => Self::Distributor,
            Role::Controller => Self::Controller,
        }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Unique; see [`crate::key::check_name`].
    pub name: String,
    /// Sender id in datagrams: unique, never given to another.
    pub sender: u32,
    /// What it does.
    pub role: Role,
    /// Where it takes datagrams.
    pub address: SocketAddr,
    /// Where it serves metrics and health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section! {
    /// How datagrams travel.
    Datagrams {
        /// Multicast groups; none: only to the members' addresses.
        groups: Vec<IpAddr> = vec![
            IpAddr::V4(outplane_rmdp_wire::DEFAULT_GROUP_V4),
            IpAddr::V6(outplane_rmdp_wire::DEFAULT_GROUP_V6),
        ],
        /// UDP port of the groups.
        port: u16 = outplane_rmdp_wire::DEFAULT_PORT,
        /// Hops that multicast may take.
        ttl: u8 = 1,
        /// To every member's address as well.
        fan_out: bool = false,
        /// Copies of each announce.
        burst: u8 = 1,
    }
}

section! {
    /// Ids of the keys that datagrams are authenticated with. The secrets are in the nodes' own files.
    Keys {
        /// The one that datagrams are signed with.
        sign_with: u16 = 1,
        /// Those that are taken.
        accept: Vec<u16> = vec![1],
    }
}

section! {
    /// How nodes show that they live.
    HeartbeatConfig {
        /// From one to the next.
        interval_ms: u16 = 200,
        /// Intervals without one after which a node counts as gone.
        silent_after: u16 = 5,
    }
}

section! {
    /// How long attempts are owned.
    Claims {
        /// Rank k waits k times this before it claims.
        delay_ms: u32 = 30,
        /// Of every lease.
        lease_base_ms: u32 = 3000,
        /// For each entry to be written, on top.
        lease_per_entry_us: u32 = 100,
        /// Longest lease.
        lease_max_ms: u32 = 60_000,
        /// No write starts later than this before the lease ends: what a started write may take.
        budget_ms: u32 = 1000,
        /// How long a push of the pipeline into a switch may take, where it is not known how long it does take.
        push_ms: u32 = 30_000,
        /// When a task that ought to be decided is looked after.
        watch_ms: u32 = 1500,
    }
}

section! {
    /// When others go on with what a silent owner has begun.
    Takeover {
        /// The owner of an attempt who is not heard for so long is silent: on a switch that fences, the next attempt
        /// begins. 0: the lease alone says when an attempt is over.
        silence_ms: u32 = 200,
    }
}

section! {
    /// How often a task is tried.
    Attempts {
        /// Then it fails.
        max: u32 = 5,
        /// Before the second attempt, doubled for each after it.
        backoff_ms: u32 = 250,
        /// Longest wait.
        backoff_max_ms: u32 = 10_000,
    }
}

section! {
    /// How switches are kept at what they should hold.
    AuditConfig {
        /// From one look to the next, give or take a quarter; a switch that has stirred is looked at at once.
        interval_s: u32 = 60,
    }
}

section! {
    /// The queue in the store.
    Queue {
        /// A task is queued by the distributor of rank k after k + 1 times this, unless it is decided by then.
        delay_ms: u32 = 50,
        /// How often it is listed.
        poll_ms: u32 = 1000,
    }
}

section! {
    /// Bounds of a node.
    Limits {
        /// Tasks that it keeps in mind.
        tasks: u32 = 10_000,
        /// Executions at a time in a controller.
        executions: u32 = 64,
        /// Requests to the store under way at a time.
        requests: u32 = 256,
    }
}

section! {
    /// When senders and receivers count as degraded.
    DegradationConfig {
        /// A copy is late when it is later than this and than median + `late_mads` x MAD.
        late_ms: u32 = 5,
        /// See `late_ms`.
        late_mads: u32 = 4,
        /// So many late ones of the last 20 make a sender degraded.
        late_of_20: u8 = 5,
        /// Or more missing than this of the last 50, in percent.
        missing_percent: u8 = 20,
        /// Median lateness for a hard alert.
        hard_ms: u32 = 50,
        /// Good for so long clears a mark.
        clear_s: u32 = 30,
    }
}

section! {
    /// What stays in the store for how long.
    Retention {
        /// How long decisions stay, and how late an event may come.
        horizon_s: u32 = 86_400,
        /// Between raising the horizon and deleting below it; longer than any lease.
        grace_s: u32 = 600,
        /// Generations of the intent that stay.
        generations: u32 = 100,
        /// Versions of the shared configuration that stay.
        configs: u32 = 100,
    }
}

section! {
    /// Packets that rules with `log` deny.
    PacketLogConfig {
        /// Of one switch that get a line a second; the others are counted.
        lines_per_s: u32 = 20,
        /// Batches of each controller that stay in the store, at most one a second; 0: none are written.
        batches: u32 = 300,
    }
}

section! {
    /// What rules count.
    CountersConfig {
        /// Rules that have series of their own in the metrics of the controller that keeps their switch; the others of a
        /// switch are one together. 0: there are none by rule.
        rule_series: u32 = 0,
    }
}

/// A switch: what differs from the intent's Switch object, or all that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchConfig {
    /// `host:port` of its P4Runtime server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// P4Runtime device id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<u64>,
    /// How long a push of the pipeline into it may take, milliseconds; none: what was measured, or `claims.push_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_ms: Option<u32>,
    /// P4Runtime role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SwitchTls>,
}

/// Names of files in the nodes' TLS folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchTls {
    /// The authorities that the switch's certificate must come from.
    pub ca: String,
    /// Our certificate; with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name to expect in the switch's certificate; without it the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedConfig {
    /// The nodes.
    #[serde(default, rename = "member")]
    pub members: Vec<Member>,
    /// How datagrams travel.
    #[serde(default)]
    pub datagrams: Datagrams,
    /// Which keys authenticate them.
    #[serde(default)]
    pub keys: Keys,
    /// How nodes show that they live.
    #[serde(default)]
    pub heartbeat: HeartbeatConfig,
    /// How long attempts are owned.
    #[serde(default)]
    pub claims: Claims,
    /// When others go on with what a silent owner has begun.
    #[serde(default)]
    pub takeover: Takeover,
    /// How often a task is tried.
    #[serde(default)]
    pub attempts: Attempts,
    /// How switches are kept at what they should hold.
    #[serde(default)]
    pub audit: AuditConfig,
    /// The queue in the store.
    #[serde(default)]
    pub queue: Queue,
    /// Bounds of a node.
    #[serde(default)]
    pub limits: Limits,
    /// When senders and receivers count as degraded.
    #[serde(default)]
    pub degradation: DegradationConfig,
    /// What stays in the store for how long.
    #[serde(default)]
    pub retention: Retention,
    /// Packets that rules with `log` deny.
    #[serde(default)]
    pub packet_log: PacketLogConfig,
    /// What rules count.
    #[serde(default)]
    pub counters: CountersConfig,
    /// Switches by name.
    #[serde(default, rename = "switch", skip_serializing_if = "BTreeMap::is_empty")]
    pub switches: BTreeMap<String, SwitchConfig>,
}

impl SharedConfig {
    /// Reads and checks it. All faults are told at once.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        if text.len() > crate::object::MAX_CONFIG {
            return Err(ConfigError::TooLarge { length: text.len() });
        }
        read::read(text)
    }

    /// As TOML, every key written out.
    #[expect(clippy::missing_panics_doc, reason = "such a structure can always be written")]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("maps with string keys")
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The member with this sender id.
    pub fn sender(&self, sender: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.sender == sender)
    }

    /// The members that claim and execute.
    pub fn controllers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Controller)
    }

    /// The members that announce.
    pub fn distributors(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Distributor)
    }
}

#[cfg(test)]
mod tests;
