//! What a controller tells of the switches that it keeps.

use crate::object::Standing;
use crate::time::Instant;

use super::super::Controller;
use super::{ALERT_AFTER, Found, Kept};

/// A switch that a controller keeps, for status pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptView<'a> {
    /// Its name.
    pub switch: &'a str,
    /// What it should hold.
    pub generation: u64,
    /// How it stands to that.
    pub standing: Standing,
    /// What it was seen to hold last, in words; empty where it holds what it should.
    pub seen: &'a str,
    /// When it was last seen to hold what it should.
    pub verified: Option<Instant>,
    /// What differs, or why it cannot be looked at.
    pub what: &'a str,
    /// Why it could not be brought back, where it differs and that was tried.
    pub vain: Option<&'a str>,
    /// How often it differed and was brought back.
    pub repairs: u64,
    /// It could not be looked at so often that somebody has to look.
    pub lasts: bool,
}

impl KeptView<'_> {
    /// What somebody has to look after, while it is so.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        match self.standing {
            Standing::Drifted => {
                Some(differs(self.switch, self.generation, self.verified, now, self.what, self.seen))
            }
            Standing::Unreachable if self.lasts => Some(unreachable(self.switch, self.generation, self.what)),
            _ => None,
        }
    }
}

pub(super) fn differs(
    name: &str,
    generation: u64,
    verified: Option<Instant>,
    now: Instant,
    what: &str,
    seen: &str,
) -> String {
    let since = match verified {
        Some(at) => format!("since at most {:.1} s", now.since(at).as_secs_f64()),
        None => "since nobody knows when".to_owned(),
    };
    format!("{name} does not hold generation {generation}, {since}: {what}; it holds {seen}")
}

pub(super) fn unreachable(name: &str, generation: u64, reason: &str) -> String {
    format!("{name} cannot be looked at, whether it holds generation {generation}: {reason}")
}

impl Controller {
    /// The switches that this controller keeps, by name.
    pub fn kept(&self) -> impl Iterator<Item = KeptView<'_>> {
        self.keep.kept.iter().filter(|(_, kept)| kept.mine).map(|(switch, kept)| {
            let (standing, what) = match &kept.found {
                Found::Nothing => (Standing::Unknown, ""),
                Found::Awaits => (Standing::Unknown, "its own task is not decided yet"),
                Found::Holds => (Standing::Kept, ""),
                Found::Differs(what) => (Standing::Drifted, what.as_str()),
                Found::Failed(reason) => (Standing::Unreachable, reason.as_str()),
            };
            let vain = kept.vain.as_deref().filter(|_| standing == Standing::Drifted);
            let Kept { generation, verified, repairs, ref seen, failures, .. } = *kept;
            let lasts = failures >= ALERT_AFTER;
            KeptView { switch, generation, standing, seen, verified, what, vain, repairs, lasts }
        })
    }
}
