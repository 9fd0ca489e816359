//! What an intent says and can hardly mean: rules that no packet reaches, and answers that have no way back.
//!
//! Nothing here is an error, and nothing is guessed: a rule is said to be unreached only where another takes every packet
//! before it, and an answer to be lost only with a packet for which that is so.

mod replies;
mod unreached;

use jiff::Timestamp;

use crate::model::Intent;

/// Something to think over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// `FilterPolicy/<name>` and the like.
    pub object: String,
    /// The rule, where it is about one.
    pub rule: Option<String>,
    /// What kind it is.
    pub kind: AdviceKind,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// What kind of advice it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdviceKind {
    /// No packet reaches it.
    Unreached,
    /// What it allows is not answered.
    RepliesLost,
}

/// All that there is to say about an intent as of a moment, policies by name.
pub fn find(intent: &Intent, at: Timestamp) -> Vec<Advice> {
    let mut advice = unreached::find(intent, at);
    advice.extend(replies::find(intent, at));
    advice
}
