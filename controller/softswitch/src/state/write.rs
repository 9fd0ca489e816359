//! Updates: which entity they are about, and how to undo them.

use outplane_p4runtime::p4::v1 as proto;
use proto::entity::Entity;
use proto::update::Type;

use super::forwarding::Forwarding;
use super::refusal::{Outcome, Refusal};

type Undo = Box<dyn FnOnce(&mut Forwarding)>;

/// How to undo a batch, if it asks for that.
#[derive(Default)]
pub(crate) struct Journal(Option<Vec<Undo>>);

impl Journal {
    /// Remembers how to undo what is written from now on.
    pub(crate) fn recording() -> Self {
        Self(Some(Vec::new()))
    }

    /// How to undo the step that was just taken.
    pub(crate) fn note(&mut self, undo: impl FnOnce(&mut Forwarding) + 'static) {
        if let Some(steps) = &mut self.0 {
            steps.push(Box::new(undo));
        }
    }

    /// How to undo the last `count` of all steps, last one first; all of them with `usize::MAX`.
    pub(crate) fn take_last(&mut self, count: usize) -> Vec<Undo> {
        let Some(steps) = &mut self.0 else { return Vec::new() };
        let from = steps.len().saturating_sub(count);
        steps.drain(from..).rev().collect()
    }
}

impl Forwarding {
    /// Applies one update, or refuses it and changes nothing.
    pub(crate) fn apply(&mut self, update: &proto::Update, journal: &mut Journal) -> Outcome<()> {
        let kind = Type::try_from(update.r#type).unwrap_or_default();
        if kind == Type::Unspecified {
            return Err(Refusal::invalid("the update says neither INSERT, MODIFY nor DELETE"));
        }
        let entity = update.entity.as_ref().and_then(|entity| entity.entity.as_ref());
        match entity.ok_or_else(|| Refusal::invalid("the update has no entity"))? {
            Entity::TableEntry(entry) => self.write_entry(kind, entry, journal),
            Entity::DirectCounterEntry(entry) => self.write_direct_counter(kind, entry, journal),
            Entity::DirectMeterEntry(entry) => self.write_direct_meter(kind, entry, journal),
            Entity::CounterEntry(entry) => self.write_counter(kind, entry, journal),
            Entity::MeterEntry(entry) => self.write_meter(kind, entry, journal),
            Entity::RegisterEntry(entry) => self.write_register(kind, entry, journal),
            Entity::PacketReplicationEngineEntry(entry) => self.write_replication(kind, entry, journal),
            Entity::ActionProfileMember(member) => self.write_member(kind, member, journal),
            Entity::ActionProfileGroup(group) => self.write_group(kind, group, journal),
            Entity::ValueSetEntry(entry) => self.write_value_set(kind, entry, journal),
            Entity::DigestEntry(entry) => self.write_digest(kind, entry, journal),
            Entity::ExternEntry(_) => {
                Err(Refusal::unimplemented("this switch has no externs that are not in PSA"))
            }
        }
    }
}
