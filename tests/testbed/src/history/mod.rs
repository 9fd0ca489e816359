//! What happened, judged by those who saw it: the store's objects and the switches' journals.
//!
//! Nothing here asks the controllers. The store says who owned what, the switches say who wrote what, and the two must
//! agree with each other and with the protocol (docs/rmdp.md):
//!
//! | fault | seen as |
//! |---|---|
//! | lost | a task without a decision, unless a newer generation took its place before anybody queued it; done, but the switch was never written to |
//! | two owners | writes of one attempt from two controllers, or from another one than claimed it; a decision or a result that its claim's owner did not write |
//! | too early | attempt k+1 without a result of k, and sooner than 1.5 leases after the claim of k, or sooner than the silence that ends it |
//! | doubled | the same change brought about twice for one task; a write after a higher fence, or after its task was decided as done or failed |
//! | miscounted | totals of a switch that went down, were written twice under one number, or by nobody who keeps switches |

mod check;
mod journal;
mod read;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::NetworkId;

pub use journal::{JournalLine, ParseJournalError, What};
pub use outplane_rmdp_core::task::{Event, TransactionId};
pub use totals::Totals;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The network that the store is of.
    pub network: NetworkId,
    /// The generations in the intent log.
    pub generations: BTreeSet<u64>,
    /// The store's `q/`, `c/`, `r/` and `d/`.
    pub objects: BTreeMap<Key, Object>,
    /// The store's `t/`, as often as it was read.
    pub totals: Totals,
    /// How many objects were in no listing.
    pub unlisted: usize,
    /// Objects that could not be read.
    pub unreadable: Vec<String>,
    /// Each switch's journal.
    pub journals: BTreeMap<String, Vec<JournalLine>>,
    /// For how long an owner has to be silent before it is taken over; none: nobody is.
    pub silence_ms: Option<u64>,
    /// Whose an address is.
    pub owners: BTreeMap<IpAddr, String>,
}

/// What the history says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Tasks that there had to be.
    pub tasks: usize,
    /// Of these: the switch is as desired.
    pub done: usize,
    /// A newer generation took their place.
    pub superseded: usize,
    /// Nobody had queued them yet when a newer generation took their place.
    pub dropped: usize,
    /// No attempt succeeded.
    pub failed: usize,
    /// Attempts, of all tasks.
    pub attempts: usize,
    /// Tasks that took more than one.
    pub retried: usize,
    /// Attempts that failed and said so.
    pub results: usize,
    /// Attempts that went over one whose owner was silent.
    pub taken_over: usize,
    /// Tasks that more than one attempt wrote for.
    pub shared: usize,
    /// Updates that switches took.
    pub updates: usize,
    /// Of these: changed nothing, such as a MODIFY that was sent again since its answer was late.
    pub idle: usize,
    /// Requests that switches refused because the writer had been overtaken.
    pub fenced: usize,
    /// Attempts that wrote on after their task was decided as superseded: the newer one's fence ends that.
    pub late: usize,
    /// Totals of switches that were looked at.
    pub totals: usize,
    /// Attempts by controller.
    pub by_owner: BTreeMap<String, usize>,
    /// How the owners of claims had learnt of their tasks: by which sender's copy, or from the `queue`.
    pub received: BTreeMap<String, usize>,
    /// Why attempts failed, without the names of things.
    pub reasons: BTreeMap<String, usize>,
    /// The tasks with the most attempts, the hardest first.
    pub hardest: Vec<TransactionId>,
    /// What must not be: lost.
    pub lost: Vec<String>,
    /// What must not be: two owners.
    pub two_owners: Vec<String>,
    /// What must not be: an attempt before its time.
    pub too_early: Vec<String>,
    /// What must not be: an effect that showed twice.
    pub doubled: Vec<String>,
    /// What must not be: totals that lost something.
    pub miscounted: Vec<String>,
    /// Objects or lines that make no sense.
    pub nonsense: Vec<String>,
}

impl History {
    /// Who claimed a task's attempts, the first one first.
    pub fn owners_of(&self, task: TransactionId) -> Vec<&str> {
        let claims = self.objects.iter().filter_map(|(key, object)| match (key, object) {
            (Key::Claim(id, _), Object::Claim(claim)) if *id == task => Some(claim.owner.as_str()),
            _ => None,
        });
        claims.collect()
    }
}

impl Verdict {
    /// Everything that must not be.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        [&self.lost, &self.two_owners, &self.too_early, &self.doubled, &self.miscounted, &self.nonsense]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, usize>, by: &str| {
            counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(by)
        };
        writeln!(
            f,
            "{} tasks: {} done, {} superseded, {} overtaken before they were queued, {} failed; {} attempts (by {}; learnt from {}), {} tasks took more \
             than one, {} attempts failed and said so, {} went over a silent owner's",
            self.tasks,
            self.done,
            self.superseded,
            self.dropped,
            self.failed,
            self.attempts,
            list(&self.by_owner, ", "),
            list(&self.received, ", "),
            self.retried,
            self.results,
            self.taken_over
        )?;
        writeln!(
            f,
            "switches took {} updates ({} changed nothing), refused {} requests of those who were overtaken; {} tasks were finished by another \
             attempt than began them, {} attempts wrote on after they were superseded",
            self.updates, self.idle, self.fenced, self.shared, self.late
        )?;
        write!(
            f,
            "{} lost, {} attempts with two owners, {} attempts before their time, {} effects doubled, {} of {} totals \
             miscounted, {} objects or lines without sense",
            self.lost.len(),
            self.two_owners.len(),
            self.too_early.len(),
            self.doubled.len(),
            self.miscounted.len(),
            self.totals,
            self.nonsense.len()
        )?;
        if !self.reasons.is_empty() {
            write!(f, "\nwhy attempts failed:\n  {}", list(&self.reasons, " times\n  "))?;
        }
        for fault in self.faults().take(20) {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
