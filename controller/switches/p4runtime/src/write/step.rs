//! One step of a plan.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use outplane_compiler::state::{Change, Installed, Step};
use outplane_p4runtime::p4::v1::write_request::Atomicity;
use outplane_p4runtime::p4::v1::{WriteRequest, WriteResponse};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::outcome::{Outcome, UpdateStatus, judge};
use super::pacer::Pacer;
use super::updates::{describe, inserted, origin_of, to_wire};
use super::{Progress, WriteOptions, Written};
use crate::arbitration::{Primacy, Stream, lost, to_wire as election_id};
use crate::connect::with_metadata_limit;
use crate::connection::Connection;
use crate::errors::{Aftermath, Error, Failure, Problem, Refusal};

/// How often an update may come again before it counts as refused.
const REPEATS: u32 = 8;

/// How often a chunk may be late before we give up: each time it is halved twice.
const SLOW: u32 = 3;

/// Wait before a chunk that was ABORTED as a whole comes again; doubles each time.
const ABORTED_WAIT: Duration = Duration::from_millis(20);

/// Writes one step.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) stream: &'a Stream,
    pub(super) step: &'a Step,
    pub(super) installed: &'a Installed,
    pub(super) options: WriteOptions<'a>,
    pub(super) pacer: &'a mut Pacer,
    pub(super) progress: &'a mut Progress,
    pub(super) written: &'a mut Written,
}

/// Some of the step's changes, by their places in it.
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

/// What is known of a step while it is written.
#[derive(Default)]
struct State {
    /// Where changes that have not been sent begin.
    next: usize,
    again: VecDeque<Vec<usize>>,
    /// How often each change came again.
    repeats: BTreeMap<usize, u32>,
    /// What is sent in place of a change: the switch has told that, say, a group is there already.
    instead: BTreeMap<usize, Change>,
    /// Inserts of what is there, deletes of what is not.
    suspects: Vec<usize>,
    failures: Vec<Failure>,
    refused: usize,
    slow: u32,
    aborted: u32,
    /// Changes of the answer at hand that come again.
    pending: BTreeSet<usize>,
    /// Nothing new goes out.
    stopping: bool,
    /// That is because the time for it is over.
    late: bool,
}

/// The answer to a chunk; none where it was too late to send it.
type Answers = JoinSet<(Chunk, Option<Result<WriteResponse, Status>>)>;

impl Writer<'_> {
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let mut state = State::default();
        let mut under_way: Answers = JoinSet::new();
        let mut primacy = self.stream.primacy.clone();
        loop {
            while under_way.len() < self.connection.options.in_flight.max(1)
                && let Some(chunk) = self.next_chunk(&mut state)
            {
                self.send(&mut under_way, chunk, &state);
            }
            if under_way.is_empty() {
                break;
            }
            let (chunk, answer) = tokio::select! {
                biased;
                // What is under way goes on, and is waited for by whoever keeps the switch's session.
                error = self.lost(&mut primacy) => return Err(error),
                () = self.cancelled(), if !state.stopping => {
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
        self.finish(state).await
    }

    /// What to send next; none if there is nothing or nothing shall be.
    fn next_chunk(&self, state: &mut State) -> Option<Chunk> {
        if state.stopping {
            return None;
        }
        if let Some(places) = state.again.pop_front() {
            return Some(Chunk::Again(places));
        }
        let end = self.step.changes.len().min(state.next + self.pacer.size());
        let range = state.next..end;
        state.next = end;
        (!range.is_empty()).then_some(Chunk::Fresh(range))
    }

    /// Translates a chunk, while others are under way, and sends it.
    fn send(&mut self, under_way: &mut Answers, chunk: Chunk, state: &State) {
        let schema = self.connection.pipeline.schema();
        let changes = &self.step.changes;
        let counts = self.options.counts;
        let update = |place: usize| {
            let change = state.instead.get(&place).unwrap_or(&changes[place]);
            to_wire(schema, change, counts.and_then(|counts| counts.get(inserted(change)?)).copied())
        };
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
        let calls = self.connection.under_way.clone();
        self.written.chunks += 1;
        let limit = self.options.start_before;
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
        self.progress.done += done;
        self.written.acknowledged = Some(std::time::Instant::now());
        if let Some(tell) = self.options.progress {
            tell(*self.progress);
        }
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
                let patience = self.options.start_before.map_or(patience, |limit| limit.min(patience));
                self.connection.under_way.settled(patience).await;
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
        self.written.repeated += places.len();
        state.again.push_back(places);
    }

    /// Judges the updates of a chunk one by one.
    async fn each(&mut self, places: &[usize], each: Vec<UpdateStatus>, state: &mut State) {
        let mut done = 0;
        let mut repeated = Vec::new();
        let mut aborted = 0;
        for (&place, said) in places.iter().zip(each) {
            let is_abort = said.code == Code::Aborted;
            if said.code == Code::Ok || self.judge_update(place, said, state) {
                done += 1;
            } else if state.pending.contains(&place) {
                repeated.push(place);
                aborted += usize::from(is_abort);
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
        state.pending.clear();
        self.acknowledged(places.len(), done);
    }

    /// Judges one update that was not OK. True if nothing more is to be done for it.
    fn judge_update(&self, place: usize, said: UpdateStatus, state: &mut State) -> bool {
        let change = state.instead.get(&place).unwrap_or(&self.step.changes[place]);
        let instead = match (change, said.code) {
            (Change::Insert(_), Code::AlreadyExists) | (Change::Delete(_), Code::NotFound) => {
                state.suspects.push(place);
                return true;
            }
            (Change::DeleteGroup(_) | Change::ClearMeter { .. }, Code::NotFound) => return true,
            // Groups that cannot be read: only the write tells whether they are there.
            (Change::InsertGroup(group), Code::AlreadyExists) => Some(Change::ModifyGroup(group.clone())),
            (Change::ModifyGroup(group), Code::NotFound) => Some(Change::InsertGroup(group.clone())),
            // SONiC answers so to everything after the first failure; others when they were busy.
            (_, Code::Aborted | Code::Unavailable) => None,
            _ => {
                self.refuse(place, said, state);
                return false;
            }
        };
        let repeats = state.repeats.entry(place).or_default();
        *repeats += 1;
        // After a real failure the step is lost, and what was aborted behind it need not come again.
        if *repeats > REPEATS {
            self.refuse(place, said, state);
            return false;
        }
        if let Some(instead) = instead {
            state.instead.insert(place, instead);
        }
        state.pending.insert(place);
        false
    }

    fn refuse(&self, place: usize, said: UpdateStatus, state: &mut State) {
        let change = &self.step.changes[place];
        state.refused += 1;
        state.stopping = true;
        if state.failures.len() < Refusal::KEPT {
            state.failures.push(Failure {
                change: describe(self.connection.pipeline.schema(), change),
                origin: origin_of(change, self.installed),
                code: said.code,
                message: said.message,
            });
        }
    }

    async fn finish(self, state: State) -> Result<(), Error> {
        if state.refused > 0 {
            return Err(self.connection.error(Problem::Refused(Refusal {
                step: self.step.title,
                failures: state.failures,
                total: state.refused,
                aftermath: Aftermath::Left,
            })));
        }
        if state.stopping {
            let (done, total) = (self.progress.done, self.progress.total);
            return Err(self.connection.error(if state.late {
                Problem::LeaseOver { done, total }
            } else {
                Problem::Cancelled { done, total }
            }));
        }
        self.confirm(&state.suspects).await
    }

    /// Whether entries that were there already are those that should be, and those that were not are not.
    async fn confirm(&self, suspects: &[usize]) -> Result<(), Error> {
        if suspects.is_empty() {
            return Ok(());
        }
        let changes = || suspects.iter().map(|&place| &self.step.changes[place]);
        let table = |change: &Change| match change {
            Change::Insert(entry) => Some(entry.key.table),
            Change::Delete(key) => Some(key.table),
            _ => None,
        };
        let tables: BTreeSet<u32> = changes().filter_map(table).collect();
        tracing::debug!(switch = self.connection.target.name, suspects = suspects.len(), "comparing");
        let entries = self.connection.read_tables(tables).await?;
        let wrong = changes().find(|change| match change {
            Change::Insert(entry) => entries.get(&entry.key) != Some(entry),
            Change::Delete(key) => entries.contains_key(key),
            _ => false,
        });
        match wrong {
            None => Ok(()),
            Some(change) => {
                let what = format!("after \"{}\"", describe(self.connection.pipeline.schema(), change));
                Err(self.connection.error(Problem::Changed { what }))
            }
        }
    }

    /// Waits until we may not write any more.
    async fn lost(&self, primacy: &mut watch::Receiver<Primacy>) -> Error {
        loop {
            if let Err(error) = lost(&self.connection.peer, &primacy.borrow_and_update()) {
                return error;
            }
            // Without a stream (a switch without arbitration) nobody tells; then we wait for ever.
            if primacy.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether the stream, which shares the connection, still stands.
    fn is_alive(&self) -> bool {
        self.stream.check(&self.connection.peer).is_ok()
    }

    async fn cancelled(&self) {
        match self.options.cancel {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn disconnected(&self, reason: &str) -> Error {
        self.connection.error(Problem::Disconnected { reason: reason.to_owned() })
    }
}
