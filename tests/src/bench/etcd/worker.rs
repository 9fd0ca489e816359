//! A worker on etcd as a process of its own, so that it can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use outplane_driver::{Ended, Fence, Lease, Session as _};
use outplane_driver_p4runtime::{Ahead, Backoff, Options, Pipeline, Session, Target};
use outplane_etcd::{Client, Executor, Outcome, Task, TaskId, Worker, WorkerSettings};
use outplane_rmdp_node::blob;
use tokio::sync::Mutex;

/// What it prints before it begins.
pub(super) const READY: &str = "working";
/// Before a task that failed is free again, as RMDP's controllers wait.
const BACKOFF: Duration = Duration::from_millis(250);
/// How long reading ahead may take, as there.
const AHEAD: Duration = Duration::from_millis(200);

/// What it is told.
#[derive(clap::Args, Clone, Debug)]
pub(in crate::bench) struct WorkerArguments {
    #[arg(long)]
    name: String,
    /// The members' URLs
    #[arg(long = "endpoint")]
    endpoints: Vec<String>,
    /// The member that it asks first
    #[arg(long)]
    member: usize,
    /// Seconds
    #[arg(long)]
    lease: i64,
    /// Milliseconds
    #[arg(long)]
    claim_delay: u64,
    /// Milliseconds that a write which has started may take
    #[arg(long)]
    budget: u64,
    /// NAME=HOST:PORT=DEVICE
    #[arg(long = "switch", value_parser = switch)]
    switches: Vec<Target>,
}

fn switch(text: &str) -> Result<Target, String> {
    let parts: Vec<_> = text.split('=').collect();
    let [name, address, device] = parts[..] else { return Err("NAME=HOST:PORT=DEVICE".to_owned()) };
    let device_id = device.parse().map_err(|_| format!("{device} is no device id"))?;
    Ok(Target { name: name.to_owned(), address: address.to_owned(), device_id, role: None, tls: None })
}

/// Works until it is killed.
pub(in crate::bench) async fn work(arguments: &WorkerArguments) -> Result<()> {
    let client = Client::new(&arguments.endpoints)?;
    client.prefer(arguments.member);
    let pipeline = Arc::new(Pipeline::outplane().clone());
    // As RMDP's agent has them.
    let budget = Duration::from_millis(arguments.budget);
    let (defaults, pause) = (Options::default(), Duration::from_millis(20));
    let options = Options {
        write_deadline: budget,
        call_deadline: defaults.call_deadline.min(budget),
        connect_deadline: defaults.connect_deadline.min(budget / 2),
        backoff: Backoff { first: pause, limit: pause, attempts: 2 },
        ..defaults
    };
    let switch = |target: &Target| {
        let session = Session::new(target.clone(), Arc::clone(&pipeline), options.clone());
        (target.name.clone(), Mutex::new(Switch { session, ahead: None }))
    };
    let switches = arguments.switches.iter().map(switch).collect();
    let settings = WorkerSettings {
        name: arguments.name.clone(),
        claim_delay: Duration::from_millis(arguments.claim_delay),
        lease_seconds: arguments.lease,
    };
    let lease = Duration::from_secs(arguments.lease.unsigned_abs());
    println!("{READY}");
    Worker::run(client, settings, Agent { switches, lease }).await
}

/// A switch, and what was read of it while a claim was under way.
struct Switch {
    session: Session,
    ahead: Option<Ahead>,
}

/// As RMDP's agent works.
struct Agent {
    switches: BTreeMap<String, Mutex<Switch>>,
    lease: Duration,
}

impl Executor for Agent {
    async fn prepare(&self, id: &TaskId) {
        let Some(switch) = self.switches.get(&id.object) else { return };
        let mut switch = switch.lock().await;
        let read = tokio::time::timeout(AHEAD, switch.session.read_ahead()).await;
        switch.ahead = read.ok().flatten();
    }

    async fn execute(&self, task: &Task) -> Result<Outcome> {
        let end = self.carry_out(task).await;
        if let Err(error) = &end {
            eprintln!("{}: {error:#}", task.id);
            tokio::time::sleep(BACKOFF).await;
        }
        end
    }
}

impl Agent {
    async fn carry_out(&self, task: &Task) -> Result<Outcome> {
        let mut switch = self.switches.get(&task.id.object).context("no such switch")?.lock().await;
        let desired = blob::decode(&task.value)?;
        // The claim's revision stands for an audit's number: whoever claimed later has the higher fence.
        let fence = Fence { generation: task.id.number, audit: u64::try_from(task.claim)?, attempt: 1 };
        let start_before = Some(tokio::time::Instant::now() + self.lease);
        let ahead = switch.ahead.take();
        let lease = Lease { start_before, ..Lease::OPEN };
        match switch.session.converge(ahead, fence, &desired, lease).await {
            Ok(_) => Ok(Outcome::Done),
            Err(error) => match error.ended() {
                Ended::Overtaken { by, .. } if by.generation > task.id.number => Ok(Outcome::Superseded),
                _ => Err(error.into()),
            },
        }
    }
}
