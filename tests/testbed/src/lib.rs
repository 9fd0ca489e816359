//! Labs in network namespaces: hosts behind one P4 switch with real packets between them ([`Lab`]), and a whole site of
//! distributors, controllers, store and switches whose network and processes fail as they are told ([`Cluster`]).
//!
//! `cargo xtask demo` and the end-to-end tests share them. They need root, `ip` and `ethtool`; everything that they
//! make lives in namespaces of their own and goes when they are dropped; what a killed run left behind goes when the
//! next lab starts.

mod agent;
mod ceph;
mod chaos;
mod cluster;
mod faults;
mod history;
mod lab;
mod netns;
mod process;
mod switch;

pub use agent::{Agent, Flow, FlowResult, Outcome, Stream, StreamReport, Transport};
pub use ceph::Ceph;
pub use chaos::{Chaos, ChaosCounts};
pub use cluster::{
    Cluster, ClusterOptions, DATAGRAM_PORT, HTTP_PORT, Metrics, Part, Programs, SharedConfig, StoreAccess,
    StoreKind, Usage, Xdp,
};
pub use faults::{FaultCounts, why_no_faults};
pub use history::{Event, History, JournalLine, ParseJournalError, Totals, TransactionId, Verdict, What};
pub use lab::{Host, Lab};
pub use netns::{Namespace, why_not};
pub use process::{Process, Starter};
pub use switch::{Switch, SwitchKind};

/// The agent's program: reads requests from standard input until it ends. With `chaos LEFT RIGHT` it is a relay.
pub fn agent_program() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => agent::program::run(),
        ["chaos", left, right] => chaos::program::run(left, right),
        _ => anyhow::bail!("no arguments, or `chaos LEFT RIGHT`"),
    }
}
