//! Who is alive: a member that was heard within the silence limit. A plain limit and not phi-accrual: ranks are hints, a
//! false suspicion costs one request, and a limit of five intervals is as quick as phi 8 on a steady network.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;

/// When each member was last heard. Bounded by the members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    heard: BTreeMap<u32, Instant>,
    silence: Duration,
}

impl Liveness {
    /// All are taken to be alive until they had their time to be heard.
    pub fn new(members: impl Iterator<Item = u32>, silence: Duration, now: Instant) -> Self {
        Self { heard: members.map(|sender| (sender, now)).collect(), silence }
    }

    /// Follows a new configuration: members that stay keep their state.
    pub fn configure(&mut self, members: impl Iterator<Item = u32>, silence: Duration, now: Instant) {
        let before = std::mem::take(&mut self.heard);
        self.heard = members.map(|sender| (sender, before.get(&sender).copied().unwrap_or(now))).collect();
        self.silence = silence;
    }

    /// A sign of life. Strangers are ignored.
    pub fn heard(&mut self, sender: u32, now: Instant) {
        if let Some(last) = self.heard.get_mut(&sender) {
            *last = now;
        }
    }

    /// Whether it counts as alive.
    pub fn is_alive(&self, sender: u32, now: Instant) -> bool {
        self.heard.get(&sender).is_some_and(|last| now.since(*last) <= self.silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence() {
        let at = |ms: u64| Instant::START + Duration::from_millis(ms);
        let mut liveness = Liveness::new([1, 2].into_iter(), Duration::from_millis(100), at(0));
        liveness.heard(1, at(50));
        liveness.heard(9, at(50));
        for (sender, ms, alive) in
            [(1, 0, true), (1, 150, true), (1, 151, false), (2, 100, true), (2, 101, false), (9, 51, false)]
        {
            assert_eq!(liveness.is_alive(sender, at(ms)), alive, "{sender} at {ms}");
        }
        liveness.configure([2, 3].into_iter(), Duration::from_millis(100), at(1000));
        assert!(
            !liveness.is_alive(1, at(1000))
                && !liveness.is_alive(2, at(1000))
                && liveness.is_alive(3, at(1100))
        );
    }
}
