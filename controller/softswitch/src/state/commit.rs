//! Pipelines coming and going: the standard's section 14.

use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use proto::entity::Entity;
use proto::update::Type;

use super::forwarding::Forwarding;
use super::pipeline::Pipeline;
use super::refusal::{Outcome, Refusal};
use super::write::Journal;
use super::{Shared, State};

impl State {
    /// What reads and writes mean: the saved pipeline's state, or else the committed one's.
    pub(crate) fn control(&self) -> Option<&Forwarding> {
        self.saved.as_ref().or(self.committed.as_ref())
    }

    /// The pipeline that reads and writes mean: the saved one, or else the committed one.
    pub fn control_pipeline(&self) -> Option<&Arc<Pipeline>> {
        self.control().map(Forwarding::pipeline)
    }
}

/// Old and new state change places under the lock; making the one and dropping the other takes longer than packets
/// should wait.
impl Shared {
    /// Whether the switch can realize a configuration.
    pub fn verify(&self, config: proto::ForwardingPipelineConfig) -> Outcome<Pipeline> {
        let limits = self.read().limits.clone();
        Pipeline::new(config, &limits)
    }

    /// `VERIFY_AND_SAVE`: reads and writes mean this pipeline from now on, packets the one before.
    pub fn save(&self, pipeline: Pipeline) {
        let saved = self.fresh(pipeline);
        let old = self.write().saved.replace(saved);
        drop(old);
    }

    /// `VERIFY_AND_COMMIT`: packets see this pipeline, with no entries.
    pub fn commit(&self, pipeline: Pipeline) {
        let committed = self.fresh(pipeline);
        let old = {
            let mut state = self.write();
            (state.saved.take(), state.committed.replace(committed))
        };
        drop(old);
    }

    /// `COMMIT`: packets see the saved pipeline, with what has been written since it was saved.
    pub fn commit_saved(&self) -> Outcome<()> {
        let old = {
            let mut state = self.write();
            let saved = state.saved.take();
            let saved = saved
                .ok_or_else(|| Refusal::not_found("no pipeline has been saved that could be committed"))?;
            state.committed.replace(saved)
        };
        drop(old);
        Ok(())
    }

    /// `RECONCILE_AND_COMMIT`: packets see this pipeline, with all entries, groups and configurations of the one
    /// before. Refused where one of them has no place in it; then everything stays as it is.
    pub fn reconcile(&self, pipeline: Pipeline) -> Outcome<()> {
        let pipeline = Arc::new(pipeline);
        let new = {
            let state = self.read();
            let old = state.committed.as_ref();
            let old =
                old.ok_or_else(|| Refusal::invalid("there is no forwarding state that could be preserved"))?;
            if old.pipeline.schema().p4info() == pipeline.schema().p4info() {
                None
            } else {
                let mut new = Forwarding::new(pipeline.clone(), &state.limits);
                replay(old, &mut new)?;
                Some(new)
            }
        };
        let old = {
            let mut state = self.write();
            let saved = state.saved.take();
            match (new, &mut state.committed) {
                // The same program: its state stands as it is.
                (None, Some(committed)) => {
                    committed.pipeline = pipeline;
                    (saved, None)
                }
                (new, _) => (saved, std::mem::replace(&mut state.committed, new)),
            }
        };
        drop(old);
        Ok(())
    }

    fn fresh(&self, pipeline: Pipeline) -> Forwarding {
        let limits = self.read().limits.clone();
        Forwarding::new(Arc::new(pipeline), &limits)
    }
}

/// Writes everything that one state holds into another, as a client would.
fn replay(old: &Forwarding, new: &mut Forwarding) -> Outcome<()> {
    use proto::packet_replication_engine_entry::Type as EngineEntry;
    let queries = [
        Entity::ActionProfileMember(proto::ActionProfileMember::default()),
        Entity::ActionProfileGroup(proto::ActionProfileGroup::default()),
        Entity::TableEntry(proto::TableEntry {
            counter_data: Some(proto::CounterData::default()),
            meter_config: Some(proto::MeterConfig::default()),
            ..proto::TableEntry::default()
        }),
        Entity::CounterEntry(proto::CounterEntry::default()),
        Entity::MeterEntry(proto::MeterEntry::default()),
        Entity::RegisterEntry(proto::RegisterEntry::default()),
        replication(EngineEntry::MulticastGroupEntry(proto::MulticastGroupEntry::default())),
        replication(EngineEntry::CloneSessionEntry(proto::CloneSessionEntry::default())),
        Entity::ValueSetEntry(proto::ValueSetEntry::default()),
        Entity::DigestEntry(proto::DigestEntry::default()),
    ];
    for query in queries {
        for entity in select(old, query)? {
            write(new, entity)?;
        }
    }
    let tables = old.pipeline.schema().tables().iter();
    let writable = tables.filter(|info| info.const_default_action.is_none() && info.implementation.is_none());
    for info in writable {
        let query = proto::TableEntry { table_id: info.id, is_default_action: true, ..Default::default() };
        for entity in select(old, Entity::TableEntry(query))? {
            if select_same(new, info.id, &entity) {
                continue;
            }
            write(new, entity)?;
        }
    }
    Ok(())
}

fn replication(entry: proto::packet_replication_engine_entry::Type) -> Entity {
    Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type: Some(entry) })
}

fn select(state: &Forwarding, entity: Entity) -> Outcome<impl Iterator<Item = Entity> + use<>> {
    Ok(state.select(Some(&proto::Entity { entity: Some(entity) }))?.into_iter().flatten())
}

/// Whether a table's default entry is already as it should be.
fn select_same(state: &Forwarding, table_id: u32, entity: &Entity) -> bool {
    let query = proto::TableEntry { table_id, is_default_action: true, ..Default::default() };
    select(state, Entity::TableEntry(query)).is_ok_and(|mut found| found.next().as_ref() == Some(entity))
}

fn write(state: &mut Forwarding, entity: Entity) -> Outcome<()> {
    let kind = match &entity {
        Entity::TableEntry(entry) if !entry.is_default_action => Type::Insert,
        Entity::ActionProfileMember(_)
        | Entity::ActionProfileGroup(_)
        | Entity::PacketReplicationEngineEntry(_)
        | Entity::DigestEntry(_) => Type::Insert,
        // Arrays are zero already.
        Entity::CounterEntry(entry) if entry.data == Some(proto::CounterData::default()) => return Ok(()),
        Entity::MeterEntry(entry) if entry.config.is_none() => return Ok(()),
        _ => Type::Modify,
    };
    let update = proto::Update { r#type: kind.into(), entity: Some(proto::Entity { entity: Some(entity) }) };
    let refused = |refusal: Refusal| {
        let what = "the forwarding state can't be preserved under the new P4Info";
        Refusal::invalid(format!("{what}: {refusal}"))
    };
    state.apply(&update, &mut Journal::default()).map_err(refused)
}
