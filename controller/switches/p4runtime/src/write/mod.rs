//! A plan into a switch: step after step. A step goes out as a batch of the client's, in chunks of which several are
//! under way at once; what answers mean for the plan's changes stands here.
//!
//! A step is over when every update is acknowledged. An insert of what is already there and a delete of what is not are
//! no errors by themselves, because a chunk may come twice (its answer was lost or too large): what is there is read and
//! compared before the next step begins.

mod step;
mod updates;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outplane_compiler::plan::CLEAN_UP;
use outplane_compiler::state::{Installed, Plan};
use outplane_driver::Lease;
use outplane_p4runtime::entry::{Counter, Key};
use outplane_p4runtime_client::Until;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::counted::Counted;
use crate::errors::{Error, Problem};

pub(crate) use updates::origin_of;

/// What counters may take amid an update.
const COUNTING: Duration = Duration::from_millis(400);

/// How far a write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Title of the step.
    pub step: &'static str,
    /// Its number, from 1.
    pub number: usize,
    /// Steps in the plan.
    pub steps: usize,
    /// Writes of the plan that are acknowledged.
    pub done: usize,
    /// Writes in the plan.
    pub total: usize,
}

/// What a write takes besides the plan.
#[derive(Clone, Copy, Default)]
pub struct WriteOptions<'a> {
    /// Told at the beginning of each step and after each chunk. Should return at once.
    pub progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
    /// Until when writes may start, and pushes of the pipeline. A chunk that has started ends within
    /// [`Options::write_deadline`](crate::Options), a push within what the lease gives it or else within
    /// [`Options::pipeline_deadline`](crate::Options), for all we know of it. Only a [`Session`](crate::Session) waits
    /// for what is not answered in time.
    pub lease: Lease<'a>,
    /// What new entries begin to count from; those that are not among them from 0.
    pub counts: Option<&'a BTreeMap<Key, Counter>>,
}

impl<'a> WriteOptions<'a> {
    fn until(&self) -> Until<'a> {
        Until { cancel: self.lease.stop, start_before: self.lease.start_before }
    }
}

impl std::fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteOptions")
            .field("progress", &self.progress.is_some())
            .field("lease", &self.lease)
            .field("counts", &self.counts.map(BTreeMap::len))
            .finish()
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Updates of the plan.
    pub updates: usize,
    /// Chunks sent.
    pub chunks: usize,
    /// Updates sent once more, because they or their answers did not get through.
    pub repeated: usize,
    /// Updates in a chunk at the end of it all.
    pub chunk: usize,
    /// Updates in a chunk when it was worst.
    pub smallest_chunk: usize,
    /// When the last write was acknowledged; none where there was none to do.
    pub acknowledged: Option<Instant>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Connection {
    /// Writes a plan. `installed` is what the plan was made from.
    ///
    /// # Errors
    /// [`Problem::Refused`] with the writes that the switch does not take; [`Problem::Changed`] where it holds something
    /// else than `installed` says; [`ClientProblem::PrimacyLost`](outplane_p4runtime_client::Problem::PrimacyLost), [`ClientProblem::Disconnected`](outplane_p4runtime_client::Problem::Disconnected), [`ClientProblem::Deadline`](outplane_p4runtime_client::Problem::Deadline),
    /// [`Problem::Cancelled`], [`Problem::LeaseOver`]. Whatever it is, packets see a whole policy, and a plan from what
    /// the switch holds by then finishes or takes back.
    pub async fn write(
        &self,
        plan: &Plan,
        installed: &Installed,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        self.write_and_count(plan, installed, options, None).await
    }

    /// The same. Before entries are deleted that packets do not see any more, what they have counted is read once more,
    /// if there is somebody who wants to know.
    pub(crate) async fn write_and_count(
        &self,
        plan: &Plan,
        installed: &Installed,
        options: WriteOptions<'_>,
        counted: Option<&Counted>,
    ) -> Result<Written, Error> {
        let start = Instant::now();
        self.client.check_primacy()?;
        let mut progress =
            Progress { step: "", number: 0, steps: plan.steps.len(), done: 0, total: plan.len() };
        let mut written = Written { updates: plan.len(), ..Written::default() };
        let mut pacer = self.client.pacer();
        for (at, step) in plan.steps.iter().enumerate() {
            (progress.step, progress.number) = (step.title, at + 1);
            if let Some(tell) = options.progress {
                tell(progress);
            }
            if options.lease.is_stopped() {
                return Err(self.error(Problem::Cancelled { done: progress.done, total: progress.total }));
            }
            if let Some(counted) = counted
                && step.title == CLEAN_UP
                && let Ok(Ok(now)) = timeout(COUNTING, self.read_all(true)).await
            {
                counted.put_before(now.installed(), step);
            }
            let result = step::Writer {
                connection: self,
                step,
                installed,
                options,
                progress: &mut progress,
                written: &mut written,
                found: step::Found::default(),
            }
            .run(&mut pacer)
            .await;
            self.client.keep_pace(&pacer, result.as_ref().is_err_and(Error::is_disconnect));
            result?;
        }
        written.chunk = pacer.size();
        written.smallest_chunk = pacer.smallest();
        written.elapsed = start.elapsed();
        Ok(written)
    }
}
