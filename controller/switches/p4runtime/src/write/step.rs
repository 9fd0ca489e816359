//! One step of a plan: what answers mean for its changes.

use std::collections::{BTreeMap, BTreeSet};

use outplane_compiler::state::{Change, Installed, Step};
use outplane_p4runtime::p4::v1::Update;
use outplane_p4runtime_client::{Batch, Ended, Pacer, Sent, UpdateStatus, Verdict};
use tonic::Code;

use super::updates::{describe, inserted, origin_of, to_wire};
use super::{Progress, WriteOptions, Written};
use crate::connection::Connection;
use crate::errors::{Aftermath, Error, Failure, Problem, Refusal};

/// Writes one step.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) step: &'a Step,
    pub(super) installed: &'a Installed,
    pub(super) options: WriteOptions<'a>,
    /// What was planned from has not been read: an answer that does not go with it is a reason to read.
    pub(super) from_memory: bool,
    pub(super) progress: &'a mut Progress,
    pub(super) written: &'a mut Written,
    pub(super) found: Found,
}

/// What the answers have told.
#[derive(Default)]
pub(super) struct Found {
    /// What is sent in place of a change: the switch has told that, say, a group is there already.
    instead: BTreeMap<usize, Change>,
    /// Inserts of what is there, deletes of what is not.
    suspects: Vec<usize>,
    /// Something was there that should not have been, or not there that should.
    is_odd: bool,
    failures: Vec<Failure>,
    refused: usize,
}

impl Batch for Writer<'_> {
    fn len(&self) -> usize {
        self.step.changes.len()
    }

    fn update(&self, place: usize) -> Update {
        let change = self.change(place);
        let count = self.options.counts.and_then(|counts| counts.get(inserted(change)?)).copied();
        to_wire(self.connection.pipeline.schema(), change, count)
    }

    fn judge(&mut self, place: usize, said: &UpdateStatus) -> Verdict {
        let instead = match (self.change(place), said.code) {
            (Change::Insert(_), Code::AlreadyExists) | (Change::Delete(_), Code::NotFound) => {
                self.found.suspects.push(place);
                self.found.is_odd = true;
                return Verdict::Done;
            }
            (Change::DeleteGroup(_) | Change::ClearMeter { .. }, Code::NotFound) => {
                self.found.is_odd = true;
                return Verdict::Done;
            }
            // Groups that cannot be read: only the write tells whether they are there.
            (Change::InsertGroup(group), Code::AlreadyExists) => Change::ModifyGroup(group.clone()),
            (Change::ModifyGroup(group), Code::NotFound) => Change::InsertGroup(group.clone()),
            // SONiC answers so to everything after the first failure; others when they were busy.
            (_, Code::Aborted | Code::Unavailable) => return Verdict::Again,
            _ => return Verdict::Refused,
        };
        self.found.is_odd = true;
        self.found.instead.insert(place, instead);
        Verdict::Again
    }

    /// After a refusal the step is lost, and nothing more of it is sent.
    fn refused(&mut self, place: usize, said: UpdateStatus, _: bool) -> bool {
        let change = &self.step.changes[place];
        self.found.refused += 1;
        if self.found.failures.len() < Refusal::KEPT {
            self.found.failures.push(Failure {
                change: describe(self.connection.pipeline.schema(), change),
                origin: origin_of(change, self.installed),
                code: said.code,
                message: said.message,
            });
        }
        false
    }

    fn answered(&mut self, _: usize, done: usize) {
        self.progress.done += done;
        self.written.acknowledged = Some(std::time::Instant::now());
        if let Some(tell) = self.options.progress {
            tell(*self.progress);
        }
    }
}

impl Writer<'_> {
    /// Whether the switch has answered as if nothing of the step had been there before.
    pub(super) async fn run(mut self, pacer: &mut Pacer) -> Result<bool, Error> {
        let client = &self.connection.client;
        let mut sent = Sent::default();
        let until = self.options.until();
        let ended = client.write_batch(&mut self, pacer, until, &mut sent).await;
        self.written.chunks += sent.chunks;
        self.written.repeated += sent.repeated;
        let is_odd = self.found.is_odd;
        self.finish(ended?, sent.repeated > 0).await?;
        Ok(!is_odd)
    }

    fn change(&self, place: usize) -> &Change {
        self.found.instead.get(&place).unwrap_or(&self.step.changes[place])
    }

    async fn finish(self, ended: Ended, repeated: bool) -> Result<(), Error> {
        if self.found.refused > 0 {
            return Err(self.connection.error(Problem::Refused(Refusal {
                step: self.step.title,
                failures: self.found.failures,
                total: self.found.refused,
                aftermath: Aftermath::Left,
            })));
        }
        // Where nothing was sent twice, it was so before.
        if self.from_memory && self.found.is_odd && !repeated {
            let what = format!("what it holds is not what was known of it, in step \"{}\"", self.step.title);
            return Err(self.connection.error(Problem::Changed { what }));
        }
        let (done, total) = (self.progress.done, self.progress.total);
        match ended {
            Ended::Whole => self.confirm(&self.found.suspects).await,
            Ended::Late => Err(self.connection.error(Problem::LeaseOver { done, total })),
            Ended::Stopped => Err(self.connection.error(Problem::Cancelled { done, total })),
        }
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
        tracing::debug!(switch = self.connection.target().name, suspects = suspects.len(), "comparing");
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
}
