//! Who is alive: a member that was heard within the silence limit. A plain limit and not phi-accrual: ranks are hints, a
//! false suspicion costs one request, and a limit of five intervals is as quick as phi 8 on a steady network.
//!
//! Ranks are one thing, what people are told is another: whoever has been silent for twice the limit is told of, in a
//! network of any size, and so is whoever was never heard, and whose heartbeats get lost on the way. Two things are no
//! silence: a node that has said that it leaves, and what a node has missed while it stood still itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::SharedConfig;
use crate::time::Instant;

/// Intervals over which lost heartbeats are counted.
const WINDOW: u32 = 50;

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
struct Seen {
    /// When it was heard last; when it became a member, if never.
    last: Instant,
    ever: bool,
    /// It has said that it leaves, and was not heard since.
    left: bool,
    /// Its silence was told.
    silent: bool,
    /// Whether the window says anything about it: it was alive when it began, and has not been away since.
    counts: bool,
    /// Intervals of the window in which it was heard, and the last of them.
    intervals: (u32, u32),
    /// Heartbeats that were lost in the last whole window, in percent, where that is too many.
    lost: Option<u8>,
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self {
            last: now,
            ever: false,
            left: false,
            silent: false,
            counts: false,
            intervals: (0, 0),
            lost: None,
        }
    }
}

/// A change in what people should know of a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Word {
    /// Whose.
    pub sender: u32,
    /// Whether somebody should look: it is silent, and not just lossy.
    pub alert: bool,
    /// Whether it is well again.
    pub over: bool,
    /// What was seen: goes on after the node's name.
    pub words: String,
}

/// How a member is heard here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heard {
    /// Which.
    pub sender: u32,
    /// How long ago it was heard last; None: never since this node started.
    pub ago: Option<Duration>,
    /// It has said that it leaves.
    pub left: bool,
    /// It has been silent for too long.
    pub silent: bool,
    /// Heartbeats that get lost, in percent, where that is too many.
    pub lost: Option<u8>,
}

/// When each member was last heard. Bounded by the members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    me: Option<u32>,
    seen: BTreeMap<u32, Seen>,
    interval: Duration,
    silence: Duration,
    /// Lost heartbeats that are too many, in percent.
    most_lost: u8,
    /// The last look at the clock.
    looked: Instant,
    /// Since when this node listens without having stood still.
    since: Instant,
    /// When the window began.
    window: Instant,
}

impl Liveness {
    /// All are taken to be alive until they had their time to be heard. `me` is a member's name.
    pub fn new(me: &str, config: &SharedConfig, now: Instant) -> Self {
        let mut liveness = Self {
            me: None,
            seen: BTreeMap::new(),
            interval: Duration::ZERO,
            silence: Duration::ZERO,
            most_lost: 0,
            looked: now,
            since: now,
            window: now,
        };
        liveness.configure(me, config, now);
        liveness
    }

    /// Follows a new configuration: members that stay keep their state.
    pub fn configure(&mut self, me: &str, config: &SharedConfig, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        let members = config.members.iter().map(|member| member.sender);
        self.seen = members
            .map(|sender| (sender, before.remove(&sender).unwrap_or_else(|| Seen::new(now))))
            .collect();
        self.me = config.member(me).map(|member| member.sender);
        self.interval = config.heartbeat_interval();
        self.silence = config.silence();
        self.most_lost = config.degradation.missing_percent;
        self.begin_window(now);
    }

    fn begin_window(&mut self, now: Instant) {
        self.window = now;
        for seen in self.seen.values_mut() {
            seen.intervals = (0, 0);
            seen.counts = seen.ever && !seen.left && now.since(seen.last) <= self.silence;
        }
    }

    /// To be called whenever this node does anything: how long it stood still, if it did for longer than the limit. What
    /// others said meanwhile it could not hear.
    pub fn look(&mut self, now: Instant) -> Option<Duration> {
        let still = now.since(self.looked);
        self.looked = now;
        if still <= self.silence {
            return None;
        }
        self.since = now;
        self.begin_window(now);
        Some(still)
    }

    /// A sign of life, the last one for now if it says that it leaves. Strangers are ignored.
    pub fn heard(&mut self, sender: u32, leaving: bool, now: Instant) {
        let number = u32::try_from(now.since(self.window).as_nanos() / self.interval.as_nanos().max(1));
        let Some(seen) = self.seen.get_mut(&sender) else { return };
        seen.counts &= !leaving && !seen.left;
        (seen.last, seen.ever, seen.left) = (now, true, leaving);
        // Counted from 1: the window's first interval is number 0.
        let number = number.unwrap_or(u32::MAX).saturating_add(1);
        if seen.intervals.1 != number {
            seen.intervals = (seen.intervals.0 + 1, number);
        }
    }

    /// It has started again since it left, as far as that was said: no sign of life, but to leave is over.
    pub fn started(&mut self, sender: u32) {
        if let Some(seen) = self.seen.get_mut(&sender) {
            seen.left = false;
        }
    }

    /// Whether it counts as alive.
    pub fn is_alive(&self, sender: u32, now: Instant) -> bool {
        self.seen.get(&sender).is_some_and(|seen| !seen.left && now.since(seen.last) <= self.silence)
    }

    /// What has changed since the last time that people should know, in the order of the senders.
    pub fn judge(&mut self, now: Instant) -> Vec<Word> {
        let mut words = Vec::new();
        let (since, silence, me) = (self.since, self.silence, self.me);
        let whole = now.since(self.window) >= self.interval * WINDOW;
        for (sender, seen) in self.seen.iter_mut().filter(|(sender, _)| Some(**sender) != me) {
            // Heard since a while before this node stood still, or never: it has as long as ever.
            let quiet = now.since(seen.last.max(since)) > silence * 2;
            let silent = quiet && !seen.left;
            if silent != seen.silent {
                let ago = seconds(now.since(seen.last));
                let text = match (silent, seen.ever) {
                    (true, true) => {
                        format!("has not been heard for {ago} s: dead, frozen, or cut off from here")
                    }
                    (true, false) => format!(
                        "has not been heard at all in {ago} s: is it running, and does it reach this node?"
                    ),
                    (false, _) if seen.left => "has left in good order".to_owned(),
                    (false, _) => "is heard again".to_owned(),
                };
                words.push(Word { sender: *sender, alert: true, over: !silent, words: text });
                seen.silent = silent;
                seen.counts = false;
            }
            if !whole {
                continue;
            }
            let percent = 100 - (seen.intervals.0 * 100 / WINDOW).min(100);
            let percent = u8::try_from(percent).unwrap_or(100);
            // A clock that is 5 % slower and a busy machine make heartbeats rarer, too: a fifth is not counted.
            let lost = seen.counts && u32::from(percent) > 20 + u32::from(self.most_lost);
            if lost != seen.lost.is_some() {
                let text = if lost {
                    format!(
                        "loses heartbeats on the way to this node: {percent} % of the last {WINDOW} did not come"
                    )
                } else {
                    "is heard regularly again".to_owned()
                };
                words.push(Word { sender: *sender, alert: false, over: !lost, words: text });
            }
            seen.lost = lost.then_some(percent);
        }
        if whole {
            self.begin_window(now);
        }
        words
    }

    /// How each of the other members is heard, in the order of the senders. Whoever is heard again is not silent, also
    /// before that is told.
    pub fn others(&self, now: Instant) -> impl Iterator<Item = Heard> {
        self.seen.iter().filter(|(sender, _)| Some(**sender) != self.me).map(move |(sender, seen)| Heard {
            sender: *sender,
            ago: seen.ever.then(|| now.since(seen.last)),
            left: seen.left,
            silent: seen.silent && now.since(seen.last) > self.silence,
            lost: seen.lost,
        })
    }
}

/// Seconds with one digit after the point, for words.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
