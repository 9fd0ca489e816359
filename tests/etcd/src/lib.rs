//! The same work done with etcd, for comparison: tasks are keys, a watch delivers them, a transaction claims them, a
//! lease frees the claims of a worker that died.
//!
//! `cargo xtask bench` runs it beside RMDP. Only what the comparison needs of etcd's API is here.
//!
//! ```text
//!   submit ──► put q/<id> ──► watch at every worker ──► txn: c/<id> absent? put it under my lease
//!                                                            │ whoever succeeds executes
//!                                                            ▼
//!                                                  txn: delete q/<id>, put d/<id>
//!   a worker dies ──► its lease runs out ──► the watch shows that c/<id> is gone ──► the others claim again
//! ```

mod client;
mod cluster;
mod worker;

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated from proto/etcdserverpb.proto")]
pub(crate) mod api {
    tonic::include_proto!("etcdserverpb");
}

pub use client::Client;
pub use cluster::{Cluster, why_not};
pub use worker::{Task, Worker, WorkerSettings};
