//! Writes of multicast groups and clone sessions: the standard's section 9.5.

use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use proto::packet_replication_engine_entry::Type as EngineEntry;
use proto::update::Type;

use super::forwarding::Forwarding;
use super::pre::{CloneSession, MulticastGroup, cost, replicas};
use super::refusal::{Outcome, Refusal};
use super::write::Journal;

/// What a write makes of something with an id: its new value, none for a deletion.
fn change<T>(kind: Type, exists: bool, what: &str, make: impl FnOnce() -> Outcome<T>) -> Outcome<Option<T>> {
    match (kind, exists) {
        (Type::Insert, true) => Err(Refusal::exists(format!("{what} exists"))),
        (Type::Modify | Type::Delete, false) => Err(Refusal::not_found(format!("there is no {what}"))),
        (Type::Delete, true) => Ok(None),
        _ => make().map(Some),
    }
}

impl Forwarding {
    /// Inserts, modifies or deletes a multicast group or clone session.
    pub(crate) fn write_replication(
        &mut self,
        kind: Type,
        entry: &proto::PacketReplicationEngineEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        match entry.r#type.as_ref() {
            Some(EngineEntry::MulticastGroupEntry(group)) => self.write_multicast_group(kind, group, journal),
            Some(EngineEntry::CloneSessionEntry(session)) => self.write_clone_session(kind, session, journal),
            None => Err(Refusal::invalid("neither a multicast group nor a clone session")),
        }
    }

    fn write_multicast_group(
        &mut self,
        kind: Type,
        entry: &proto::MulticastGroupEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let id = entry.multicast_group_id;
        if id == 0 {
            return Err(Refusal::invalid("the multicast group id is 0, which means no group"));
        }
        let old = self.pre.groups.get(&id).cloned();
        let new = change(kind, old.is_some(), &format!("multicast group {id}"), || {
            if old.is_none() && self.pre.groups.len() >= self.limits.multicast_groups {
                return Err(Refusal::exhausted(format!("{} multicast groups", self.limits.multicast_groups)));
            }
            let replicas = replicas(&entry.replicas, self.limits.replicas)?;
            Ok(Arc::new(MulticastGroup { replicas, metadata: entry.metadata.as_slice().into() }))
        })?;
        let bytes = |group: &Option<Arc<MulticastGroup>>| {
            group.as_ref().map_or(0, |group| cost(&group.replicas, &group.metadata))
        };
        let (new_bytes, old_bytes) = (bytes(&new), bytes(&old));
        self.budget.check(new_bytes, old_bytes)?;
        let put = move |state: &mut Self, value: Option<Arc<MulticastGroup>>, bytes, instead| {
            state.budget.replace(bytes, instead);
            match value {
                Some(value) => state.pre.groups.insert(id, value),
                None => state.pre.groups.remove(&id),
            };
        };
        put(self, new, new_bytes, old_bytes);
        journal.note(move |state| put(state, old, old_bytes, new_bytes));
        Ok(())
    }

    fn write_clone_session(
        &mut self,
        kind: Type,
        entry: &proto::CloneSessionEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let id = entry.session_id;
        if id == 0 {
            return Err(Refusal::invalid("the clone session id is 0, which is no session's"));
        }
        let old = self.pre.sessions.get(&id).cloned();
        let new = change(kind, old.is_some(), &format!("clone session {id}"), || {
            if old.is_none() && self.pre.sessions.len() >= self.limits.multicast_groups {
                return Err(Refusal::exhausted(format!("{} clone sessions", self.limits.multicast_groups)));
            }
            if entry.packet_length_bytes < 0 {
                return Err(Refusal::invalid("packet_length_bytes is negative"));
            }
            // PSA's ClassOfService_t has 8 bits.
            if entry.class_of_service > 255 {
                return Err(Refusal::invalid("class_of_service must be 0 to 255"));
            }
            Ok(Arc::new(CloneSession {
                replicas: replicas(&entry.replicas, self.limits.replicas)?,
                class_of_service: entry.class_of_service,
                packet_length_bytes: entry.packet_length_bytes,
            }))
        })?;
        let bytes = |session: &Option<Arc<CloneSession>>| {
            session.as_ref().map_or(0, |session| cost(&session.replicas, &[]))
        };
        let (new_bytes, old_bytes) = (bytes(&new), bytes(&old));
        self.budget.check(new_bytes, old_bytes)?;
        let put = move |state: &mut Self, value: Option<Arc<CloneSession>>, bytes, instead| {
            state.budget.replace(bytes, instead);
            match value {
                Some(value) => state.pre.sessions.insert(id, value),
                None => state.pre.sessions.remove(&id),
            };
        };
        put(self, new, new_bytes, old_bytes);
        journal.note(move |state| put(state, old, old_bytes, new_bytes));
        Ok(())
    }
}
