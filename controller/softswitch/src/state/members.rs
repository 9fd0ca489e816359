//! The actions of entries, and writes of members and groups: the standard's section 9.2.

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::{Scope, TableInfo};
use proto::action_profile_action_set::{ActionSelectionMode, SizeSemantics};
use proto::table_action;
use proto::update::Type;

use super::action::{ActionCall, ActionSet, EntryAction, Watch, WeightedAction};
use super::forwarding::Forwarding;
use super::profile::{Group, Profile, Selector, check_weight, group_size, set_size, watch_port};
use super::refusal::{Outcome, Refusal};
use super::wire;
use super::write::Journal;

/// Bytes that a member or a group's member takes, by estimate.
const MEMBER_BYTES: usize = 160;

impl Forwarding {
    /// What a profile holds; `INVALID_ARGUMENT` if there is none of that id.
    pub(crate) fn profile(&self, id: u32) -> Outcome<&Profile> {
        self.profiles
            .get(&id)
            .ok_or_else(|| Refusal::invalid(format!("there is no action profile with id {id}")))
    }

    /// An action of the table's, where its scope allows it.
    fn call(
        &self,
        table: &TableInfo,
        action: &proto::Action,
        allowed: fn(Scope) -> bool,
        place: &str,
    ) -> Outcome<ActionCall> {
        let id = action.action_id;
        let named = self.pipeline.schema().action(id).zip(table.action(id));
        let (info, reference) =
            named.ok_or_else(|| Refusal::invalid(format!("the table has no action with id {id}")))?;
        if !allowed(reference.scope) {
            let message = format!("action {} has the scope {:?}: not {place}", info.alias, reference.scope);
            return Err(Refusal::denied(message));
        }
        wire::params(info, action.params.iter().map(|param| (param.param_id, param.value.as_slice())))
    }

    fn entry_call(&self, table: &TableInfo, action: &proto::Action) -> Outcome<ActionCall> {
        self.call(table, action, Scope::in_entries, "in an entry")
    }

    /// The action of a default entry.
    pub(crate) fn default_action(
        &self,
        table: &TableInfo,
        action: &proto::TableAction,
    ) -> Outcome<EntryAction> {
        let Some(table_action::Type::Action(action)) = &action.r#type else {
            return Err(Refusal::invalid("a default entry has an action, and no members or groups"));
        };
        self.call(table, action, Scope::as_default, "as default action").map(EntryAction::Call)
    }

    /// The action of an entry, in the form that the table's implementation asks for.
    pub(crate) fn entry_action(
        &self,
        table: &TableInfo,
        action: &proto::TableAction,
    ) -> Outcome<EntryAction> {
        let profile = table.implementation.map(|id| Selector::of(&self.pipeline, id)).transpose()?;
        match (action.r#type.as_ref(), profile) {
            (None, _) => Err(Refusal::invalid("the entry's action is empty")),
            (Some(table_action::Type::Action(action)), None) => {
                self.entry_call(table, action).map(EntryAction::Call)
            }
            (Some(table_action::Type::ActionProfileMemberId(id)), Some(_)) => Ok(EntryAction::Member(*id)),
            (Some(table_action::Type::ActionProfileGroupId(id)), Some(profile))
                if profile.info.with_selector =>
            {
                Ok(EntryAction::Group(*id))
            }
            (Some(table_action::Type::ActionProfileActionSet(set)), Some(profile))
                if profile.info.with_selector =>
            {
                self.action_set(table, profile, set).map(|set| EntryAction::Set(Arc::new(set)))
            }
            (Some(_), None) => {
                Err(Refusal::invalid("the table is direct: its entries have actions, not members"))
            }
            (Some(_), Some(profile)) => Err(Refusal::invalid(format!(
                "the table is implemented by {} {}, which has no such entries",
                if profile.info.with_selector { "action selector" } else { "action profile" },
                profile.info.alias
            ))),
        }
    }

    fn action_set(
        &self,
        table: &TableInfo,
        profile: Selector<'_>,
        set: &proto::ActionProfileActionSet,
    ) -> Outcome<ActionSet> {
        match ActionSelectionMode::try_from(set.action_selection_mode) {
            Ok(ActionSelectionMode::DefaultModeDeterminedByActionSelector | ActionSelectionMode::Hash) => {}
            Ok(ActionSelectionMode::Random) => {
                return Err(Refusal::unimplemented(
                    "action selectors choose by hash; RANDOM is not supported",
                ));
            }
            Err(_) => return Err(Refusal::invalid("the action selection mode is not the standard's")),
        }
        match SizeSemantics::try_from(set.size_semantics) {
            Ok(SizeSemantics::DefaultSizeDeterminedByActionSelector) => {}
            Ok(SizeSemantics::SumOfMembers) if profile.rules.sum_of_members => {}
            Ok(SizeSemantics::SumOfWeights) if !profile.rules.sum_of_members => {}
            Ok(_) => {
                return Err(Refusal::unimplemented(
                    "the size semantics are the selector's; others are not supported",
                ));
            }
            Err(_) => return Err(Refusal::invalid("the size semantics are not the standard's")),
        }
        let group_action = set.group_action.as_ref();
        let is_group = |scope| scope == Scope::GroupAction;
        let group_action =
            group_action.map(|action| self.call(table, action, is_group, "as group action")).transpose()?;
        let actions = set.action_profile_actions.iter().map(|weighted| {
            use proto::action_profile_action::WatchKind;
            check_weight(weighted.weight, profile)?;
            let action = weighted
                .action
                .as_ref()
                .ok_or_else(|| Refusal::invalid("an action of the set is missing"))?;
            let watch = match &weighted.watch_kind {
                None => Watch::None,
                Some(WatchKind::Watch(watch)) => Watch::Number(*watch),
                Some(WatchKind::WatchPort(port)) => watch_port(port)?,
            };
            Ok(WeightedAction { call: self.entry_call(table, action)?, weight: weighted.weight, watch })
        });
        let set = ActionSet {
            group_action,
            actions: actions.collect::<Outcome<_>>()?,
            selection_mode: set.action_selection_mode,
            size_semantics: set.size_semantics,
        };
        let most = u64::from(profile.info.max_group_size);
        if most > 0 && set_size(&set, profile) > most {
            let message = format!("the set is larger than {most}, the selector's group size");
            return Err(Refusal::invalid(message));
        }
        Ok(set)
    }

    /// Checks that what an entry names is there, and counts it in; `instead` is what it named before.
    pub(crate) fn use_action(
        &mut self,
        table: &TableInfo,
        action: &EntryAction,
        instead: Option<&EntryAction>,
    ) -> Outcome<()> {
        let Some(id) = table.implementation else { return Ok(()) };
        let pipeline = self.pipeline.clone();
        let selector = Selector::of(&pipeline, id)?;
        let Some(profile) = self.profiles.get_mut(&id) else { return Ok(()) };
        let alias = &selector.info.alias;
        let mixed = || {
            let message =
                "a selector is programmed with one-shot sets or with members and groups, not with both";
            Err(Refusal::invalid(message))
        };
        match action {
            EntryAction::Member(id) if !profile.members.contains_key(id) => {
                return Err(Refusal::not_found(format!("there is no member {id} in {alias}")));
            }
            EntryAction::Group(id) if !profile.groups.contains_key(id) => {
                return Err(Refusal::not_found(format!("there is no group {id} in {alias}")));
            }
            EntryAction::Set(set) => {
                if !(profile.members.is_empty() && profile.groups.is_empty()) {
                    return mixed();
                }
                let before = match instead {
                    Some(EntryAction::Set(before)) => set_size(before, selector),
                    _ => 0,
                };
                profile.check_size(selector, set_size(set, selector), before)?;
            }
            _ => {}
        }
        profile.entry(action, selector, true);
        if let Some(instead) = instead {
            profile.entry(instead, selector, false);
        }
        Ok(())
    }

    /// Counts in what a restored entry names.
    pub(crate) fn keep_action(&mut self, table: &TableInfo, action: &EntryAction) {
        self.count_action(table, action, true);
    }

    /// Counts out what a removed entry named.
    pub(crate) fn release_action(&mut self, table: &TableInfo, action: &EntryAction) {
        self.count_action(table, action, false);
    }

    fn count_action(&mut self, table: &TableInfo, action: &EntryAction, up: bool) {
        let pipeline = self.pipeline.clone();
        let Some(id) = table.implementation else { return };
        if let (Ok(selector), Some(profile)) = (Selector::of(&pipeline, id), self.profiles.get_mut(&id)) {
            profile.entry(action, selector, up);
        }
    }

    /// Inserts, modifies or deletes a member.
    pub(crate) fn write_member(
        &mut self,
        kind: Type,
        member: &proto::ActionProfileMember,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let pipeline = self.pipeline.clone();
        let (id, member_id) = (member.action_profile_id, member.member_id);
        let Selector { info, .. } = Selector::of(&pipeline, id)?;
        if member_id == 0 {
            return Err(Refusal::invalid("the member id is 0, which is no member's"));
        }
        let profile = self.profiles.entry(id).or_default();
        let old = profile.members.get(&member_id).cloned();
        match (kind, &old) {
            (Type::Insert, Some(_)) => return Err(Refusal::exists(format!("member {member_id} exists"))),
            (Type::Modify | Type::Delete, None) => {
                return Err(Refusal::not_found(format!("there is no member {member_id}")));
            }
            _ => {}
        }
        let new = if kind == Type::Delete {
            if profile.member_users.contains_key(&member_id) {
                let message = format!("member {member_id} is named by a group or a table entry");
                return Err(Refusal::failed_precondition(message));
            }
            None
        } else {
            if profile.one_shots > 0 {
                return Err(Refusal::invalid("the selector is programmed with one-shot sets"));
            }
            // A selector's size bounds its groups.
            let bounded = kind == Type::Insert && !info.with_selector && info.size > 0;
            if bounded && profile.members.len() as u64 >= info.size {
                let message = format!("action profile {} holds {} members", info.alias, info.size);
                return Err(Refusal::exhausted(message));
            }
            let action =
                member.action.as_ref().ok_or_else(|| Refusal::invalid("a member needs an action"))?;
            let table = info.tables.first().and_then(|id| pipeline.schema().table(*id));
            let table = table.ok_or_else(|| Refusal::invalid("the action profile implements no table"))?;
            Some(Arc::new(self.entry_call(table, action)?))
        };
        let cost = |call: &Option<Arc<ActionCall>>| {
            call.as_ref().map_or(0, |call| MEMBER_BYTES + call.params.len() * 16)
        };
        let (bytes, instead) = (cost(&new), cost(&old));
        self.budget.check(bytes, instead)?;
        let put = move |state: &mut Self, value: Option<Arc<ActionCall>>, bytes, instead| {
            state.budget.replace(bytes, instead);
            let members = &mut state.profiles.entry(id).or_default().members;
            match value {
                Some(value) => members.insert(member_id, value),
                None => members.remove(&member_id),
            };
        };
        put(self, new, bytes, instead);
        journal.note(move |state| put(state, old, instead, bytes));
        Ok(())
    }

    /// Inserts, modifies or deletes a group.
    pub(crate) fn write_group(
        &mut self,
        kind: Type,
        group: &proto::ActionProfileGroup,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let (id, group_id) = (group.action_profile_id, group.group_id);
        let pipeline = self.pipeline.clone();
        let selector = Selector::of(&pipeline, id)?;
        if !selector.info.with_selector {
            let alias = &selector.info.alias;
            return Err(Refusal::invalid(format!("action profile {alias} is no selector: it has no groups")));
        }
        if group_id == 0 {
            return Err(Refusal::invalid("the group id is 0, which is no group's"));
        }
        let profile = self.profiles.entry(id).or_default();
        let old = profile.groups.get(&group_id).cloned();
        match (kind, &old) {
            (Type::Insert, Some(_)) => return Err(Refusal::exists(format!("group {group_id} exists"))),
            (Type::Modify | Type::Delete, None) => {
                return Err(Refusal::not_found(format!("there is no group {group_id}")));
            }
            (Type::Modify, Some(old)) if old.max_size != group.max_size => {
                let message = format!("max_size is {} and cannot be changed", old.max_size);
                return Err(Refusal::invalid(message));
            }
            _ => {}
        }
        let new = if kind == Type::Delete {
            if profile.group_users.contains_key(&group_id) {
                return Err(Refusal::failed_precondition(format!(
                    "group {group_id} is named by a table entry"
                )));
            }
            None
        } else {
            let before = old.as_ref().map_or(0, |old| group_size(old, selector));
            Some(Arc::new(profile.checked_group(selector, group, before)?))
        };
        let cost = |group: &Option<Arc<Group>>| {
            group.as_ref().map_or(0, |group| MEMBER_BYTES * (1 + group.members.len()))
        };
        let (bytes, instead) = (cost(&new), cost(&old));
        self.budget.check(bytes, instead)?;
        let put = move |state: &mut Self, value: Option<Arc<Group>>, bytes, instead| {
            state.budget.replace(bytes, instead);
            let pipeline = state.pipeline.clone();
            let Ok(selector) = Selector::of(&pipeline, id) else { return };
            let profile = state.profiles.entry(id).or_default();
            if let Some(before) = profile.groups.remove(&group_id) {
                profile.group(&before, selector, false);
            }
            if let Some(value) = value {
                profile.group(&value, selector, true);
                profile.groups.insert(group_id, value);
            }
        };
        put(self, new, bytes, instead);
        journal.note(move |state| put(state, old, instead, bytes));
        Ok(())
    }
}
