//! The agent: carries out what a controller has claimed, and decides nothing.
//!
//! ```text
//!   Execute ──► where is the switch? ──► its desired state ──► Session::converge under the fence ──► Execution
//!               shared configuration,     Blobs                 no write starts after start_before
//!               else the intent's Switch
//! ```
//! A session is kept for each switch, so that a task costs one round trip for its fence and none to connect.

mod fence;
mod outcome;
mod seen;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outplane_compiler::state::Installed;
use outplane_driver::{Ended, Lease, Loading, Session as _};
use outplane_driver_p4runtime::{
    Ahead, Audited, Backoff, Counted, Deadlines, Difference, Error, Options, Pipeline, Reach, Report,
    Session, Tap, Target, TlsFiles,
};
use outplane_rmdp_core::Instant;
use outplane_rmdp_core::config::{SharedConfig, SwitchConfig};
use outplane_rmdp_core::io::{Audit, Execution};
use outplane_rmdp_core::object::text;
use outplane_rmdp_core::task::{Fence, Task, Work};
use tokio_util::sync::CancellationToken;

use crate::blobs::Blobs;
use crate::clock;
use crate::intents::Intents;
use crate::packets::Names;
use crate::plain;
use crate::totals::{Begun, Totals};
use crate::watch::Watch;

pub(crate) use fence::chances;
pub(crate) use outcome::of_driver;
use outcome::{answer_text, outcome, report_text, to_driver};
use seen::Seen;

/// Most sessions that are kept.
const MOST_SESSIONS: usize = 4096;

/// Most switches that are read ahead at a time; the oldest gives way.
const MOST_AHEAD: usize = 64;

/// How long reading ahead may keep the session.
const AHEAD: Duration = Duration::from_millis(200);

/// What is to be carried out.
#[derive(Clone, Debug)]
pub struct Job {
    /// The task.
    pub task: Task,
    /// The attempt's fence.
    pub fence: Fence,
    /// No write to the switch starts later.
    pub start_before: Instant,
    /// What a write that has started may take.
    pub budget: Duration,
    /// No push of the pipeline starts later, and each is given so long; none: there is no time for one.
    pub push: Option<(Instant, Duration)>,
    /// Stops it.
    pub stop: CancellationToken,
}

/// The agent of a controller. Clones share everything.
#[derive(Clone, Debug)]
pub struct Agent {
    blobs: Blobs,
    intents: Intents,
    /// Where certificates and keys for switches are.
    tls: PathBuf,
    sessions: Arc<Mutex<HashMap<String, Kept>>>,
    /// What was read of switches while their tasks' claims were under way, the newest last.
    ahead: Arc<Mutex<VecDeque<(String, Ahead)>>>,
    pipeline: Arc<Pipeline>,
    watch: Watch,
    /// How long the last push into a switch took, until somebody asks.
    pushed: Arc<Mutex<HashMap<String, Duration>>>,
    /// Where packets from switches go.
    tap: Option<Tap>,
    /// What their tags mean.
    names: Names,
    /// What rules count.
    totals: Option<Totals>,
    /// What was seen of switches the last time.
    seen: Seen,
}

#[derive(Clone, Debug)]
struct Kept {
    target: Target,
    session: Arc<tokio::sync::Mutex<Session>>,
    /// What its entries have counted whenever it was read.
    counted: Counted,
}

impl Agent {
    /// An agent without sessions; `tls` is the folder of the switches' certificates.
    pub fn new(blobs: Blobs, intents: Intents, tls: PathBuf) -> Self {
        let pipeline = Arc::new(Pipeline::outplane().clone());
        let (sessions, ahead, watch) = (Arc::default(), Arc::default(), Watch::new());
        let (pushed, tap, names) = (Arc::default(), None, Names::default());
        Self {
            blobs,
            intents,
            tls,
            sessions,
            ahead,
            pipeline,
            watch,
            pushed,
            tap,
            names,
            totals: None,
            seen: Seen::default(),
        }
    }

    /// What rules count goes here.
    #[must_use]
    pub fn with_totals(self, totals: Totals) -> Self {
        Self { totals: Some(totals), ..self }
    }

    /// What rules count.
    pub(crate) fn totals(&self) -> Option<&Totals> {
        self.totals.as_ref()
    }

    /// Who may write to a switch, as its stream here says it: the fence, and whether it is ours. None: nobody knows.
    pub fn primary(&self, switch: &str) -> Option<(Fence, bool)> {
        self.seen.primary(switch)
    }

    /// The version of the policy that a switch's packets were seen to see last.
    pub fn version(&self, switch: &str) -> Option<u8> {
        self.seen.version(switch)
    }

    /// The packets that a switch had dropped when it was looked at last, by reason. None: nobody knows.
    pub fn drops(&self, switch: &str) -> Option<BTreeMap<&'static str, u64>> {
        self.seen.drops(switch)
    }

    /// Whoever was at work on a switch is through.
    fn over(&self, switch: &str, session: &Session) {
        self.watch.over(switch, session.primacy());
        self.seen.see_session(switch, session);
    }

    /// Reads what a switch has dropped, where there is a connection.
    async fn look_at_drops(&self, switch: &str, session: &Session) {
        let Some(connection) = session.connection() else { return };
        match connection.read_drops(&Installed::default()).await {
            Ok(drops) => self.seen.see_drops(switch, drops),
            Err(error) => {
                // Old numbers would say that nothing is dropped any more.
                self.seen.see_drops(switch, None);
                tracing::debug!(switch, %error, "cannot read what was dropped");
            }
        }
    }

    /// Before a switch is read: on what its counters come, if that is known.
    async fn begin(&self, switch: &str, counted: &Counted) -> Option<Begun> {
        let begun = self.totals.as_ref()?.begin(switch).await;
        if begun.is_none_or(|begun| begun.anew) {
            // Read before that.
            counted.take();
        }
        begun
    }

    /// What was read of a switch since then.
    fn account(&self, switch: &str, begun: Option<Begun>, counted: &Counted) {
        if let Some(totals) = &self.totals {
            totals.account(switch, begun, counted.take());
        }
    }

    /// Packets that switches send go to this tap, and what their tags mean is told to these names.
    #[must_use]
    pub fn with_packets(self, tap: Tap, names: Names) -> Self {
        Self { tap: Some(tap), names, ..self }
    }

    /// What tells of its switches that they have stirred.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The desired states.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Fetches what a task will need, while its claim is under way. Who executes it hears of faults.
    pub async fn prepare(&self, task: &Task, config: &SharedConfig) {
        let Work::Converge { desired, generation, .. } = task.work() else { return };
        let blob = self.blobs.get(*desired, *generation);
        let switch = async {
            let target = self.target(task, config).await.ok()?;
            let Kept { session, counted, .. } = self.session(target);
            self.begin(task.switch(), &counted).await;
            let mut session = session.lock().await;
            if task.fence(1).audit > 0 {
                session.doubt();
            }
            let read = tokio::time::timeout(AHEAD, session.read_ahead()).await.ok()??;
            // Before the session is free: whoever has it next finds this.
            self.keep_ahead(task.switch(), read);
            Some(())
        };
        let _ = tokio::join!(blob, switch);
    }

    fn keep_ahead(&self, switch: &str, read: Ahead) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.retain(|(name, _)| name != switch);
        if ahead.len() >= MOST_AHEAD {
            ahead.pop_front();
        }
        ahead.push_back((switch.to_owned(), read));
    }

    fn take_ahead(&self, switch: &str) -> Option<Ahead> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ahead.iter().position(|(name, _)| name == switch)?;
        ahead.remove(at).map(|(_, read)| read)
    }

    /// How long a push into a switch took that has ended since this was asked last.
    pub fn take_pushed(&self, switch: &str) -> Option<Duration> {
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner).remove(switch)
    }

    fn keep_pushed(&self, switch: &str, took: Duration) {
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner).insert(switch.to_owned(), took);
    }

    /// Carries a job out. When this returns, nothing of it writes any more: what the switch has not answered is waited
    /// for, until others may have begun long since. When it is dropped, what is under way may still be carried out.
    pub async fn execute(&self, job: Job, config: &SharedConfig) -> Execution {
        let late = CancellationToken::new();
        let watch = async {
            // The driver's clock stands still while the machine sleeps, this one does not.
            loop {
                let left = job.start_before.since(clock::instant());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(clock::MAX_SLEEP)).await;
            }
        };
        let stopped = async {
            tokio::select! {
                () = job.stop.cancelled() => {}
                () = watch => {}
            }
            late.cancel();
            std::future::pending::<Infallible>().await
        };
        let result = tokio::select! {
            result = self.run(&job, config, &late) => result,
            never = stopped => match never {},
        };
        match result {
            Ok(report) => Execution::Done { report: text(&report) },
            Err(Trouble::Words(reason)) => Execution::Failed { reason: text(&reason) },
            Err(Trouble::Switch(error)) => outcome(error.ended(), job.stop.is_cancelled()),
            Err(Trouble::Over) if job.stop.is_cancelled() => Execution::Stopped,
            Err(Trouble::Over) => Execution::TooLate,
        }
    }

    async fn run(
        &self,
        job: &Job,
        config: &SharedConfig,
        over: &CancellationToken,
    ) -> Result<String, Trouble> {
        let needs = async {
            let target = self.target(&job.task, config);
            match job.task.work() {
                Work::Ask {} => Ok((target.await?, None)),
                Work::Converge { desired, generation, .. } => {
                    let (target, blob) = tokio::join!(target, self.blobs.get(*desired, *generation));
                    Ok::<_, String>((target?, Some(blob?)))
                }
            }
        };
        let needs = over.run_until_cancelled(needs).await.ok_or(Trouble::Over)?;
        let (target, blob) = needs.map_err(Trouble::Words)?;
        let Kept { session, counted, .. } = self.session(target);
        // Mostly known: what a change needs was fetched while it was claimed.
        let begun = over.run_until_cancelled(self.begin(job.task.switch(), &counted)).await.flatten();
        // Whoever only looks makes room.
        let _busy = self.watch.change(job.task.switch());
        // The core has one execution a switch at a time, so this does not wait but for one that just ends.
        let mut session = over.run_until_cancelled(session.lock()).await.ok_or(Trouble::Over)?;
        session.set_deadlines(deadlines(job.budget));
        let Some(blob) = blob else {
            let answer = over.run_until_cancelled(session.ask()).await.ok_or(Trouble::Over)?;
            return answer.map(|answer| answer_text(&answer)).map_err(Trouble::Switch);
        };
        let at = |moment: Instant| tokio::time::Instant::now() + moment.since(clock::instant());
        let longest_call = job.push.map_or(Duration::ZERO, |(_, within)| within).max(job.budget);
        let lease = Lease {
            stop: Some(over),
            start_before: Some(at(job.start_before)),
            loading: job.push.map_or(Loading::Never, |(before, within)| Loading::Before(at(before), within)),
            // What was started last is over by then, but for a switch that hangs. Others have begun by then, too.
            settle_by: Some(at(job.start_before) + longest_call * 2),
        };
        let (ahead, fence) = (self.take_ahead(job.task.switch()), to_driver(job.fence));
        let (switch, generation) = (job.task.switch(), job.task.work().generation().unwrap_or(0));
        self.names.comes(switch, generation, &blob);
        // A repair is of what was seen on the switch, whatever is known of it here.
        if fence.audit > 0 {
            session.doubt();
        }
        let report = session.converge(ahead, fence, &blob, lease).await;
        match &report {
            Ok(Report { pushing: Some(took), .. }) => self.keep_pushed(job.task.switch(), *took),
            Err(error) => {
                // It takes longer than that.
                if let Ended::LoadingLate { after, .. } = error.ended() {
                    self.keep_pushed(job.task.switch(), after);
                }
            }
            Ok(_) => {}
        }
        self.account(switch, begun, &counted);
        self.over(switch, &session);
        if let Ok(report) = &report {
            self.seen.see_version(switch, Some(report.plan.to_version));
        }
        if report.is_ok() {
            self.names.runs(switch, generation);
        }
        report.map(|report| report_text(&Session::told(&report))).map_err(Trouble::Switch)
    }

    /// Looks whether a switch holds what its task wants. Nothing is written.
    pub async fn audit(&self, task: &Task, config: &SharedConfig) -> Audit {
        let Work::Converge { desired, generation, .. } = task.work() else {
            return Audit::Failed { reason: "there is nothing that it should hold".to_owned() };
        };
        let name = task.switch();
        let Some(stop) = self.watch.look(name) else { return Audit::Stopped };
        let look = async {
            let (target, blob) =
                tokio::join!(self.target(task, config), self.blobs.get(*desired, *generation));
            let Kept { session, counted, .. } = self.session(target?);
            let begun = self.begin(name, &counted).await;
            let (mut session, blob) = (session.lock().await, blob?);
            session.set_deadlines(deadlines(config.budget()));
            let audited = session.audit(&blob).await;
            self.account(name, begun, &counted);
            self.over(name, &session);
            self.seen.see_version(name, audited.as_ref().ok().and_then(|audited| audited.version));
            if audited.is_ok() {
                self.look_at_drops(name, &session).await;
            }
            drop(session);
            if audited.is_ok() && self.is_fenced(name).is_none() {
                self.fences(task, config).await;
            }
            audited.map_err(|error| error.to_string())
        };
        match stop.run_until_cancelled(look).await {
            None => Audit::Stopped,
            Some(Err(reason)) => Audit::Failed { reason: text(&reason) },
            Some(Ok(Audited { is_primary, difference: None, .. })) => Audit::Holds { primary: is_primary },
            Some(Ok(Audited { difference: Some(Difference { seen, what }), .. })) => {
                Audit::Differs { seen: text(&seen), what: text(&what) }
            }
        }
    }

    /// A fence that a switch has named is a stranger's.
    pub async fn disown(&self, switch: &str, fence: Fence) {
        let kept = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.get(switch).map(|kept| Arc::clone(&kept.session))
        };
        if let Some(session) = kept {
            session.lock().await.disown(to_driver(fence));
        }
    }

    /// Where the task's switch is: what the shared configuration says, completed by the intent's Switch object.
    async fn target(&self, task: &Task, config: &SharedConfig) -> Result<Target, String> {
        let name = task.switch();
        let shared = config.switches.get(name).cloned().unwrap_or_default();
        // The intent need not be asked where the configuration says it all: what it leaves open is the Switch object's.
        if configured(&shared, &self.tls).is_whole() {
            return target(name, &shared, None, &self.tls);
        }
        let intent = match task.work().generation() {
            Some(generation) => self.intents.switches(generation).await?,
            None => self.intents.newest().await?,
        };
        target(name, &shared, intent.get(name), &self.tls)
    }

    fn session(&self, target: Target) -> Kept {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = sessions.get(&target.name)
            && kept.target == target
        {
            return kept.clone();
        }
        if sessions.len() >= MOST_SESSIONS {
            // Any that nobody uses; it connects anew when it is needed again.
            let idle = sessions.iter().find(|(_, kept)| Arc::strong_count(&kept.session) == 1);
            if let Some(name) = idle.map(|(name, _)| name.clone()) {
                sessions.remove(&name);
            }
        }
        if target.tls.is_none()
            && let Some(text) = plain::switch(&target.name, &target.address)
        {
            tracing::warn!(switch = target.name, "{text}");
        }
        let counted = Counted::default();
        // Nobody asks a switch for counters that nobody adds up.
        let wanted = self.totals.as_ref().map(|_| counted.clone());
        let session = Session::new(
            target.clone(),
            Arc::clone(&self.pipeline),
            Options { tap: self.tap.clone(), ..options() },
        )
        .with_counted(wanted);
        let session = Arc::new(tokio::sync::Mutex::new(session));
        let kept = Kept { target: target.clone(), session, counted };
        sessions.insert(target.name, kept.clone());
        kept
    }
}

/// A switch that cannot be reached is an attempt that failed, and the next one comes soon: waiting for it here would only
/// hide the reason behind the end of the lease.
fn options() -> Options {
    let pause = Duration::from_millis(20);
    Options { backoff: Backoff { first: pause, limit: pause, attempts: 2 }, ..Options::default() }
}

/// A write that has started is over when the budget is.
fn deadlines(budget: Duration) -> Deadlines {
    let defaults = Options::default();
    Deadlines {
        connect: defaults.connect_deadline.min(budget / 2),
        call: defaults.call_deadline.min(budget),
        write: budget,
    }
}

/// Why there is no report.
enum Trouble {
    Words(String),
    Switch(Error),
    /// Stopped, or too late, before the switch was asked anything.
    Over,
}

/// How to talk to a switch: what the shared configuration says, completed by the intent's Switch object.
pub(crate) fn target(
    name: &str,
    shared: &SwitchConfig,
    intent: Option<&outplane_intent::model::Switch>,
    tls: &Path,
) -> Result<Target, String> {
    // Paths of the intent are those of whoever applied it: here only the files' names mean something.
    let plain = |path: &Path| path.file_name().map(|file| tls.join(file)).unwrap_or_default();
    let mut of_intent = intent.map(Reach::from).unwrap_or_default();
    if let Some(files) = &mut of_intent.tls {
        files.ca = plain(&files.ca);
        files.identity = files.identity.take().map(|(cert, key)| (plain(&cert), plain(&key)));
    }
    configured(shared, tls).or(of_intent).target(name).ok_or_else(|| {
        format!(
            "switch `{name}` has no address: give it one in the shared configuration ([switch.{name}] address = \
             \"HOST:PORT\") or as a Switch object in the policy"
        )
    })
}

/// What the shared configuration says of a switch; its files are in the node's folder.
fn configured(shared: &SwitchConfig, tls: &Path) -> Reach {
    let SwitchConfig { address, device_id, role, tls: files, .. } = shared.clone();
    let files = files.map(|files| TlsFiles {
        ca: tls.join(&files.ca),
        identity: files.cert.zip(files.key).map(|(cert, key)| (tls.join(cert), tls.join(key))),
        server_name: files.server_name,
    });
    Reach { address, device_id, role, tls: files }
}
