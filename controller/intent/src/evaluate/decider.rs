//! Who decided.

/// A policy and its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decider {
    pub(super) policy: String,
    pub(super) rule: String,
}

impl Decider {
    /// For people: `FilterPolicy/edge (web)`.
    pub(super) fn text(&self) -> String {
        format!("{} ({})", self.policy, self.rule)
    }
}
