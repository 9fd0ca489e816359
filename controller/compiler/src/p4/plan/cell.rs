//! What a switch holds and should hold under one key, whatever the version.

use outplane_p4runtime::entry::Entry;

use super::Steps;
use crate::state::Change;

/// All there is under one key.
#[derive(Debug, Default)]
pub(super) struct Cell<'a> {
    /// The entry that should be, without a version.
    pub(super) desired: Option<&'a Entry>,
    /// The entry of all versions.
    pub(super) all: Option<&'a Entry>,
    /// The entry of the version that packets see, and of no other.
    pub(super) old: Option<&'a Entry>,
    /// The entry of the next version, and of no other.
    pub(super) new: Option<&'a Entry>,
    /// Entries of ours that we would not have written, such as of a part of the version's bits.
    pub(super) odd: Vec<Odd<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Odd<'a> {
    pub(super) entry: &'a Entry,
    pub(super) seen_now: bool,
    pub(super) seen_next: bool,
}

/// Whether two entries do the same, whoever asked for them.
pub(super) fn same(one: &Entry, other: &Entry) -> bool {
    one.action == other.action
}

pub(super) fn delete(entry: &Entry) -> Change {
    Change::Delete(entry.key.clone())
}

/// The installed entry with the action and the origin of the desired one; none if it has them.
pub(super) fn rewritten(installed: &Entry, desired: &Entry) -> Option<Change> {
    if same(installed, desired) && installed.metadata == desired.metadata {
        return None;
    }
    Some(Change::Modify(Entry { key: installed.key.clone(), ..desired.clone() }))
}

impl<'a> Cell<'a> {
    /// Whether nothing exists in one version only, or in odd ones.
    pub(super) fn is_shared(&self) -> bool {
        self.old.is_none() && self.new.is_none() && self.odd.is_empty()
    }

    /// The entry of all versions, which there is alone, and the desired one, which does something else.
    pub(super) fn acts_otherwise(&self) -> Option<(&'a Entry, &'a Entry)> {
        let (all, desired) = (self.all?, self.desired?);
        (self.is_shared() && !same(all, desired)).then_some((all, desired))
    }

    /// The one write that makes what packets see what it should be; none where it takes more.
    pub(super) fn in_place(&self) -> Option<Change> {
        if self.all.is_some() && self.old.is_some() || self.new.is_some() || !self.odd.is_empty() {
            return None;
        }
        match (self.desired, self.all.or(self.old)) {
            (Some(desired), Some(seen)) => rewritten(seen, desired),
            (Some(desired), None) => Some(Change::Insert(desired.clone())),
            (None, Some(seen)) => Some(delete(seen)),
            (None, None) => None,
        }
    }

    pub(super) fn installed(&self) -> impl Iterator<Item = &'a Entry> {
        let odd = self.odd.iter().map(|odd| odd.entry);
        self.all.into_iter().chain(self.old).chain(self.new).chain(odd)
    }

    /// Whether all that packets see under this key now does as `entry` does.
    pub(super) fn seen_now_does_as(&self, entry: &Entry) -> bool {
        let odd = self.odd.iter().filter(|odd| odd.seen_now).map(|odd| odd.entry);
        self.all.into_iter().chain(self.old).chain(odd).all(|seen| same(seen, entry))
    }

    /// Whether packets see exactly what they should see under this key, so that it needs no flip.
    pub(super) fn is_settled(&self) -> bool {
        if self.odd.iter().any(|odd| odd.seen_now) {
            return false;
        }
        match self.desired {
            None => self.all.is_none() && self.old.is_none(),
            Some(desired) => (self.all.is_some() || self.old.is_some()) && self.seen_now_does_as(desired),
        }
    }

    /// The rules where packets see what they should: remove what they do not need, write origins that changed.
    pub(super) fn tidy(&self, steps: &mut Steps) {
        let kept = self.desired.and(self.all.or(self.old));
        if let (Some(desired), Some(kept)) = (self.desired, kept) {
            steps.clean_up.extend(rewritten(kept, desired));
        }
        steps.sweep.extend(
            self.installed().filter(|&entry| kept.is_none_or(|kept| kept.key != entry.key)).map(delete),
        );
    }
}
