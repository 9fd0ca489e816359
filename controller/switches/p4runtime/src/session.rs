//! What an executor keeps of a switch from task to task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_compiler::state::Desired;
use outplane_driver::{Answer, Fence, Lease, Loading};
use outplane_p4runtime_client::Problem as ClientProblem;
use outplane_p4runtime_client::{Deadlines, Options, Peer, Primacy, Shared, Target};

use crate::arbitration::Primary;
use crate::audit::Audited;
use crate::connection::Connection;
use crate::converge::{ConvergeOptions, Keeping, Known, Report};
use crate::counted::Counted;
use crate::errors::{Error, Problem};
use crate::fence::election_id;
use crate::memory::Memory;
use crate::pipeline::{Pipeline, Push};
use crate::read::Unsorted;
use crate::write::WriteOptions;

/// How old what was read ahead may be: what somebody changed meanwhile who needs no primacy would be missed.
const AHEAD: Duration = Duration::from_secs(1);

/// One switch, for who executes one task after the other on it, each under its own fence.
///
/// Nothing is connected before the first task. The connection then stays open, and a task costs one round trip to raise
/// the election id to its fence ([`Connection::raise`]); one that broke meanwhile is opened anew.
///
/// A fence below the highest one that this session has ever heard of from the switch is refused with
/// [`ClientProblem::NotPrimary`], without a word to the switch: also after connecting anew, and also where the switch itself
/// has forgotten (see [`Primacy::Backup`]), unless it is known for a stranger's ([`disown`](outplane_driver::Session::disown)). So is a fence that
/// is too late.
///
/// Two tasks of a switch must not have the same fence at the same time: the switch refuses the second
/// ([`ClientProblem::ArbitrationRefused`]) as long as the first is connected, and takes it afterwards.
#[derive(Debug)]
pub struct Session {
    target: Target,
    pipeline: Arc<Pipeline>,
    options: Options,
    counted: Option<Counted>,
    shared: Shared,
    connection: Option<Connection>,
    connects: u64,
    /// Nothing of ours is under way: the last task ended well.
    is_settled: bool,
    /// The connection and the reign under which the switch was last seen to hold what it should: as long as they last,
    /// nobody else can have written.
    proven: Option<(u64, u64)>,
    /// What the switch holds, as long as that is proven.
    memory: Option<Memory>,
}

/// A switch that was read while it was not known yet whether a task may be executed:
/// [`read_ahead`](outplane_driver::Session::read_ahead).
#[derive(Clone, Debug)]
pub struct Ahead {
    read: Unsorted,
    /// The connection that was read by, and its reign.
    peer: Arc<Peer>,
    reign: u64,
    at: Instant,
}

impl Session {
    /// A session that connects when it is first used. The options' `election_id`, `take_over` and `packet_queue` count
    /// for nothing here: packets from the switch go to the options' `tap`, and are dropped without one.
    pub fn new(target: Target, pipeline: Arc<Pipeline>, mut options: Options) -> Self {
        options.take_over = false;
        options.packet_queue = 1;
        Self {
            target,
            pipeline,
            options,
            counted: None,
            shared: Shared::default(),
            connection: None,
            connects: 0,
            is_settled: false,
            proven: None,
            memory: None,
        }
    }

    /// Where goes what entries have counted, whenever the switch is read to be compared or changed. Without, it is not
    /// read.
    #[must_use]
    pub fn with_counted(self, counted: impl Into<Option<Counted>>) -> Self {
        Self { counted: counted.into(), ..self }
    }

    /// The switch.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The connection, if there is one.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// From the next call on: how long to wait for answers. What is connected stays so.
    pub fn set_deadlines(&mut self, deadlines: Deadlines) {
        self.options.set_deadlines(deadlines);
        if let Some(connection) = &mut self.connection {
            connection.client.set_deadlines(deadlines);
        }
    }

    /// How often it has connected.
    pub fn connects(&self) -> u64 {
        self.connects
    }

    /// Whether the switch refuses writes of who has been overtaken; none before the first task. Without arbitration,
    /// `start_before` is all that holds an executor back which wakes up late.
    pub fn is_fenced(&self) -> Option<bool> {
        let primacy = self.connection.as_ref()?.primacy()?;
        let is_fenced = *primacy.borrow() != Primacy::NotOffered;
        Some(is_fenced)
    }

    /// Makes the switch hold `desired` under this fence, as [`Connection::apply`] does, with all that can be chosen.
    /// With `verify`, also what a switch still wrote for who was overtaken while we read is found: BMv2 lets a write that
    /// has begun run on beside the next primary's.
    ///
    /// What was read ahead takes the place of reading if it is young and nobody else can have written since:
    /// the switch has told our stream, which was primary when it was read, that this fence is the first to overtake it.
    /// So does what the session knows of the switch since it has read it last, which may be longer ago: it has been the only
    /// primary since. Where the switch refuses what was planned from that, it is read, and planned anew.
    ///
    /// Where it has not, somebody else may have been primary, and not every switch lets his writes end before ours begin
    /// (BMv2 does not): then the switch is read once more at the end, as with `verify`. What was not answered in time is
    /// waited for until `settle_by`, whatever came of the rest, and read again after that. So when this returns, nothing
    /// of it is under way, or it is [`Problem::UnderWay`].
    ///
    /// # Errors
    /// [`ClientProblem::NotPrimary`]: somebody has a higher fence, and nothing was written. [`ClientProblem::PrimacyLost`]: somebody
    /// got a higher one meanwhile. [`Problem::LeaseOver`], [`Problem::Cancelled`], and what else [`Problem`] says.
    /// Whatever it is, packets see a whole policy, and the next attempt finishes.
    pub async fn converge_with(
        &mut self,
        ahead: Option<Ahead>,
        fence: Fence,
        desired: &Desired,
        options: ConvergeOptions<'_>,
    ) -> Result<Report, Error> {
        let start = Instant::now();
        let ahead = ahead.filter(|ahead| ahead.at.elapsed() < AHEAD);
        let (was_proven, memory) = (self.proven.take(), self.memory.take());
        self.is_settled = false;
        let reign = self.connection.as_ref().map(|connection| connection.client.reign());
        self.connected(election_id(fence), reign, options.write.lease).await?;
        let (connects, overdue) = (self.connects, self.shared.under_way.overdue());
        let under_way = self.shared.under_way.clone();
        let Some(connection) = self.connection.as_mut() else {
            let reason = "it has just ended".to_owned();
            return Err(Error::of(
                &Peer::of(&self.target),
                Problem::Client(ClientProblem::Disconnected { reason }),
            ));
        };
        let connecting = start.elapsed();
        // Nobody else was primary since we have last seen it.
        let alone = was_proven == Some((connects, connection.client.reign()));
        let holds = |ahead: &Ahead| {
            Arc::ptr_eq(&ahead.peer, connection.peer()) && ahead.reign == connection.client.reign()
        };
        let known = match (ahead.filter(holds), memory) {
            (Some(Ahead { read, at, .. }), _) => Known::Read(read, at),
            (None, Some(memory)) if alone && memory.is_young(Instant::now()) => Known::Memory(memory),
            (None, _) => Known::Nothing,
        };
        let keeping = Keeping { twice: !alone, remember: true };
        let mut result = connection.rounds(known, desired, options, keeping).await;
        let settle_by = options.write.lease.settle_by.unwrap_or_else(tokio::time::Instant::now);
        let settled = under_way.settled(settle_by).await;
        if result.is_ok() && !settled {
            result = Err(connection.error(Problem::UnderWay));
        } else if let Ok((report, _)) = &result
            && under_way.overdue() > overdue
        {
            // An answer that came late: what was read before may have been changed by it.
            let again = ConvergeOptions { push: Push::Never, ..options };
            let pushing = report.pushing;
            let keeping = Keeping { twice: false, ..keeping };
            result = connection
                .rounds(Known::Nothing, desired, again, keeping)
                .await
                .map(|(report, memory)| (Report { pushing, ..report }, memory));
        }
        let (report, memory) = result?;
        let is_fenced = connection.primacy().is_some_and(|primacy| *primacy.borrow() == Primacy::Primary);
        self.proven = is_fenced.then(|| (connects, connection.client.reign()));
        self.memory = memory.filter(|_| is_fenced);
        self.is_settled = true;
        Ok(Report { connecting, elapsed: start.elapsed(), ..report })
    }

    /// Looks whether the switch holds `desired`, and whether we are its primary. It writes nothing, needs no fence, and is
    /// in nobody's way: without a connection it makes one without arbitration, and drops it.
    ///
    /// It reads the switch in any case. Where it holds what it should, the session knows it as of now, if it is proven to be
    /// alone; else the session knows nothing of it any more.
    ///
    /// # Errors
    /// What [`Problem`] says of connections and calls, and where there is no way from what it holds to `desired`.
    pub async fn audit(&mut self, desired: &Desired) -> Result<Audited, Error> {
        let mut made = None;
        let connection = match &self.connection {
            Some(connection) => connection,
            None => made.insert(self.open(None).await?),
        };
        let read_at = Instant::now();
        let audited = connection.audit(desired).await;
        let is_alone = self.is_alone();
        let held = audited.as_ref().ok().and_then(|(_, held)| held.clone()).filter(|_| is_alone);
        self.memory = held.map(|held| Memory::new(held, desired, read_at));
        audited.map(|(audited, _)| audited)
    }

    /// Whether nobody else was primary since the switch was last seen to hold what it should, as far as is known.
    fn is_alone(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            let is_primary =
                connection.primacy().is_some_and(|primacy| *primacy.borrow() == Primacy::Primary);
            is_primary && self.is_settled && self.proven == Some((self.connects, connection.client.reign()))
        })
    }

    /// Whether we may write, and changes of that, until the next task. None without a connection.
    pub fn primacy(&self) -> Option<tokio::sync::watch::Receiver<Primacy>> {
        self.connection.as_ref()?.primacy()
    }

    /// Who may write, from now on. None without a connection, and without arbitration.
    pub fn primary(&self) -> Option<Primary> {
        Primary::of(self.connection.as_ref()?)
    }

    /// Ends the connection, if there is one: the next task connects anew. Switches that forget election ids with their
    /// streams (BMv2) are fenced as long as this stays open.
    pub fn close(&mut self) {
        self.connection = None;
        self.memory = None;
    }

    /// A connection with this election id, before it is too late for it.
    async fn connected(
        &mut self,
        election_id: u128,
        reign: Option<u64>,
        lease: Lease<'_>,
    ) -> Result<(), Error> {
        let peer = Peer::of(&self.target);
        let connecting = async {
            if let Some(primary) = self.shared.seen.above(election_id) {
                return Err(Error::of(
                    &peer,
                    Problem::Client(ClientProblem::NotPrimary { ours: election_id, primary: Some(primary) }),
                ));
            }
            if let Some(connection) = &mut self.connection {
                match connection.client.raise_from(election_id, reign).await.map_err(Error::from) {
                    Ok(()) => return Ok(()),
                    // Also where the switch still holds this fence for a stream of ours that has just ended.
                    Err(error) if error.may_pass() || is_deadline(&error) => {
                        tracing::info!(switch = self.target.name, %error, "connecting anew");
                    }
                    Err(error) => return Err(error),
                }
            }
            // The switch must not see two of us.
            if let Some(mut broken) = self.connection.take() {
                broken.client.end().await;
            }
            self.connection = Some(self.open(Some(election_id)).await?);
            self.connects += 1;
            Ok(())
        };
        let late = async {
            match lease.start_before {
                Some(limit) => tokio::time::sleep_until(limit).await,
                None => std::future::pending().await,
            }
        };
        let cancelled = async {
            match lease.stop {
                Some(cancel) => cancel.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let (done, total) = (0, 0);
        tokio::select! {
            biased;
            () = cancelled => Err(Error::of(&peer, Problem::Cancelled { done, total })),
            () = late => Err(Error::of(&peer, Problem::LeaseOver { done, total })),
            connected = connecting => connected,
        }
    }

    /// Connects under this election id, or without one for reading only.
    async fn open(&self, election_id: Option<u128>) -> Result<Connection, Error> {
        let options = Options { election_id: election_id.unwrap_or_default(), ..self.options.clone() };
        let pipeline = Arc::clone(&self.pipeline);
        let (target, shared) = (self.target.clone(), self.shared.clone());
        let opened = Connection::open_as(target, pipeline, options, election_id.is_some(), shared).await?;
        Ok(Connection { counted: self.counted.clone(), ..opened })
    }
}

impl outplane_driver::Session for Session {
    type Desired = Desired;
    type Ahead = Ahead;
    type Error = Error;
    type Report = Report;

    /// Nothing without a connection whose stream is primary, where there is much to read, where the pipeline is another
    /// one, where the switch does not answer, and after a task that failed, as a write of it may still be under way. Nor where
    /// the session knows what the switch holds.
    async fn read_ahead(&self) -> Option<Ahead> {
        let connection = self.connection.as_ref()?;
        if self.is_alone() && self.memory.as_ref().is_some_and(|memory| memory.is_young(Instant::now())) {
            return None;
        }
        let is_primary = *connection.primacy()?.borrow() == Primacy::Primary;
        if !is_primary || !self.is_settled || !connection.reads_at_once() {
            return None;
        }
        let (peer, reign, at) = (Arc::clone(connection.peer()), connection.client.reign(), Instant::now());
        let read = connection.read_if_ours(Push::IfDifferent).await.ok()??;
        Some(Ahead { read, peer, reign, at })
    }

    async fn converge(
        &mut self,
        ahead: Option<Ahead>,
        fence: Fence,
        desired: &Desired,
        lease: Lease<'_>,
    ) -> Result<Report, Error> {
        let push = if lease.loading == Loading::Never { Push::Never } else { Push::IfDifferent };
        let write = WriteOptions { lease, ..WriteOptions::default() };
        self.converge_with(ahead, fence, desired, ConvergeOptions { push, write, ..Default::default() }).await
    }

    fn doubt(&mut self) {
        self.memory = None;
    }

    /// Asks which P4Runtime version and which pipeline the switch has. Without a connection it makes one without
    /// arbitration, and drops it.
    async fn ask(&self) -> Result<Answer, Error> {
        let start = Instant::now();
        // Calls go over a new connection where the old one broke, although its stream is lost.
        let mut made = None;
        let connection = match &self.connection {
            Some(connection) => connection,
            None => made.insert(self.open(None).await?),
        };
        let (version, cookie) = tokio::join!(connection.capabilities(), connection.cookie());
        let (speaks, is_loaded) = (version?.map(|version| format!("P4Runtime {version}")), cookie?);
        let is_loaded = is_loaded == Some(self.pipeline.cookie);
        Ok(Answer { speaks, is_loaded, elapsed: start.elapsed() })
    }

    fn told(report: &Report) -> outplane_driver::Report {
        report.into()
    }

    /// BMv2 forgets a stranger's election id when the stranger has gone, every switch when it restarts; without this the
    /// session would remember it for ever.
    fn disown(&mut self, fence: Fence) {
        // The stranger was primary, or still is.
        (self.proven, self.memory) = (None, None);
        self.shared.seen.disown(election_id(fence));
    }
}

fn is_deadline(error: &Error) -> bool {
    matches!(*error.problem, Problem::Client(ClientProblem::Deadline { .. }))
}
