//! Whose clock differs: those of nodes, and this machine's, are compared with the store's, which has taken what all of them
//! have written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use outplane_rmdp_node::clock;
use outplane_rmdp_node::objects::Objects;

/// A status that is older than this is stale: nodes write theirs every 5 s.
pub(crate) const STALE: Duration = Duration::from_secs(15);

/// Nodes write their statuses so often.
pub(crate) const WRITTEN: Duration = Duration::from_secs(5);

/// Nothing of ours is so old, or so far ahead: 30 years.
pub(crate) const FAR: Duration = Duration::from_hours(30 * 365 * 24);

/// Clocks differ by so much.
const TOLERATED: i64 = 2000;

/// What is written may take so long to be taken: a clock that is behind by less is not told of.
pub(crate) const TOLD_BEHIND: i64 = 5000;

/// By how many milliseconds the store's clock is ahead of this machine's, where they differ by more than is tolerated.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// The time of day in Unix milliseconds that ages are counted from: the store's, as soon as it has said what time it is.
pub(crate) fn now() -> u64 {
    clock::unix_millis().saturating_add_signed(AHEAD.load(Ordering::Relaxed))
}

/// How long ago, by the clocks of the store and of who wrote it.
pub(crate) fn since(at_ms: u64) -> Duration {
    Duration::from_millis(now().saturating_sub(at_ms))
}

/// Takes over what time it is for the store, as its answers say.
pub(crate) fn learn(objects: &Objects) {
    let ahead = objects.store().clock_ahead().unwrap_or(0);
    AHEAD.store(if ahead.unsigned_abs() > TOLERATED.unsigned_abs() { ahead } else { 0 }, Ordering::Relaxed);
}

/// By how many milliseconds this machine's clock is ahead of the store's, if that is worth a word; less than 0: behind.
pub(crate) fn own() -> Option<i64> {
    Some(AHEAD.load(Ordering::Relaxed)).filter(|ahead| *ahead != 0).map(i64::saturating_neg)
}

/// That this machine's clock is another than the store's.
pub(crate) fn own_words(ahead: i64) -> String {
    format!(
        "this machine's clock is {} the store's: ages are by the store's; set the one that is wrong (NTP)",
        apart(ahead)
    )
}

/// `60 s ahead of`, `60 s behind`.
fn apart(ahead: i64) -> String {
    let seconds = ahead.unsigned_abs() / 1000;
    if Duration::from_secs(seconds) > FAR {
        return "a nonsense of time from".to_owned();
    }
    if ahead < 0 { format!("{seconds} s behind") } else { format!("{seconds} s ahead of") }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Nodes whose clocks differ from the store's, and by how many milliseconds they are ahead; less than 0: behind.
pub(crate) type Ahead = BTreeMap<String, i64>;

/// By how many milliseconds the clock was ahead by which something was written at `at_ms`, if it is of the future, or older
/// than the store has it (less than 0: the clock was behind). The store has taken it so long ago: as far as it says, that is
/// how old it is, and else what is of the future counts as stale.
pub(crate) fn ahead(at_ms: u64, taken: Option<Duration>) -> Option<i64> {
    let (at, now) = (signed(at_ms), signed(now()));
    let old = signed(millis(taken.unwrap_or(STALE + WRITTEN)));
    let ahead = at.saturating_sub(now).saturating_add(old);
    let is_future = at.saturating_sub(now) > TOLERATED;
    (is_future || taken.is_some() && ahead < -TOLERATED).then_some(ahead)
}

/// Earlier by so much; later by what is less than 0.
pub(crate) fn earlier(at_ms: &mut u64, by: i64) {
    *at_ms = at_ms.saturating_add_signed(by.saturating_neg());
}

/// That a clock is another than the store's, in words that go on after a name.
pub(crate) fn ahead_words(by: i64) -> String {
    format!(
        "its clock is {} the store's: what it tells is taken for as old as the store has it; set the clock (NTP)",
        apart(by)
    )
}
