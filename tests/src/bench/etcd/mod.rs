//! The same work done by RMDP and on etcd: how long a task takes, and who waits for how long when somebody is killed.
//!
//! ```text
//!   policy ──► RMDP: append to the intent log ──► 2 distributors compile ──► 3 controllers  ──► s1 .. s8
//!          └─► etcd: compile, one transaction ──► 3 members, watches     ──► 3 workers      ──► s9 .. s16
//! ```
//! Both live at the same time on one network ([`outplane_testbed::Cluster`]): worker k is in the namespace of controller
//! k, the members are in the store's, and all switches are soft switches of the same kind. A policy has one task a
//! switch; a task is carried out by the driver under a fence. What counts is when the switch carried out the last write
//! of a task, as its own journal has it.

mod figures;
mod kills;
mod masterless;
mod on_etcd;
mod site;
mod system;
mod worker;

use anyhow::Result;
use outplane_testbed::{Ceph, StoreKind};

use crate::skipped;

pub(super) use figures::{is_write, ms, percentile};
pub(super) use system::unix_ns;
pub(super) use worker::{WorkerArguments, work};

/// How much of it.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(super) struct Arguments {
    /// etcd: kills of each kind
    #[arg(long, default_value_t = 5, value_name = "N")]
    repetitions: usize,
    /// etcd: policies whose latency is measured
    #[arg(long, default_value_t = 100, value_name = "N")]
    rounds: usize,
    /// etcd: once more with RMDP on Ceph in place of the embedded store
    #[arg(long)]
    ceph: bool,
}

/// Measures and prints.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let what = "the same work on RMDP and on etcd";
    if let Some(why) = outplane_testbed::why_not().or_else(outplane_etcd::why_not) {
        skipped(what, &why);
        return Ok(());
    }
    site::run(StoreKind::Embedded, arguments)?;
    if arguments.ceph {
        match Ceph::why_not() {
            Some(why) => skipped(&format!("{what}, on Ceph"), &why),
            None => site::run(StoreKind::Ceph { gateways: 2 }, arguments)?,
        }
    }
    Ok(())
}
