//! Action profiles and selectors: members and groups, or one-shot sets, never both.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::{ActionCall, Watch};

/// What an action profile holds.
#[derive(Debug, Default)]
pub struct Profile {
    /// Members by id.
    pub members: BTreeMap<u32, Arc<ActionCall>>,
    /// Groups by id.
    pub groups: BTreeMap<u32, Arc<Group>>,
    /// Table entries that are programmed with one-shot sets.
    pub one_shots: usize,
    /// Table entries that name each member.
    pub member_users: BTreeMap<u32, usize>,
    /// Table entries that name each group.
    pub group_users: BTreeMap<u32, usize>,
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
