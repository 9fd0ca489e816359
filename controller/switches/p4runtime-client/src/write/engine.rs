//! One batch of updates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use outplane_p4runtime::p4::v1::write_request::Atomicity;
use outplane_p4runtime::p4::v1::{Update, WriteRequest, WriteResponse};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::outcome::{Outcome, judge};
use crate::arbitration::{Primacy, Stream, lost, to_wire as election_id};
use crate::connect::with_metadata_limit;
use crate::connection::Connection;
use crate::errors::{Error, Problem};
use crate::pacer::Pacer;
use crate::status::UpdateStatus;

/// How often an update may come again before it counts as refused.
const REPEATS: u32 = 8;

/// How often a chunk may be late before we give up: each time it is halved twice.
const SLOW: u32 = 3;

/// Wait before a chunk that was ABORTED as a whole comes again; doubles each time.
const ABORTED_WAIT: Duration = Duration::from_millis(20);

/// Updates, by their places from 0, and what their answers mean.
pub trait Batch {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them as it goes out. Asked again where it is sent again.
    fn update(&self, place: usize) -> Update;

    /// What an answer that is not OK means.
    fn judge(&mut self, place: usize, said: &UpdateStatus) -> Verdict;

    /// The update is refused for good; `repeated`: it was sent more than once. Whether to send what has not been sent
    /// yet.
    fn refused(&mut self, place: usize, said: UpdateStatus, repeated: bool) -> bool;

    /// So many updates were answered, and so many of them need nothing more.
    fn answered(&mut self, updates: usize, done: usize) {
        let _ = (updates, done);
    }
}

/// What is to be done about an update whose answer is not OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the switch is as it should be.
    Done,
    /// It is sent again, as [`Batch::update`] has it by then; not for ever.
    Again,
    /// It is refused.
    Refused,
}

/// Until when updates may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until<'a> {
    /// Stops between chunks when it is cancelled.
    pub cancel: Option<&'a CancellationToken>,
    /// No chunk starts at this time or later; those under way finish. Asked as late as can be, so that a process that was
    /// stopped for a while and wakes up late starts none.
    pub start_before: Option<Instant>,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was sent and answered.
    Whole,
    /// The batch wanted no more to be sent after a refusal, or was cancelled.
    Stopped,
    /// The time to start chunks was over.
    Late,
}

/// What was sent, over one batch after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Chunks.
    pub chunks: usize,
    /// Updates that were sent once more, because they or their answers did not get through.
    pub repeated: usize,
}

impl Connection {
    /// Writes a batch: the engine under [`Connection::write`], for callers with a mind of their own about answers, time
    /// and progress.
    ///
    /// # Errors
    /// [`Problem::PrimacyLost`], [`Problem::Disconnected`], [`Problem::Deadline`], [`Problem::NoPipeline`],
    /// [`Problem::ReadOnly`]. What is under way then goes on; see [`UnderWay`](crate::UnderWay).
    pub async fn write_batch(
        &self,
        batch: &mut (impl Batch + ?Sized),
        pacer: &mut Pacer,
        until: Until<'_>,
        sent: &mut Sent,
    ) -> Result<Ended, Error> {
        self.check_primacy()?;
        let stream = self.controller()?;
        Writer { connection: self, stream, batch, until, pacer, sent }.run().await
    }
}

/// Writes one batch.
struct Writer<'a, B: ?Sized> {
    connection: &'a Connection,
    stream: &'a Stream,
    batch: &'a mut B,
    until: Until<'a>,
    pacer: &'a mut Pacer,
    sent: &'a mut Sent,
}

/// Some of the batch's updates, by their places in it.
#[derive(Clone, Debug)]
enum Chunk {
    /// Neighbours, for the first time.
    Fresh(Range<usize>),
    /// Any, once more.
    Again(Vec<usize>),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Self::Fresh(range) => range.len(),
            Self::Again(places) => places.len(),
        }
    }

    fn places(&self) -> Vec<usize> {
        match self {
            Self::Fresh(range) => range.clone().collect(),
            Self::Again(places) => places.clone(),
        }
    }
}

/// What is known of a batch while it is written.
#[derive(Default)]
struct State {
    /// Where updates that have not been sent begin.
    next: usize,
    again: VecDeque<Vec<usize>>,
    /// How often each update came again.
    repeats: BTreeMap<usize, u32>,
    /// Updates that were sent more than once.
    resent: BTreeSet<usize>,
    slow: u32,
    aborted: u32,
    /// Nothing new goes out.
    stopping: bool,
    /// That is because the time for it is over.
    late: bool,
}

impl State {
    /// Counts that an update comes again. Whether it may.
    fn may_repeat(&mut self, place: usize) -> bool {
        let repeats = self.repeats.entry(place).or_default();
        *repeats += 1;
        *repeats <= REPEATS
    }
}

/// The answer to a chunk; none where it was too late to send it.
type Answers = JoinSet<(Chunk, Option<Result<WriteResponse, Status>>)>;

impl<B: Batch + ?Sized> Writer<'_, B> {
    async fn run(mut self) -> Result<Ended, Error> {
        let mut state = State::default();
        let mut under_way: Answers = JoinSet::new();
        let mut primacy = self.stream.primacy.clone();
        loop {
            while under_way.len() < self.connection.options.in_flight.max(1)
                && let Some(chunk) = self.next_chunk(&mut state)
            {
                self.send(&mut under_way, chunk);
            }
            if under_way.is_empty() {
                break;
            }
            let (chunk, answer) = tokio::select! {
                biased;
                // What is under way goes on, and is waited for by whoever keeps the switch's session.
                error = lost_primacy(self.connection, &mut primacy) => return Err(error),
                () = cancelled(self.until.cancel), if !state.stopping => {
                    state.stopping = true;
                    continue;
                }
                done = under_way.join_next() => match done {
                    Some(Ok(done)) => done,
                    // Tasks neither panic nor are aborted, except by a runtime that shuts down.
                    Some(Err(_)) | None => return Err(self.disconnected("the program is ending")),
                },
            };
            match answer {
                None => (state.stopping, state.late) = (true, true),
                Some(Ok(WriteResponse {})) => self.acknowledged(chunk.len(), chunk.len()),
                Some(Err(status)) => self.failed(&chunk, &status, &mut state).await?,
            }
        }
        Ok(match (state.stopping, state.late) {
            (_, true) => Ended::Late,
            (true, false) => Ended::Stopped,
            (false, false) => Ended::Whole,
        })
    }

    /// What to send next; none if there is nothing or nothing shall be.
    fn next_chunk(&self, state: &mut State) -> Option<Chunk> {
        if state.stopping {
            return None;
        }
        if let Some(places) = state.again.pop_front() {
            return Some(Chunk::Again(places));
        }
        let end = self.batch.len().min(state.next + self.pacer.size());
        let range = state.next..end;
        state.next = end;
        (!range.is_empty()).then_some(Chunk::Fresh(range))
    }

    /// Translates a chunk, while others are under way, and sends it.
    fn send(&mut self, under_way: &mut Answers, chunk: Chunk) {
        let update = |place: usize| self.batch.update(place);
        let updates = match &chunk {
            Chunk::Fresh(range) => range.clone().map(update).collect(),
            Chunk::Again(places) => places.iter().copied().map(update).collect(),
        };
        let request = WriteRequest {
            device_id: self.connection.target.device_id,
            role: self.connection.role(),
            election_id: Some(election_id(self.stream.election_id)),
            updates,
            atomicity: Atomicity::ContinueOnError.into(),
            ..WriteRequest::default()
        };
        let mut client = self.connection.client.clone();
        let deadline = self.connection.options.write_deadline;
        let calls = self.connection.shared.under_way.clone();
        self.sent.chunks += 1;
        let limit = self.until.start_before;
        under_way.spawn(async move {
            // Here and not before: translating and waiting for this task may have taken any time.
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                return (chunk, None);
            }
            let write = async move { client.write(with_metadata_limit(request)).await };
            let answer = calls.call(deadline, write).await;
            (chunk, Some(answer))
        });
    }

    /// An answer to a chunk of `updates` came, and `done` of them need nothing more.
    fn acknowledged(&mut self, updates: usize, done: usize) {
        self.pacer.passed(updates);
        self.batch.answered(updates, done);
    }

    async fn failed(&mut self, chunk: &Chunk, status: &Status, state: &mut State) -> Result<(), Error> {
        let places = chunk.places();
        match judge(status, places.len()) {
            Outcome::Each(each) => self.each(&places, each, state).await,
            Outcome::TooLarge(said) => {
                self.pacer.failed(places.len());
                self.split(places, said, state).await;
            }
            Outcome::TooSlow => {
                state.slow += 1;
                if state.slow > SLOW {
                    let after = self.connection.options.write_deadline;
                    return Err(self.connection.error(Problem::Deadline { call: "Write", after }));
                }
                self.pacer.failed(places.len() / 2);
                // The same writes twice at a time would make a slow switch slower.
                let deadline = self.connection.options.write_deadline;
                let patience = Instant::now() + deadline * 4;
                let patience = self.until.start_before.map_or(patience, |limit| limit.min(patience));
                self.connection.shared.under_way.settled(patience).await;
                for part in places.chunks(places.len().div_ceil(4)) {
                    self.again(part.to_vec(), state);
                }
            }
            Outcome::Again(said) => {
                let aborted = vec![said; places.len()];
                self.each(&places, aborted, state).await;
            }
            Outcome::Unclear(said) if said.code == Code::FailedPrecondition => {
                return Err(self.connection.error(Problem::NoPipeline));
            }
            Outcome::Unclear(said) => self.split(places, said, state).await,
            Outcome::NotPrimary => return Err(self.connection.error(self.stream.denied())),
            // The call broke, but not the connection: the answer may not have fit through.
            Outcome::Broken if status.code() != Code::Unavailable && places.len() > 1 && self.is_alive() => {
                self.pacer.failed(places.len());
                let said = UpdateStatus { code: status.code(), message: status.message().to_owned() };
                self.split(places, said, state).await;
            }
            Outcome::Broken => {
                let deadline = self.connection.options.write_deadline;
                return Err(match self.connection.call_error("Write", deadline, status) {
                    error if error.is_disconnect() => error,
                    _ => self.disconnected(status.message()),
                });
            }
        }
        Ok(())
    }

    /// The chunk comes again in halves. A single update that still fails has the chunk's status.
    async fn split(&mut self, places: Vec<usize>, said: UpdateStatus, state: &mut State) {
        if places.len() == 1 {
            self.each(&places, vec![said], state).await;
            return;
        }
        for part in places.chunks(places.len().div_ceil(2)) {
            self.again(part.to_vec(), state);
        }
    }

    fn again(&mut self, places: Vec<usize>, state: &mut State) {
        self.sent.repeated += places.len();
        state.resent.extend(&places);
        state.again.push_back(places);
    }

    /// Judges the updates of a chunk one by one.
    async fn each(&mut self, places: &[usize], each: Vec<UpdateStatus>, state: &mut State) {
        let mut done = 0;
        let mut repeated = Vec::new();
        let mut aborted = 0;
        for (&place, said) in places.iter().zip(each) {
            let verdict = if said.code == Code::Ok { Verdict::Done } else { self.batch.judge(place, &said) };
            match verdict {
                Verdict::Done => done += 1,
                Verdict::Again if state.may_repeat(place) => {
                    repeated.push(place);
                    aborted += usize::from(said.code == Code::Aborted);
                }
                Verdict::Again | Verdict::Refused => {
                    let goes_on = self.batch.refused(place, said, state.resent.contains(&place));
                    state.stopping |= !goes_on;
                }
            }
        }
        // Where nothing got through, the same again at once would not either.
        if aborted > 0 && done == 0 {
            sleep(ABORTED_WAIT * 2u32.saturating_pow(state.aborted.min(6))).await;
            state.aborted += 1;
        }
        for part in repeated.chunks(self.pacer.size()) {
            self.again(part.to_vec(), state);
        }
        self.acknowledged(places.len(), done);
    }

    /// Whether the stream, which shares the connection, still stands.
    fn is_alive(&self) -> bool {
        self.connection.check_primacy().is_ok()
    }

    fn disconnected(&self, reason: &str) -> Error {
        self.connection.error(Problem::Disconnected { reason: reason.to_owned() })
    }
}

/// Waits until we may not write any more.
async fn lost_primacy(connection: &Connection, primacy: &mut watch::Receiver<Primacy>) -> Error {
    loop {
        if let Err(error) = lost(&connection.peer, &primacy.borrow_and_update()) {
            return error;
        }
        // Without a stream (a switch without arbitration) nobody tells; then we wait for ever.
        if primacy.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn cancelled(cancel: Option<&CancellationToken>) {
    match cancel {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}
