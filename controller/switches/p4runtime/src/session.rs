//! What an executor keeps of a switch from task to task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_compiler::state::Desired;
use outplane_p4runtime_client::{Deadlines, Options, Peer, Primacy, Shared, Target};
use tokio_util::sync::CancellationToken;

use crate::audit::Audited;
use crate::connection::Connection;
use crate::converge::{ConvergeOptions, Report};
use crate::counted::Counted;
use crate::errors::{Error, Problem};
use crate::pipeline::{Pipeline, Push};
use crate::read::Unsorted;
use crate::write::WriteOptions;

/// How old what was read ahead may be: what somebody changed meanwhile who needs no primacy would be missed.
const AHEAD: Duration = Duration::from_secs(1);

/// The election id of an attempt: the generation above, the attempt below. Who has a later generation, or a later
/// attempt at the same, has the higher one.
pub fn fence(generation: u64, attempt: u64) -> u128 {
    u128::from(generation) << 64 | u128::from(attempt)
}

/// One switch, for who executes one task after the other on it, each under its own fence.
///
/// Nothing is connected before the first task. The connection then stays open, and a task costs one round trip to raise
/// the election id to its fence ([`Connection::raise`]); one that broke meanwhile is opened anew.
///
/// A fence below the highest one that this session has ever heard of from the switch is refused with
/// [`Problem::NotPrimary`], without a word to the switch: also after connecting anew, and also where the switch itself
/// has forgotten (see [`Primacy::Backup`]), unless it is known for a stranger's ([`Session::disown`]). So is a fence that
/// is too late.
///
/// Two tasks of a switch must not have the same fence at the same time: the switch refuses the second
/// ([`Problem::ArbitrationRefused`]) as long as the first is connected, and takes it afterwards.
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
}

/// What a [`Session::probe`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The P4Runtime version that the switch speaks; none where it does not tell.
    pub api_version: Option<String>,
    /// The cookie of its pipeline; none where it has none or does not tell.
    pub cookie: Option<u64>,
    /// Whether that is our pipeline.
    pub is_ours: bool,
    /// Connecting; 0 where the connection stood already.
    pub connecting: Duration,
    /// All of it.
    pub elapsed: Duration,
}

/// A switch that was read while it was not known yet whether a task may be executed: [`Session::read_ahead`].
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

    /// Makes the switch hold `desired` under this fence, as [`Connection::converge`] does, from what was read ahead if that
    /// still holds ([`Session::converge_from`]). No write starts at
    /// `start_before` or later, whatever happens to this process in between.
    ///
    /// # Errors
    /// [`Problem::NotPrimary`]: somebody has a higher fence, and nothing was written. [`Problem::PrimacyLost`]: somebody
    /// got a higher one meanwhile. [`Problem::LeaseOver`], [`Problem::Cancelled`], and what else [`Problem`] says.
    /// Whatever it is, packets see a whole policy, and the next attempt finishes.
    pub async fn converge(
        &mut self,
        ahead: Option<Ahead>,
        fence: u128,
        desired: &Desired,
        start_before: tokio::time::Instant,
        cancel: &CancellationToken,
    ) -> Result<Report, Error> {
        let write =
            WriteOptions { cancel: Some(cancel), start_before: Some(start_before), ..Default::default() };
        let options = ConvergeOptions { write, ..ConvergeOptions::default() };
        self.converge_from(ahead, fence, desired, options).await
    }

    /// Reads the switch before a fence is raised, so that the next [`Session::converge_with`] need not: a reader is in
    /// nobody's way, and a task waits for its claim meanwhile. Nothing where that would be of no use: without a
    /// connection whose stream is primary, where there is much to read, where the pipeline is another one, where the
    /// switch does not answer, and after a task that failed, as a write of it may still be under way.
    pub async fn read_ahead(&self) -> Option<Ahead> {
        let connection = self.connection.as_ref()?;
        let is_primary = *connection.primacy()?.borrow() == Primacy::Primary;
        if !is_primary || !self.is_settled || !connection.reads_at_once() {
            return None;
        }
        let (peer, reign, at) = (Arc::clone(connection.peer()), connection.client.reign(), Instant::now());
        let read = connection.read_if_ours(Push::IfDifferent).await.ok()??;
        Some(Ahead { read, peer, reign, at })
    }

    /// The same, with all that can be chosen. With `verify`, also what a switch still wrote for who was overtaken while
    /// we read is found: BMv2 lets a write that has begun run on beside the next primary's.
    ///
    /// # Errors
    /// As above.
    pub async fn converge_with(
        &mut self,
        fence: u128,
        desired: &Desired,
        options: ConvergeOptions<'_>,
    ) -> Result<Report, Error> {
        self.converge_from(None, fence, desired, options).await
    }

    /// The same. What was read ahead takes the place of reading if it is young and nobody else can have written since:
    /// the switch has told our stream, which was primary when it was read, that this fence is the first to overtake it.
    ///
    /// Where it has not, somebody else may have been primary, and not every switch lets his writes end before ours begin
    /// (BMv2 does not): then the switch is read once more at the end, as with `verify`. What was not answered in time is
    /// waited for until `settle_by`, whatever came of the rest, and read again after that. So when this returns, nothing
    /// of it is under way, or it is [`Problem::UnderWay`].
    ///
    /// # Errors
    /// As above.
    pub async fn converge_from(
        &mut self,
        ahead: Option<Ahead>,
        fence: u128,
        desired: &Desired,
        options: ConvergeOptions<'_>,
    ) -> Result<Report, Error> {
        let start = Instant::now();
        let ahead = ahead.filter(|ahead| ahead.at.elapsed() < AHEAD);
        let was_proven = self.proven.take();
        self.is_settled = false;
        let reign = self.connection.as_ref().map(|connection| connection.client.reign());
        self.connected(fence, reign, options.write).await?;
        let (connects, overdue) = (self.connects, self.shared.under_way.overdue());
        let under_way = self.shared.under_way.clone();
        let Some(connection) = self.connection.as_mut() else {
            let reason = "it has just ended".to_owned();
            return Err(Error::of(&Peer::of(&self.target), Problem::Disconnected { reason }));
        };
        let connecting = start.elapsed();
        // Nobody else was primary since we have last seen it.
        let alone = was_proven == Some((connects, connection.client.reign()));
        let holds = |ahead: &Ahead| {
            Arc::ptr_eq(&ahead.peer, connection.peer()) && ahead.reign == connection.client.reign()
        };
        let read = ahead.filter(holds).map(|ahead| ahead.read);
        let mut result = connection.converge_from(read, desired, options, !alone).await;
        let settle_by = options.write.settle_by.unwrap_or_else(tokio::time::Instant::now);
        let settled = under_way.settled(settle_by).await;
        if result.is_ok() && !settled {
            result = Err(connection.error(Problem::UnderWay));
        } else if let Ok(report) = &result
            && under_way.overdue() > overdue
        {
            // An answer that came late: what was read before may have been changed by it.
            let again = ConvergeOptions { push: Push::Never, ..options };
            let pushing = report.pushing;
            result = connection
                .converge_from(None, desired, again, false)
                .await
                .map(|report| Report { pushing, ..report });
        }
        let report = result?;
        let is_fenced = connection.primacy().is_some_and(|primacy| *primacy.borrow() == Primacy::Primary);
        self.proven = is_fenced.then(|| (connects, connection.client.reign()));
        self.is_settled = true;
        Ok(Report { connecting, elapsed: start.elapsed(), ..report })
    }

    /// Asks which P4Runtime version and which pipeline the switch has. It writes nothing, needs no fence, and is in
    /// nobody's way: without a connection it makes one without arbitration, and drops it.
    ///
    /// # Errors
    /// What [`Problem`] says of connections and calls.
    pub async fn probe(&self) -> Result<Probe, Error> {
        let start = Instant::now();
        // Calls go over a new connection where the old one broke, although its stream is lost.
        let mut made = None;
        let connection = match &self.connection {
            Some(connection) => connection,
            None => made.insert(self.open(None).await?),
        };
        let connecting = if self.connection.is_some() { Duration::ZERO } else { start.elapsed() };
        let (version, cookie) = tokio::join!(connection.capabilities(), connection.cookie());
        let (api_version, cookie) = (version?, cookie?);
        let is_ours = cookie == Some(self.pipeline.cookie);
        Ok(Probe { api_version, cookie, is_ours, connecting, elapsed: start.elapsed() })
    }

    /// Looks whether the switch holds `desired`, and whether we are its primary. It writes nothing, needs no fence, and is
    /// in nobody's way: without a connection it makes one without arbitration, and drops it.
    ///
    /// # Errors
    /// What [`Problem`] says of connections and calls, and where there is no way from what it holds to `desired`.
    pub async fn audit(&self, desired: &Desired) -> Result<Audited, Error> {
        let mut made = None;
        let connection = match &self.connection {
            Some(connection) => connection,
            None => made.insert(self.open(None).await?),
        };
        connection.audit(desired).await
    }

    /// Takes an election id that the switch told of for a stranger's: nobody who was ever entitled to write here has had
    /// it. From now on it is in our way only as long as the switch says so. BMv2 forgets it when the stranger has gone,
    /// every switch when it restarts; without this the session would remember it for ever.
    pub fn disown(&mut self, election_id: u128) {
        self.shared.seen.disown(election_id);
    }

    /// Whether we may write, and changes of that, until the next task. None without a connection.
    pub fn primacy(&self) -> Option<tokio::sync::watch::Receiver<Primacy>> {
        self.connection.as_ref()?.primacy()
    }

    /// Ends the connection, if there is one: the next task connects anew. Switches that forget election ids with their
    /// streams (BMv2) are fenced as long as this stays open.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// A connection with this fence, before it is too late for it.
    async fn connected(
        &mut self,
        fence: u128,
        reign: Option<u64>,
        write: WriteOptions<'_>,
    ) -> Result<(), Error> {
        let peer = Peer::of(&self.target);
        let connecting = async {
            if let Some(primary) = self.shared.seen.above(fence) {
                return Err(Error::of(&peer, Problem::NotPrimary { ours: fence, primary: Some(primary) }));
            }
            if let Some(connection) = &mut self.connection {
                match connection.client.raise_from(fence, reign).await.map_err(Error::from) {
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
            self.connection = Some(self.open(Some(fence)).await?);
            self.connects += 1;
            Ok(())
        };
        let late = async {
            match write.start_before {
                Some(limit) => tokio::time::sleep_until(limit).await,
                None => std::future::pending().await,
            }
        };
        let cancelled = async {
            match write.cancel {
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

    /// Connects under this fence, or without one for reading only.
    async fn open(&self, fence: Option<u128>) -> Result<Connection, Error> {
        let options = Options { election_id: fence.unwrap_or_default(), ..self.options.clone() };
        let pipeline = Arc::clone(&self.pipeline);
        let (target, shared) = (self.target.clone(), self.shared.clone());
        let opened = Connection::open_as(target, pipeline, options, fence.is_some(), shared).await?;
        Ok(Connection { counted: self.counted.clone(), ..opened })
    }
}

fn is_deadline(error: &Error) -> bool {
    matches!(*error.problem, Problem::Deadline { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_generations_and_attempts_have_higher_fences() {
        assert_eq!(fence(5, 1), (5 << 64) + 1);
        assert!(fence(5, 2) > fence(5, 1) && fence(6, 1) > fence(5, u64::MAX));
    }
}
