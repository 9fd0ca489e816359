//! Executions under way: each gets one outcome.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::io::Execution;
use outplane_rmdp_core::task::TransactionId;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::agent::{Agent, Job};

/// How an execution ended.
pub(crate) struct Executed {
    pub(crate) id: TransactionId,
    pub(crate) attempt: u32,
    pub(crate) switch: String,
    pub(crate) outcome: Execution,
    pub(crate) took: Duration,
}

struct Running {
    id: TransactionId,
    attempt: u32,
    switch: String,
    stop: CancellationToken,
    start: Instant,
}

/// Those under way. Dropping it ends them.
pub(crate) struct Executions {
    agent: Agent,
    under_way: JoinSet<Execution>,
    running: HashMap<Id, Running>,
}

impl Executions {
    pub(crate) fn new(agent: Agent) -> Self {
        Self { agent, under_way: JoinSet::new(), running: HashMap::new() }
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn start(&mut self, job: Job, config: Arc<SharedConfig>) {
        let (id, attempt, stop) = (job.task.id(), job.fence.attempt, job.stop.clone());
        let (agent, switch) = (self.agent.clone(), job.task.switch().to_owned());
        let span = tracing::info_span!("execute", task = %id, attempt, switch = job.task.switch());
        let work = async move { agent.execute(job, &config).await }.instrument(span);
        let handle = self.under_way.spawn(work);
        self.running.insert(handle.id(), Running { id, attempt, switch, stop, start: Instant::now() });
    }

    pub(crate) fn stop(&self, id: TransactionId, attempt: u32) {
        for running in self.running.values().filter(|running| running.id == id && running.attempt == attempt)
        {
            running.stop.cancel();
        }
    }

    /// The next one that ends. Waits for ever if there is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Executed {
        loop {
            let (handle, outcome) = match self.under_way.join_next_with_id().await {
                None => std::future::pending().await,
                Some(Ok(done)) => done,
                // Only a panic gets here; its own message has told.
                Some(Err(error)) => {
                    (error.id(), Execution::Failed { reason: "the agent has ended early".to_owned() })
                }
            };
            let Some(Running { id, attempt, switch, start, .. }) = self.running.remove(&handle) else {
                continue;
            };
            return Executed { id, attempt, switch, outcome, took: start.elapsed() };
        }
    }
}
