//! What an intent says and can hardly mean: rules that no packet reaches, answers that have no way back, and segments that
//! nothing from elsewhere can enter.
//!
//! Nothing here is an error, and nothing is guessed: a rule is said to be unreached only where others take every packet
//! before it, and an answer to be lost only with a packet that the evaluator denies. The work is bounded; where the bound
//! is met, that is told.

mod addresses;
mod entering;
mod order;
mod replies;
mod space;
#[cfg(test)]
mod tests;
mod twice;
mod unreached;

use jiff::Timestamp;

use crate::evaluate::Evaluator;
use crate::model::Intent;
use crate::packet::Packet;
use order::Order;

/// What there is to say about an intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Each thing, by object, those of one object in the order of its rules.
    pub items: Vec<Item>,
    /// Not all was looked at: what was left out, for people.
    pub incomplete: Option<String>,
}

/// Something to think over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `FilterPolicy/<name>` and the like.
    pub object: String,
    /// The rule, where it is about one.
    pub rule: Option<String>,
    /// What kind it is.
    pub kind: Kind,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// What kind of advice it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No IP packet reaches it.
    Unreached {
        /// But for what looks like an answer to what it allows, or an ICMP error about that.
        answers: bool,
    },
    /// What it allows is not answered.
    RepliesLost(Box<Lost>),
    /// Its rate limit counts a packet twice, on the way through a router that is not ours.
    CountedTwice {
        /// The segments of the source and of the destination.
        segments: [String; 2],
    },
    /// What it lets through, or what answers that, may enter a segment by no port.
    NoEntrance {
        /// On this switch.
        switch: String,
        /// The segment.
        segment: String,
    },
}

/// A packet that passes, and whose answer does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// On which switch.
    pub switch: String,
    /// The packet.
    pub packet: Packet,
    /// The answer.
    pub answer: Packet,
}

/// All that there is to say about an intent as of a moment.
pub fn find(intent: &Intent, at: Timestamp) -> Advice {
    find_within(intent, at, WORK)
}

fn find_within(intent: &Intent, at: Timestamp, work: u64) -> Advice {
    let mut work = Work::new(work);
    let order = Order::new(intent, at, &mut work);
    let evaluator = Evaluator::new(intent);
    let mut items = unreached::find(&order, &mut work);
    let scene = replies::Scene::new(intent, &evaluator, &order, at);
    items.extend(replies::find(&scene, &mut work));
    items.extend(entering::find(&scene, &mut work));
    items.extend(twice::find(&scene, &mut work));
    items.sort_by(|left, right| left.object.cmp(&right.object));
    let rules =
        |count: usize| if count == 1 { "1 rule was".to_owned() } else { format!("{count} rules were") };
    let too_much = (work.missed > 0).then(|| {
        format!(
            "{} not looked at as far as needed: there are too many, or they overlap in too many ways",
            rules(work.missed)
        )
    });
    let enough = (work.spared > 0).then(|| {
        format!("{} not looked at, because enough answers that are lost were found", rules(work.spared))
    });
    let reasons: Vec<String> = too_much.into_iter().chain(enough).collect();
    let incomplete = (!reasons.is_empty()).then(|| format!("advice is not complete: {}", reasons.join("; ")));
    Advice { items, incomplete }
}

/// Steps of work for all of it. One is a glance at a rule: some nanoseconds.
const WORK: u64 = 600_000_000;
/// Of these for what is about one rule.
const WORK_OF_ONE: u64 = 4_000_000;

/// What may still be done.
#[derive(Debug)]
struct Work {
    left: u64,
    of_this: u64,
    /// Rules and policies that were too much.
    missed: usize,
    /// Those that were left out because there was enough to tell.
    spared: usize,
}

impl Work {
    fn new(left: u64) -> Self {
        Self { left, of_this: WORK_OF_ONE, missed: 0, spared: 0 }
    }

    /// Another rule's turn. False: nothing can be done any more, and the rule is missed.
    fn next(&mut self) -> bool {
        self.of_this = WORK_OF_ONE.min(self.left);
        self.missed += usize::from(self.left == 0);
        self.left > 0
    }

    fn step(&mut self, steps: usize) {
        self.left = self.left.saturating_sub(steps as u64);
        self.of_this = self.of_this.saturating_sub(steps as u64);
    }

    fn is_over(&self) -> bool {
        self.of_this == 0
    }

    fn miss(&mut self) {
        self.missed += 1;
    }

    fn spare(&mut self) {
        self.spared += 1;
    }
}
