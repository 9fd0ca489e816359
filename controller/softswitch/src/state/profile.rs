//! Action profiles and selectors: members and groups, or one-shot sets, never both (the standard's section 9.2).

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use std::collections::BTreeMap;
use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::ProfileInfo;

use super::action::{ActionCall, ActionSet, EntryAction, Watch};
use super::pipeline::{Pipeline, SelectorRules};
use super::refusal::{Outcome, Refusal};
use super::wire;

/// What an action profile holds.
#[derive(Debug, Default)]
pub struct Profile {
    /// Members by id.
    pub members: BTreeMap<u32, Arc<ActionCall>>,
    /// Groups by id.
    pub groups: BTreeMap<u32, Arc<Group>>,
    /// Table entries that are programmed with one-shot sets.
    pub(super) one_shots: usize,
    /// How many table entries and groups name each member.
    pub(super) member_users: BTreeMap<u32, usize>,
    /// How many table entries name each group.
    pub(super) group_users: BTreeMap<u32, usize>,
    /// What all groups and one-shot sets sum up to, by the selector's semantics.
    size: u64,
}

/// A group of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Members, in the order written.
    pub members: Vec<GroupMember>,
    /// `max_size`, fixed at insertion.
    pub max_size: i32,
}

/// A member's part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The member.
    pub id: u32,
    /// How often it is chosen, relative to the others.
    pub weight: i32,
    /// The port whose liveness it depends on.
    pub watch: Watch,
}

/// A profile or selector, and how it counts.
#[derive(Clone, Copy)]
pub(crate) struct Selector<'a> {
    pub(super) info: &'a ProfileInfo,
    pub(super) rules: SelectorRules,
}

impl<'a> Selector<'a> {
    pub(super) fn of(pipeline: &'a Pipeline, id: u32) -> Outcome<Self> {
        let info = pipeline.schema().profile(id);
        let info =
            info.ok_or_else(|| Refusal::invalid(format!("there is no action profile with id {id}")))?;
        Ok(Self { info, rules: pipeline.selector(id) })
    }
}

fn count(users: &mut BTreeMap<u32, usize>, id: u32, up: bool) {
    let users_of = users.entry(id).or_default();
    *users_of = if up { *users_of + 1 } else { users_of.saturating_sub(1) };
    if *users_of == 0 {
        users.remove(&id);
    }
}

impl Profile {
    /// Counts an entry's use of the profile in or out.
    pub(super) fn entry(&mut self, action: &EntryAction, selector: Selector<'_>, up: bool) {
        match action {
            EntryAction::Member(id) => count(&mut self.member_users, *id, up),
            EntryAction::Group(id) => count(&mut self.group_users, *id, up),
            EntryAction::Set(set) => {
                self.one_shots = if up { self.one_shots + 1 } else { self.one_shots.saturating_sub(1) };
                self.resize(set_size(set, selector), up);
            }
            EntryAction::None | EntryAction::Call(_) => {}
        }
    }

    /// Counts a group's use of members in or out.
    pub(super) fn group(&mut self, group: &Group, selector: Selector<'_>, up: bool) {
        for member in &group.members {
            count(&mut self.member_users, member.id, up);
        }
        self.resize(group_size(group, selector), up);
    }

    fn resize(&mut self, size: u64, up: bool) {
        self.size = if up { self.size.saturating_add(size) } else { self.size.saturating_sub(size) };
    }

    /// Whether `size` fits in addition, once `instead` is gone.
    pub(super) fn check_size(&self, selector: Selector<'_>, size: u64, instead: u64) -> Outcome<()> {
        let sum = self.size.saturating_sub(instead).saturating_add(size);
        let ProfileInfo { alias, size, .. } = selector.info;
        if *size == 0 || sum <= *size {
            return Ok(());
        }
        Err(Refusal::exhausted(format!("selector {alias} is full: its size is {size}")))
    }
}

fn weight_size(weight: i32, selector: Selector<'_>) -> u64 {
    if selector.rules.sum_of_members { 1 } else { u64::try_from(weight).unwrap_or(0).max(1) }
}

pub(super) fn set_size(set: &ActionSet, selector: Selector<'_>) -> u64 {
    set.actions.iter().map(|action| weight_size(action.weight, selector)).sum()
}

pub(super) fn group_size(group: &Group, selector: Selector<'_>) -> u64 {
    group.members.iter().map(|member| weight_size(member.weight, selector)).sum()
}

pub(super) fn check_weight(weight: i32, selector: Selector<'_>) -> Outcome<()> {
    let invalid =
        |message: String| Err(Refusal::invalid(format!("selector {}: {message}", selector.info.alias)));
    let SelectorRules { sum_of_members, max_member_weight, weights_disallowed } = selector.rules;
    if weights_disallowed {
        return if weight == 0 { Ok(()) } else { invalid("weights are not the client's to give".to_owned()) };
    }
    if weight <= 0 {
        return invalid(format!("a weight of {weight}; it must be above 0"));
    }
    if sum_of_members && max_member_weight > 0 && weight > max_member_weight {
        return invalid(format!("a weight of {weight}; the most is {max_member_weight}"));
    }
    Ok(())
}

impl Profile {
    pub(super) fn checked_group(
        &self,
        selector: Selector<'_>,
        group: &proto::ActionProfileGroup,
        before: u64,
    ) -> Outcome<Group> {
        use proto::action_profile_group::member::WatchKind;
        if self.one_shots > 0 {
            return Err(Refusal::invalid("the selector is programmed with one-shot sets"));
        }
        let max_size = u64::try_from(group.max_size).map_err(|_| Refusal::invalid("max_size is negative"))?;
        let most = u64::from(selector.info.max_group_size);
        if most > 0 && !(1..=most).contains(&max_size) {
            let message = format!("max_size must be 1 to {most}, the selector's group size");
            return Err(Refusal::invalid(message));
        }
        let mut seen = std::collections::BTreeSet::new();
        let members = group.members.iter().map(|member| {
            check_weight(member.weight, selector)?;
            if !seen.insert(member.member_id) {
                return Err(Refusal::invalid(format!("member {} is in the group twice", member.member_id)));
            }
            if !self.members.contains_key(&member.member_id) {
                return Err(Refusal::not_found(format!("there is no member {}", member.member_id)));
            }
            let watch = match &member.watch_kind {
                None => Watch::None,
                Some(WatchKind::Watch(watch)) => Watch::Number(*watch),
                Some(WatchKind::WatchPort(port)) => watch_port(port)?,
            };
            Ok(GroupMember { id: member.member_id, weight: member.weight, watch })
        });
        let new = Group { members: members.collect::<Outcome<_>>()?, max_size: group.max_size };
        let size = group_size(&new, selector);
        if max_size > 0 && size > max_size {
            return Err(Refusal::exhausted(format!(
                "the group sums up to {size}, above its max_size of {max_size}"
            )));
        }
        self.check_size(selector, size, before)?;
        Ok(new)
    }
}

/// The port that a choice depends on; an empty string says none.
pub(super) fn watch_port(port: &[u8]) -> Outcome<Watch> {
    if port.is_empty() {
        return Ok(Watch::None);
    }
    wire::port(port, "watch_port").map(Watch::Port)
}
