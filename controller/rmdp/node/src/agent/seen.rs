//! What the agent has seen of switches beside its work: who may write, which version packets see, what was dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outplane_driver_p4runtime::{Drops, Primary, Session};
use outplane_rmdp_core::task::Fence;

use super::MOST_SESSIONS;
use super::outcome::of_driver;

/// What was seen of each switch, the last time. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<HashMap<String, OfSwitch>>>);

#[derive(Debug, Default)]
struct OfSwitch {
    primary: Option<Primary>,
    version: Option<u8>,
    /// Packets by reason.
    drops: Option<BTreeMap<&'static str, u64>>,
    /// Whether it refuses whoever was overtaken, and how often the session had connected when it last did.
    fences: Option<bool>,
    connects: u64,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, OfSwitch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, switch: &str, change: impl FnOnce(&mut OfSwitch)) {
        let mut seen = self.lock();
        if seen.len() >= MOST_SESSIONS && !seen.contains_key(switch) {
            seen.clear();
        }
        change(seen.entry(switch.to_owned()).or_default());
    }

    pub(super) fn primary(&self, switch: &str) -> Option<(Fence, bool)> {
        let (fence, is_ours) = self.lock().get(switch)?.primary.as_ref()?.fence()?;
        Some((of_driver(fence), is_ours))
    }

    pub(super) fn version(&self, switch: &str) -> Option<u8> {
        self.lock().get(switch)?.version
    }

    pub(super) fn drops(&self, switch: &str) -> Option<BTreeMap<&'static str, u64>> {
        self.lock().get(switch)?.drops.clone()
    }

    /// How a session stands when somebody was at work with it.
    pub(super) fn see_session(&self, switch: &str, session: &Session) {
        let primary = session.primary();
        let connects = session.connects();
        self.change(switch, |seen| {
            seen.primary = primary;
            // After a new connection it may be another switch behind the same address.
            if seen.connects != connects {
                (seen.connects, seen.fences) = (connects, None);
            }
        });
    }

    pub(super) fn fence(&self, switch: &str) -> Option<bool> {
        self.lock().get(switch)?.fences
    }

    pub(super) fn see_fence(&self, switch: &str, fences: bool) {
        self.change(switch, |seen| seen.fences = Some(fences));
    }

    pub(super) fn see_version(&self, switch: &str, version: Option<u8>) {
        self.change(switch, |seen| seen.version = version);
    }

    /// None: the switch does not tell.
    pub(super) fn see_drops(&self, switch: &str, drops: Option<Drops>) {
        let packets = |drops: Drops| drops.reasons.into_iter().map(|(name, counter)| (name, counter.packets));
        let drops = drops.map(|drops| packets(drops).collect());
        self.change(switch, |seen| seen.drops = drops);
    }
}
