//! From whatever a switch holds to what it should hold: read, plan, write, and again where something came in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outplane_compiler::plan::{self, Summary};
use outplane_compiler::rules::{self, RuleChanges};
use outplane_compiler::shrink;
use outplane_compiler::state::{Desired, Installed, Plan, policies};
use outplane_driver::Lease;

use crate::connection::Connection;
use crate::errors::{Aftermath, Error, Problem};
use crate::memory::Memory;
use crate::pipeline::{Push, Pushed};
use crate::read::{Read, Unsorted};
use crate::write::{How, WriteOptions, Written, counting};

/// How often we begin anew: the connection broke, or somebody else wrote at the same time.
const ROUNDS: u32 = 4;

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
    /// Nothing was read, in the last round: a [`Session`](crate::Session) knew what the switch holds.
    pub remembered: bool,
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
            remembered: report.remembered,
            planning: report.planning,
            writing: report.written.elapsed,
            elapsed: report.elapsed,
        }
    }
}

/// What is known of a switch before a round.
#[derive(Debug, Default)]
pub(crate) enum Known {
    /// Nothing: it is read.
    #[default]
    Nothing,
    /// What was read of it from this moment on, with our pipeline, and still holds.
    Read(Unsorted, Instant),
    /// What a session knows.
    Memory(Memory),
}

/// What a session does besides what its caller wants.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keeping {
    /// Reads the switch once more at the end, whether or not there was something to write.
    pub(crate) twice: bool,
    /// Says what the switch holds in the end.
    pub(crate) remember: bool,
}

/// What came of the rounds so far.
struct Course {
    pipeline: Pushed,
    pushing: Option<Duration>,
    /// The last round has not read the switch.
    remembered: bool,
}

/// What a round begins from.
struct Begun {
    read: Read,
    read_at: Instant,
    read_ahead: bool,
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
        let (report, _) = self.rounds(Known::Nothing, desired, options, Keeping::default()).await?;
        Ok(report)
    }

    /// The same, from what is known of the switch. Where a switch refuses what was planned from memory, the memory is wrong
    /// or may be: it is read, and planned anew.
    pub(crate) async fn rounds(
        &mut self,
        mut known: Known,
        desired: &Desired,
        mut options: ConvergeOptions<'_>,
        mut keeping: Keeping,
    ) -> Result<(Report, Option<Memory>), Error> {
        let start = Instant::now();
        let mut course = Course { pipeline: Pushed::Kept, pushing: None, remembered: false };
        let mut round = 1;
        loop {
            let error =
                match self.round(std::mem::take(&mut known), desired, options, &mut course, keeping).await {
                    Ok((report, memory)) => {
                        let (pushing, elapsed) = (course.pushing, start.elapsed());
                        return Ok((Report { rounds: round, elapsed, pushing, ..report }, memory));
                    }
                    Err(error) => error,
                };
            let refused = match &*error.problem {
                Problem::Refused(refusal) => Some(&refusal.aftermath),
                _ => None,
            };
            // Not every switch takes what an entry has counted before.
            let without = refused == Some(&Aftermath::Undone) && options.rules == Rules::Carry;
            if without {
                options.rules = Rules::Tell;
            }
            let again = error.is_disconnect()
                || without
                || refused.is_some() && course.remembered
                || matches!(*error.problem, Problem::Changed { .. });
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
                // Somebody else may have been primary meanwhile.
                keeping.twice |= keeping.remember;
            }
            round += 1;
        }
    }

    async fn round(
        &self,
        known: Known,
        desired: &Desired,
        options: ConvergeOptions<'_>,
        course: &mut Course,
        keeping: Keeping,
    ) -> Result<(Report, Option<Memory>), Error> {
        course.remembered = false;
        let program = &self.pipeline.program;
        let (known, recalled) = match known {
            Known::Memory(memory) => (Known::Nothing, self.recalled(memory, desired, &options)),
            known => (known, None),
        };
        let (Begun { read, read_at, read_ahead }, plan, planning) = if let Some(recalled) = recalled {
            course.remembered = true;
            recalled
        } else {
            let begun = self.begin(known, desired, options, course).await?;
            self.keeps_enough(&begun.read.installed, desired, &options)?;
            let start = Instant::now();
            let plan =
                plan::plan(program, &begun.read.installed, desired).map_err(|error| self.error(error))?;
            (begun, plan, start.elapsed())
        };
        let Read { mut installed, unreadable, elapsed: reading } = read;
        let rules = match options.rules {
            Rules::Ignore => RuleChanges::default(),
            Rules::Tell | Rules::Carry => rules::between(program, &installed, desired),
        };
        let counts = match options.rules {
            Rules::Carry => plan::carried(program, &installed, &plan),
            Rules::Ignore | Rules::Tell => BTreeMap::new(),
        };
        let write = WriteOptions { counts: Some(&counts), ..options.write };
        let how = How { counted: self.counted.as_ref(), from_memory: course.remembered };
        let (written, as_known) = match self.write_as(&plan, &installed, write, how).await {
            Ok(written) => written,
            Err(error) => {
                let lease = Lease { start_before: options.write.lease.start_before, ..Lease::OPEN };
                return Err(self.take_back(error, desired, &installed, lease).await);
            }
        };
        let mut seen_again = None;
        if keeping.twice || options.verify && !plan.is_empty() {
            let at = Instant::now();
            let now = self.read_installed(desired, false).await?;
            let left = plan::plan(program, &now.installed, desired).map_err(|error| self.error(error))?;
            // What cannot be read is in every plan.
            if !left.is_empty() && now.unreadable.is_empty() {
                let what = format!("{} writes are missing right after the update", left.len());
                return Err(self.error(Problem::Changed { what }));
            }
            seen_again = Some((now.installed, at));
        }
        // What cannot be read is not known, and where something was otherwise, more may be.
        let is_known = unreadable.is_empty() && (as_known || seen_again.is_some());
        let memory = (keeping.remember && is_known).then(|| {
            // What entries had counted is known to be old.
            installed.counters.clear();
            let (holds, at) = seen_again.unwrap_or_else(|| (plan.applied(&installed), read_at));
            Memory::new(holds, desired, at)
        });
        let report = Report {
            pipeline: course.pipeline,
            rounds: 0,
            plan: plan.summary(program),
            rules,
            written,
            unreadable,
            pushing: None,
            connecting: Duration::ZERO,
            reading,
            read_ahead,
            remembered: course.remembered,
            planning,
            elapsed: Duration::ZERO,
        };
        Ok((report, memory))
    }

    /// The plan from what a session knows; none where the switch is to be read all the same: where its memory does not tell
    /// enough or leads nowhere, and where more entries that count go than are read by their keys.
    fn recalled(
        &self,
        memory: Memory,
        desired: &Desired,
        options: &ConvergeOptions<'_>,
    ) -> Option<(Begun, Plan, Duration)> {
        let (installed, read_at) = memory.serve(desired, options)?;
        let start = Instant::now();
        let program = &self.pipeline.program;
        let plan = plan::plan(program, &installed, desired).ok()?;
        let planning = start.elapsed();
        if self.counted.is_some() && !counting::is_little(program, &installed, &plan) {
            return None;
        }
        let read = Read { installed, ..Read::default() };
        Some((Begun { read, read_at, read_ahead: false }, plan, planning))
    }

    /// What the switch holds: what was read ahead, or what is read now. Pushes the pipeline where it has another one.
    async fn begin(
        &self,
        known: Known,
        desired: &Desired,
        options: ConvergeOptions<'_>,
        course: &mut Course,
    ) -> Result<Begun, Error> {
        if let Known::Read(read, read_at) = known {
            return Ok(Begun { read: self.sort_out(read, desired)?, read_at, read_ahead: true });
        }
        let read_at = Instant::now();
        if let Some(read) = self.read_if_ours(options.push).await? {
            return Ok(Begun { read: self.sort_out(read, desired)?, read_at, read_ahead: false });
        }
        if options.write.lease.is_over() {
            return Err(self.error(Problem::LeaseOver { done: 0, total: 0 }));
        }
        let start = Instant::now();
        course.pipeline = self.push_pipeline(options.push, options.write).await?;
        course.pushing = Some(start.elapsed());
        let read_at = Instant::now();
        Ok(Begun { read: self.read_installed(desired, false).await?, read_at, read_ahead: false })
    }

    /// Refuses to leave less than the caller wants to keep of what the switch holds.
    fn keeps_enough(
        &self,
        installed: &Installed,
        desired: &Desired,
        options: &ConvergeOptions<'_>,
    ) -> Result<(), Error> {
        if options.keep_a_policy && policies(&desired.entries).is_empty() {
            let policies = policies(&installed.entries);
            if let Some(first) = policies.first() {
                let (first, policies) = (first.clone(), policies.len());
                return Err(self.error(Problem::LastPolicy { policies, first }));
            }
        }
        let less = |input| shrink::of_switch(&self.pipeline.program, installed, desired, input);
        match options.keep.and_then(less) {
            Some(less) => Err(self.error(Problem::Shrinks(less))),
            None => Ok(()),
        }
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
