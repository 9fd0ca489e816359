//! Updates of a caller who only wants to know which were refused.

use outplane_p4runtime::p4::v1::Update;
use tonic::Code;

use super::engine::{Batch, Verdict};
use crate::refusal::{Failure, Refusal};
use crate::status::UpdateStatus;

pub(super) struct Plain<'a> {
    updates: &'a [Update],
    name: &'a (dyn Fn(usize) -> String + Sync),
    failures: Vec<Failure>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(updates: &'a [Update], name: &'a (dyn Fn(usize) -> String + Sync)) -> Self {
        Self { updates, name, failures: Vec::new() }
    }

    pub(super) fn refusal(mut self) -> Option<Refusal> {
        self.failures.sort_unstable_by_key(|failure| failure.place);
        (!self.failures.is_empty())
            .then_some(Refusal { failures: self.failures, updates: self.updates.len() })
    }
}

impl Batch for Plain<'_> {
    fn len(&self) -> usize {
        self.updates.len()
    }

    fn update(&self, place: usize) -> Update {
        self.updates[place].clone()
    }

    fn judge(&mut self, _: usize, said: &UpdateStatus) -> Verdict {
        match said.code {
            // SONiC answers so to everything after the first failure; others when they were busy.
            Code::Aborted | Code::Unavailable => Verdict::Again,
            _ => Verdict::Refused,
        }
    }

    fn refused(&mut self, place: usize, status: UpdateStatus, repeated: bool) -> bool {
        self.failures.push(Failure { place, update: (self.name)(place), status, repeated });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_the_order_of_their_places() {
        let updates = vec![Update::default(); 8];
        let name = |place: usize| format!("update {}", place + 1);
        let mut batch = Plain::new(&updates, &name);
        let said = |code, message: &str| UpdateStatus { code, message: message.to_owned() };
        assert_eq!(batch.judge(0, &said(Code::Aborted, "")), Verdict::Again);
        assert_eq!(batch.judge(0, &said(Code::NotFound, "")), Verdict::Refused);
        assert!(batch.refused(4, said(Code::AlreadyExists, "it is there"), true));
        assert!(batch.refused(1, said(Code::ResourceExhausted, ""), false));
        let refusal = batch.refusal().expect("two failures");
        assert_eq!(
            refusal.to_string(),
            "refused 2 of 8 updates: update 2: the table is full (RESOURCE_EXHAUSTED); update 5: it is there \
             (ALREADY_EXISTS), at the second try"
        );
        assert_eq!(Plain::new(&updates, &name).refusal(), None);
    }
}
