//! Writes of parser value sets and of digest configurations: the standard's sections 9.6 and 9.8.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use outplane_p4runtime::p4::v1 as proto;
use proto::update::Type;

use super::forwarding::Forwarding;
use super::refusal::{Outcome, Refusal};
use super::table::Matches;
use super::wire;
use super::write::Journal;

/// Bytes that a value set's member takes, by estimate.
fn cost(members: &[Matches]) -> usize {
    members.iter().map(|member| 160 + member.values.len() * 32 + member.ranges.len() * 32).sum()
}

impl Forwarding {
    /// Replaces the members of a value set.
    pub(crate) fn write_value_set(
        &mut self,
        kind: Type,
        entry: &proto::ValueSetEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        if kind != Type::Modify {
            return Err(Refusal::invalid(
                "value sets are always there: they can be modified and nothing else",
            ));
        }
        let id = entry.value_set_id;
        let info = self.pipeline.schema().value_set(id);
        let info = info.ok_or_else(|| Refusal::invalid(format!("there is no value set with id {id}")))?;
        // A value set without a size in the P4Info takes as many as one message does: the budget bounds them.
        if info.size > 0 && entry.members.len() as u64 > u64::from(info.size) {
            return Err(Refusal::exhausted(format!("value set {} holds {} members", info.alias, info.size)));
        }
        let mut seen = HashSet::with_hasher(RandomState::default());
        let members = entry.members.iter().map(|member| {
            let matches = wire::matches(&info.fields, &member.r#match)?;
            if !seen.insert(matches.clone()) {
                return Err(Refusal::exists(format!("value set {}: a member is there twice", info.alias)));
            }
            Ok(matches)
        });
        let new: std::sync::Arc<[Matches]> = members.collect::<Outcome<Vec<_>>>()?.into();
        let old = self.value_sets.get(&id).cloned().unwrap_or_default();
        let (new_bytes, old_bytes) = (cost(&new), cost(&old));
        self.budget.check(new_bytes, old_bytes)?;
        self.budget.replace(new_bytes, old_bytes);
        self.value_sets.insert(id, new);
        journal.note(move |state| {
            state.budget.replace(old_bytes, new_bytes);
            state.value_sets.insert(id, old);
        });
        Ok(())
    }

    /// Enables, configures or disables a digest.
    pub(crate) fn write_digest(
        &mut self,
        kind: Type,
        entry: &proto::DigestEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let id = entry.digest_id;
        if self.pipeline.schema().digest(id).is_none() {
            return Err(Refusal::invalid(format!("there is no digest with id {id}")));
        }
        let old = self.digests.get(&id).copied();
        match (kind, old) {
            (Type::Insert, Some(_)) => return Err(Refusal::exists(format!("digest {id} is enabled"))),
            (Type::Modify | Type::Delete, None) => {
                return Err(Refusal::not_found(format!("digest {id} is not enabled")));
            }
            _ => {}
        }
        if kind == Type::Delete {
            self.digests.remove(&id);
        } else {
            let config = entry.config.ok_or_else(|| Refusal::invalid("the digest's config is missing"))?;
            if config.max_timeout_ns < 0 || config.max_list_size < 0 || config.ack_timeout_ns < 0 {
                return Err(Refusal::invalid("a time or size of the digest's config is negative"));
            }
            self.digests.insert(id, config);
        }
        journal.note(move |state| {
            match old {
                Some(old) => state.digests.insert(id, old),
                None => state.digests.remove(&id),
            };
        });
        Ok(())
    }
}
