//! What a session knows of its switch without reading it: what was read once, and what was written since.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outplane_compiler::state::{Desired, Installed};

use crate::converge::{ConvergeOptions, Rules};
use crate::pipeline::Push;

/// How long after a switch was read it is read again in any case: what somebody changed who needs no primacy is found by
/// then, also where nobody audits it, or changes follow each other so closely that none has the time.
const READ_WITHIN: Duration = Duration::from_mins(10);

/// What a switch holds, for whoever is proven to be the only one who may have written since.
///
/// Bounded: there is one a session at most, with no more entries than a read may bring (`Options::max_entries`) and one
/// plan adds, without their counters; those that are as desired are the desired state's memory.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    installed: Installed,
    /// When the read began that it rests on.
    read_at: Instant,
}

impl Memory {
    /// What a switch holds that was to hold `desired`, and was last read then.
    pub(crate) fn new(installed: Installed, desired: &Desired, read_at: Instant) -> Self {
        let entries = installed.entries.sharing(&desired.entries);
        Self { installed: Installed { entries, counters: BTreeMap::new(), ..installed }, read_at }
    }

    /// Whether the switch needs not be read for its age.
    pub(crate) fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.read_at) < READ_WITHIN
    }

    /// What the switch holds, and since when that is known, if this tells all that there is to know for it.
    pub(crate) fn serve(
        self,
        desired: &Desired,
        options: &ConvergeOptions<'_>,
    ) -> Option<(Installed, Instant)> {
        let asks = options.keep_a_policy
            || options.keep.is_some()
            || options.rules != Rules::Ignore
            || options.push == Push::Always;
        // Whether a group that we do not know for ours is another's, only the switch tells.
        let is_ours = |id| self.installed.groups.iter().any(|group| group.id == id);
        let serves = !asks && desired.groups.iter().all(|group| is_ours(group.id));
        serves.then_some((self.installed, self.read_at))
    }
}

#[cfg(test)]
mod tests {
    use outplane_p4runtime::entry::MulticastGroup;

    use super::*;

    fn group(id: u32) -> MulticastGroup {
        MulticastGroup { id, ports: vec![1] }
    }

    fn memory(read_at: Instant) -> Memory {
        let installed = Installed { version: 1, groups: vec![group(1)], ..Installed::default() };
        Memory::new(installed, &Desired::default(), read_at)
    }

    #[test]
    fn what_was_read_long_ago_is_read_again() {
        let now = Instant::now();
        assert!(memory(now).is_young(now) && memory(now).is_young(now + READ_WITHIN / 2));
        assert!(!memory(now).is_young(now + READ_WITHIN));
    }

    #[test]
    fn whoever_asks_for_more_reads() {
        let now = Instant::now();
        let serves = |groups, options: &ConvergeOptions<'_>| {
            let desired = Desired { groups, ..Desired::default() };
            memory(now).serve(&desired, options).is_some()
        };
        let plain = ConvergeOptions::default();
        assert!(serves(vec![group(1)], &plain) && serves(Vec::new(), &plain));
        assert!(!serves(vec![group(1), group(2)], &plain), "another's, perhaps");
        assert!(!serves(Vec::new(), &ConvergeOptions { push: Push::Always, ..plain }));
        assert!(!serves(Vec::new(), &ConvergeOptions { keep_a_policy: true, ..plain }));
        assert!(!serves(Vec::new(), &ConvergeOptions { rules: Rules::Tell, ..plain }));
    }
}
