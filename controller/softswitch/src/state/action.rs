//! What a table entry does.

use std::sync::Arc;

/// An action with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionCall {
    /// The action's id in the P4Info.
    pub id: u32,
    /// Parameter values in the P4Info's order of the action's parameters.
    pub params: Box<[u128]>,
}

/// The forms of an entry's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryAction {
    /// Nothing that the P4Info would name: a default entry that it says nothing about.
    None,
    /// An action: tables without an implementation, and every default entry.
    Call(ActionCall),
    /// A member of the table's action profile.
    Member(u32),
    /// A group of the table's action selector.
    Group(u32),
    /// A one-shot set for the table's action selector.
    Set(Arc<ActionSet>),
}

/// A one-shot action selector programming, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSet {
    /// The base action of the group.
    pub group_action: Option<ActionCall>,
    /// The actions to choose from, in the order written.
    pub actions: Vec<WeightedAction>,
    /// `ActionProfileActionSet.ActionSelectionMode`.
    pub selection_mode: i32,
    /// `ActionProfileActionSet.SizeSemantics`.
    pub size_semantics: i32,
}

/// One of the actions of a one-shot set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedAction {
    /// The action.
    pub call: ActionCall,
    /// How often it is chosen, relative to the others.
    pub weight: i32,
    /// The port whose liveness it depends on.
    pub watch: Watch,
}

/// The port that a choice depends on, in the form in which it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// None: always included.
    #[default]
    None,
    /// `watch_port`.
    Port(u32),
    /// The deprecated numeric `watch`.
    Number(i32),
}
