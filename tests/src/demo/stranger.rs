//! A program that is no controller of ours, and writes to a switch all the same.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use outplane_compiler::state::{Change, Desired, Plan, Step};
use outplane_driver_p4runtime::{Connection, Options, Pipeline, Target, WriteOptions};

/// Takes a switch over and deletes the first of our entries there, so many of them. It has looked before, as a reader, so
/// that it is done before anybody can stop it.
pub(super) fn delete(address: String, device_id: u64, entries: usize) -> Result<()> {
    let target = Target { name: "the switch".to_owned(), address, device_id, role: None, tls: None };
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let reader =
            Connection::open_read_only(target.clone(), Arc::clone(&pipeline), Options::default()).await?;
        let installed = reader.read_installed(&Desired::default(), false).await?.installed;
        let keys = installed.entries.iter().take(entries).map(|entry| entry.key.clone());
        let changes: Vec<_> = keys.map(Change::Delete).collect();
        ensure!(changes.len() == entries, "the switch has {} entries of ours", changes.len());
        let steps = vec![Step { title: "by hand", changes }];
        let plan = Plan { steps, from_version: installed.version, to_version: installed.version };
        let options = Options { take_over: true, ..Options::default() };
        let writer = Connection::open(target, pipeline, options).await?;
        writer.write(&plan, &installed, WriteOptions::default()).await.context("the write")?;
        Ok(())
    })
}
