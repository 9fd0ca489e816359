//! A plan into a switch: step after step. A step goes out as a batch of the client's, in chunks of which several are
//! under way at once; what answers mean for the plan's changes stands here.
//!
//! A step is over when every update is acknowledged. An insert of what is already there and a delete of what is not are
//! no errors by themselves, because a chunk may come twice (its answer was lost or too large): what is there is read and
//! compared before the next step begins.

pub(crate) mod counting;
mod step;
mod updates;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outplane_compiler::state::{Installed, Plan};
use outplane_driver::Lease;
use outplane_p4runtime::entry::{Counter, Key};
use outplane_p4runtime_client::Until;

use crate::connection::Connection;
use crate::counted::Counted;
use crate::errors::{Error, Problem};
use counting::Counting;

pub(crate) use updates::origin_of;

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

/// What a write takes besides that, of our own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How<'a> {
    /// Where goes what entries have counted that go.
    pub(crate) counted: Option<&'a Counted>,
    /// What the plan was made from was not read for it.
    pub(crate) from_memory: bool,
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
        let (written, _) = self.write_as(plan, installed, options, How::default()).await?;
        Ok(written)
    }

    /// The same. Of entries that go, or count for another rule from now on, it is read by their keys what they have counted,
    /// if there is somebody who wants to know: before the flip beside other writes, after it before they go. Says whether the
    /// switch has taken all of it as `installed` lets one expect.
    pub(crate) async fn write_as(
        &self,
        plan: &Plan,
        installed: &Installed,
        options: WriteOptions<'_>,
        how: How<'_>,
    ) -> Result<(Written, bool), Error> {
        let start = Instant::now();
        self.client.check_primacy()?;
        let mut progress =
            Progress { step: "", number: 0, steps: plan.steps.len(), done: 0, total: plan.len() };
        let mut written = Written { updates: plan.len(), ..Written::default() };
        let (mut pacer, mut all_as_known) = (self.client.pacer(), true);
        let mut counting = how.counted.map(|counted| Counting::new(self, counted, plan, installed));
        for (at, step) in plan.steps.iter().enumerate() {
            (progress.step, progress.number) = (step.title, at + 1);
            if let Some(tell) = options.progress {
                tell(progress);
            }
            if options.lease.is_stopped() {
                return Err(self.error(Problem::Cancelled { done: progress.done, total: progress.total }));
            }
            if let Some(counting) = &mut counting {
                counting.before(at).await;
            }
            let writer = step::Writer {
                connection: self,
                step,
                installed,
                options,
                from_memory: how.from_memory,
                progress: &mut progress,
                written: &mut written,
                found: step::Found::default(),
            };
            let beside = async {
                if let Some(counting) = &mut counting {
                    counting.beside(at).await;
                }
            };
            let (result, ()) = tokio::join!(writer.run(&mut pacer), beside);
            self.client.keep_pace(&pacer, result.as_ref().is_err_and(Error::is_disconnect));
            let as_known = result?;
            all_as_known &= as_known;
            if let Some(counting) = &counting {
                counting.after(step, as_known, options.counts);
            }
        }
        written.chunk = pacer.size();
        written.smallest_chunk = pacer.smallest();
        written.elapsed = start.elapsed();
        Ok((written, all_as_known))
    }
}
