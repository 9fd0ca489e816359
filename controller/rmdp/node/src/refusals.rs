//! Rights that the store refuses to this node: told once, and for as long as they are lacking. Without them it would look
//! healthy, and whatever it may not write would be missing for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outplane_rmdp_store::Error as StoreError;

use crate::clock;

/// A refusal that has not come again for so long is taken for over, where nothing of its kind was tried and taken since.
const OVER: Duration = Duration::from_mins(5);

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// GET and lists.
    Read,
    /// PUT.
    Write,
    /// DELETE: not every role has it.
    Delete,
}

impl Right {
    /// As it stands in words and labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// A right that is lacking under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub right: Right,
    /// `c/`, or a key that has none.
    pub prefix: String,
    /// The first answer, in words.
    pub why: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "may not {} {}: {}", self.right.word(), self.prefix, self.why)
    }
}

type Refused = BTreeMap<(Right, String), (String, Duration)>;

/// What was refused. Bounded by the prefixes of the layout. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Refused>>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what an answer says of our rights at a path.
    pub(crate) fn felt<T>(&self, right: Right, path: &str, answer: &Result<T, StoreError>) {
        match answer {
            Ok(_) => {
                let mut refused = self.lock();
                if !refused.is_empty() {
                    refused.remove(&(right, prefix(path)));
                }
            }
            // Credentials that are wrong altogether are a store that is away.
            Err(error) if error.lacks_right() => {
                let (why, now) = (error.to_string(), clock::now());
                let mut refused = self.lock();
                refused.entry((right, prefix(path))).or_insert((why, now)).1 = now;
            }
            Err(_) => {}
        }
    }

    /// Those that stand.
    pub fn all(&self) -> Vec<Refusal> {
        let now = clock::now();
        let mut refused = self.lock();
        refused.retain(|_, (_, last)| now.saturating_sub(*last) < OVER);
        let refusal = |((right, prefix), (why, _)): (&(Right, String), &(String, Duration))| Refusal {
            right: *right,
            prefix: prefix.clone(),
            why: why.clone(),
        };
        refused.iter().map(refusal).collect()
    }
}

/// `c/` of `c/<id>/000001`; all of a key without one.
fn prefix(path: &str) -> String {
    path.split_inclusive('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(code: &str) -> Result<(), StoreError> {
        Err(StoreError::Denied {
            endpoint: "http://s".to_owned(),
            call: "create c/1/000001".to_owned(),
            bucket: "b".to_owned(),
            code: code.to_owned(),
            cure: "none".to_owned(),
        })
    }

    #[test]
    fn a_refusal_stands_until_the_same_is_taken() {
        let refusals = Refusals::default();
        refusals.felt(Right::Write, "c/1/000001", &denied("AccessDenied"));
        refusals.felt(Right::Write, "c/2/000001", &denied("AccessDenied"));
        refusals.felt(Right::Read, "c/1/000001", &Ok(()));
        refusals.felt(Right::Write, "d/1", &Ok(()));
        let all = refusals.all();
        assert_eq!(all.len(), 1);
        assert!(
            all[0].to_string().starts_with("may not write c/: store http://s: create c/1/"),
            "{}",
            all[0]
        );
        refusals.felt(Right::Write, "c/3/000001", &Ok(()));
        assert_eq!(refusals.all(), []);
        refusals.felt(Right::Read, "network", &denied("SignatureDoesNotMatch"));
        assert_eq!(refusals.all(), [], "the secret is wrong, and not a right lacking");
    }
}
