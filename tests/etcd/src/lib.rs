//! The same work done with etcd, for comparison: tasks are keys, a watch delivers them, a transaction claims them, a
//! lease frees the claims of a worker that died.
//!
//! `cargo xtask bench` runs it beside RMDP. Only what the comparison needs of etcd's API is here.
//!
//! ```text
//!   submit ──► put q/<id> ──► watch at every worker ──► txn: q/<id> there, c/<id> absent? put c/<id> under my lease
//!                                                            │ whoever succeeds executes
//!                                                            ▼
//!                                                  txn: c/<id> still mine? delete q/<id>, put d/<id>, delete c/<id>
//!   a worker dies ──► its lease runs out ──► the watch shows that c/<id> and w/<worker> are gone ──► the others claim
//! ```

mod client;
mod cluster;
mod task;
mod worker;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated from proto/etcdserverpb.proto"
)]
pub(crate) mod api {
    tonic::include_proto!("etcdserverpb");
}

pub use client::{Change, Client};
pub use cluster::{Cluster, MEMBERS, why_not};
pub use task::{Decision, Outcome, Task, TaskId};
pub use worker::{Executor, Worker, WorkerSettings};
