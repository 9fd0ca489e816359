//! From whatever a switch holds to what it should hold: read, plan, write, and again where something came in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outplane_compiler::plan::{self, Summary};
use outplane_compiler::rules::{self, RuleChanges};
use outplane_compiler::shrink;
use outplane_compiler::state::{Desired, Installed, policies};
use outplane_driver::Lease;

use crate::connection::Connection;
use crate::errors::{Aftermath, Error, Problem};
use crate::pipeline::{Push, Pushed};
use crate::read::Unsorted;
use crate::write::{WriteOptions, Written};

/// How often we begin anew: the connection broke, or somebody else wrote at the same time.
const ROUNDS: u32 = 4;

/// A switch that is read in less than this is read once more amid an update, for its counters.
const QUICK: Duration = Duration::from_millis(200);

/// What to do besides the plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvergeOptions<'a> {
    /// When to push the pipeline.
    pub push: Push,
    /// Read the switch again after the writes and make sure that nothing differs.
    pub verify: bool,
    /// Refuse to take the last policy from a switch that has some: without any, everything passes.
    pub keep_a_policy: bool,
    /// Refuse to leave less than packets see now ([`outplane_compiler::shrink`]), as far as such input makes one doubt that
    /// it is all.
    pub keep: Option<shrink::Input<'a>>,
    /// What is done rule by rule.
    pub rules: Rules,
    /// Progress, cancellation, and until when writes may start.
    pub write: WriteOptions<'a>,
}

/// What a convergence does rule by rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// Nothing: somebody else adds up what entries count over their lives.
    #[default]
    Ignore,
    /// Says what becomes of each.
    Tell,
    /// Says so, and lets a rule whose entries are written anew go on counting from what they had counted. Needs
    /// [`Connection::with_counted`]. A switch that takes no counter with an entry is written without.
    Carry,
}

/// What a convergence did.
#[derive(Clone, Debug)]
pub struct Report {
    /// What became of the pipeline; of the last round that pushed it.
    pub pipeline: Pushed,
    /// Rounds it took; 1 if nothing came in between.
    pub rounds: u32,
    /// The plan of the last round. Its `total` is 0 where there was nothing to do.
    pub plan: Summary,
    /// Where [`ConvergeOptions::rules`] asks for it: what became of rules, in the last round.
    pub rules: RuleChanges,
    /// Writes of the last round.
    pub written: Written,
    /// What the switch does not let read, and what was therefore written in any case.
    pub unreadable: Vec<&'static str>,
    /// How long the last push took; none where there was none.
    pub pushing: Option<Duration>,
    /// Connecting, or raising the election id; only a [`Session`](crate::Session) counts it.
    pub connecting: Duration,
    /// Reading, in the last round. The pipeline's cookie is asked for meanwhile.
    pub reading: Duration,
    /// That was done ahead ([`read_ahead`](outplane_driver::Session::read_ahead)): it is no part of `elapsed`.
    pub read_ahead: bool,
    /// Planning, in the last round.
    pub planning: Duration,
    /// All of it.
    pub elapsed: Duration,
}

impl From<&Report> for outplane_driver::Report {
    fn from(report: &Report) -> Self {
        Self {
            writes: report.plan.total,
            loading: report.pushing,
            fencing: report.connecting,
            reading: report.reading,
            read_ahead: report.read_ahead,
            planning: report.planning,
            writing: report.written.elapsed,
            elapsed: report.elapsed,
        }
    }
}

impl Connection {
    /// Makes the switch hold `desired`, and nothing else of ours.
    ///
    /// A connection that breaks is opened anew, and what somebody changed in between is read again, a few times. Where
    /// the switch refuses a write before the flip, what was written is taken back.
    ///
    /// # Errors
    /// [`Problem`] says which. Whatever it is, packets see a whole policy: all of the old one or all of the new one.
    pub async fn apply(&mut self, desired: &Desired, options: ConvergeOptions<'_>) -> Result<Report, Error> {
        self.rounds(None, desired, options, false).await
    }

    /// The same, from what was read of a switch with our pipeline, and still holds. With `twice` the switch is read once
    /// more at the end, whether or not there was something to write.
    pub(crate) async fn rounds(
        &mut self,
        mut read: Option<Unsorted>,
        desired: &Desired,
        mut options: ConvergeOptions<'_>,
        twice: bool,
    ) -> Result<Report, Error> {
        let start = Instant::now();
        let mut pipeline = Pushed::Kept;
        let mut pushing = None;
        let mut round = 1;
        loop {
            let error =
                match self.round(read.take(), desired, options, &mut pipeline, &mut pushing, twice).await {
                    Ok(report) => {
                        return Ok(Report { rounds: round, elapsed: start.elapsed(), pushing, ..report });
                    }
                    Err(error) => error,
                };
            // Not every switch takes what an entry has counted before.
            let refused = matches!(&*error.problem, Problem::Refused(refusal) if refusal.aftermath == Aftermath::Undone);
            let without = refused && options.rules == Rules::Carry;
            if without {
                options.rules = Rules::Tell;
            }
            let again = error.is_disconnect() || without || matches!(*error.problem, Problem::Changed { .. });
            if !again || round >= ROUNDS {
                return Err(error);
            }
            // Nothing could be written any more.
            if options.write.lease.is_over() {
                return Err(error);
            }
            tracing::warn!(switch = self.target().name, round, %error, "beginning anew");
            if error.is_disconnect() {
                self.reopen().await?;
            }
            round += 1;
        }
    }

    async fn round(
        &self,
        ahead: Option<Unsorted>,
        desired: &Desired,
        options: ConvergeOptions<'_>,
        pipeline: &mut Pushed,
        pushing: &mut Option<Duration>,
        twice: bool,
    ) -> Result<Report, Error> {
        let read_ahead = ahead.is_some();
        let read = if let Some(read) = ahead {
            self.sort_out(read, desired)?
        } else if let Some(read) = self.read_if_ours(options.push).await? {
            self.sort_out(read, desired)?
        } else {
            if options.write.lease.is_over() {
                return Err(self.error(Problem::LeaseOver { done: 0, total: 0 }));
            }
            let start = Instant::now();
            *pipeline = self.push_pipeline(options.push, options.write).await?;
            *pushing = Some(start.elapsed());
            self.read_installed(desired, false).await?
        };
        if options.keep_a_policy && policies(&desired.entries).is_empty() {
            let policies = policies(&read.installed.entries);
            if let Some(first) = policies.first() {
                let (first, policies) = (first.clone(), policies.len());
                return Err(self.error(Problem::LastPolicy { policies, first }));
            }
        }
        let less = |input| shrink::of_switch(&self.pipeline.program, &read.installed, desired, input);
        if let Some(less) = options.keep.and_then(less) {
            return Err(self.error(Problem::Shrinks(less)));
        }
        let start = Instant::now();
        let program = &self.pipeline.program;
        let plan = plan::plan(program, &read.installed, desired).map_err(|error| self.error(error))?;
        let planning = start.elapsed();
        let rules = match options.rules {
            Rules::Ignore => RuleChanges::default(),
            Rules::Tell | Rules::Carry => rules::between(program, &read.installed, desired),
        };
        let counts = match options.rules {
            Rules::Carry => plan::carried(program, &read.installed, &plan),
            Rules::Ignore | Rules::Tell => BTreeMap::new(),
        };
        let counted = self.counted.as_ref().filter(|_| read.elapsed < QUICK);
        let write = WriteOptions { counts: Some(&counts), ..options.write };
        let written = match self.write_and_count(&plan, &read.installed, write, counted).await {
            Ok(written) => written,
            Err(error) => {
                let lease = Lease { start_before: options.write.lease.start_before, ..Lease::OPEN };
                return Err(self.take_back(error, desired, &read.installed, lease).await);
            }
        };
        if twice || options.verify && !plan.is_empty() {
            let now = self.read_installed(desired, false).await?;
            let left = plan::plan(program, &now.installed, desired).map_err(|error| self.error(error))?;
            // What cannot be read is in every plan.
            if !left.is_empty() && now.unreadable.is_empty() {
                let what = format!("{} writes are missing right after the update", left.len());
                return Err(self.error(Problem::Changed { what }));
            }
        }
        Ok(Report {
            pipeline: *pipeline,
            rounds: 0,
            plan: plan.summary(program),
            rules,
            written,
            unreadable: read.unreadable,
            pushing: None,
            connecting: Duration::ZERO,
            reading: read.elapsed,
            read_ahead,
            planning,
            elapsed: Duration::ZERO,
        })
    }

    /// Reads the switch and, at the same time, whether its pipeline is ours; nothing where it is not, or where it shall
    /// be pushed in any case. Only a primary pushes a pipeline: if that comes in between, our writes are refused.
    pub(crate) async fn read_if_ours(&self, push: Push) -> Result<Option<Unsorted>, Error> {
        if push == Push::Always {
            return Ok(None);
        }
        // Where there is much to read, the switch may answer the small question after the large one.
        let options = self.client.options();
        let cookie = self.client.cookie_within(options.read_deadline.max(options.call_deadline));
        let (cookie, read) = tokio::join!(cookie, self.read_all(self.counted.is_some()));
        // What was read of another program means nothing, and what ours had counted is gone.
        if cookie? != Some(self.pipeline.cookie) {
            if let Some(counted) = &self.counted {
                counted.put_nothing();
            }
            return Ok(None);
        }
        let read = read?;
        if let Some(counted) = &self.counted {
            counted.put(read.installed());
        }
        Ok(Some(read))
    }

    /// After a refusal: back to what the switch held before, unless packets see the new policy already.
    async fn take_back(
        &self,
        mut error: Error,
        desired: &Desired,
        before: &Installed,
        lease: Lease<'_>,
    ) -> Error {
        let Problem::Refused(refusal) = &mut *error.problem else { return error };
        refusal.aftermath = match self.undo(desired, before, lease).await {
            Ok(aftermath) => aftermath,
            Err(why) => Aftermath::UndoFailed(why.problem.to_string()),
        };
        error
    }

    async fn undo(
        &self,
        desired: &Desired,
        before: &Installed,
        lease: Lease<'_>,
    ) -> Result<Aftermath, Error> {
        let now = self.read_installed(desired, false).await?.installed;
        if now.version != before.version {
            return Ok(Aftermath::Flipped);
        }
        let plan = plan::undo(&self.pipeline.program, before, &now).map_err(|error| self.error(error))?;
        self.write(&plan, &now, WriteOptions { lease, ..WriteOptions::default() }).await?;
        Ok(Aftermath::Undone)
    }
}
