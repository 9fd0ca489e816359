//! Rights that the store refuses to this node: told once, and for as long as they are lacking. Without them it would look
//! healthy, and whatever it may not write would be missing for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outplane_rmdp_store::Error as StoreError;

use crate::clock;

/// A refusal that has not come again for so long is taken for over, where nothing of its kind was tried and taken since.
const OVER: Duration = Duration::from_mins(5);

/// The same of a store that is full: room comes for everybody at once, and another may have done meanwhile what was refused.
const ROOM: Duration = Duration::from_secs(30);

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
    /// The store's code: what has the same is one trouble.
    pub code: String,
    /// The first answer, in words.
    pub why: String,
}

/// Refusals in words, one for each code: under which prefixes, and why it was so the first time.
pub fn words(refusals: &[Refusal]) -> BTreeMap<&str, String> {
    let mut by_code: BTreeMap<&str, Vec<&Refusal>> = BTreeMap::new();
    for refusal in refusals {
        by_code.entry(&refusal.code).or_default().push(refusal);
    }
    let of = |refusals: Vec<&Refusal>| {
        let rights = [Right::Read, Right::Write, Right::Delete].into_iter().filter_map(|right| {
            let under = refusals.iter().filter(|refusal| refusal.right == right);
            let under: Vec<&str> = under.map(|refusal| refusal.prefix.as_str()).collect();
            (!under.is_empty()).then(|| format!("{} {}", right.word(), under.join(", ")))
        });
        let rights: Vec<String> = rights.collect();
        let why = refusals.last().map_or("", |refusal| refusal.why.as_str());
        format!("may not {}: {why}", rights.join(", nor "))
    };
    by_code.into_iter().map(|(code, refusals)| (code, of(refusals))).collect()
}

/// What was said, and when it was said last.
#[derive(Debug)]
struct Said {
    code: String,
    why: String,
    over: Duration,
    last: Duration,
}

type Refused = BTreeMap<(Right, String), Said>;

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
            Err(error) => {
                let Some(code) = error.refusal() else { return };
                let now = clock::now();
                let over = if matches!(error, StoreError::Full { .. }) { ROOM } else { OVER };
                let mut refused = self.lock();
                let said = refused.entry((right, prefix(path))).or_insert_with(|| Said {
                    code: code.to_owned(),
                    why: error.to_string(),
                    over,
                    last: now,
                });
                if said.code != code {
                    (said.code, said.why, said.over) = (code.to_owned(), error.to_string(), over);
                }
                said.last = now;
            }
        }
    }

    /// After an outage in which everything was refused: what still is, is refused again.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// Those that stand.
    pub fn all(&self) -> Vec<Refusal> {
        let now = clock::now();
        let mut refused = self.lock();
        refused.retain(|_, said| now.saturating_sub(said.last) < said.over);
        let refusal = |((right, prefix), said): (&(Right, String), &Said)| Refusal {
            right: *right,
            prefix: prefix.clone(),
            code: said.code.clone(),
            why: said.why.clone(),
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

    /// A store that is full refuses under each prefix, and that is one trouble.
    #[test]
    fn what_has_one_code_is_told_once() {
        let refusals = Refusals::default();
        for path in ["c/1/000001", "n/c1", "network"] {
            refusals.felt(Right::Write, path, &denied("QuotaExceeded"));
        }
        refusals.felt(Right::Read, "i/7", &denied("QuotaExceeded"));
        refusals.felt(Right::Delete, "q/7", &denied("AccessDenied"));
        let all = refusals.all();
        let words = words(&all);
        assert_eq!(words.len(), 2, "{words:?}");
        let text = &words["QuotaExceeded"];
        assert!(text.starts_with("may not read i/, nor write c/, n/, network: store http://s: "), "{text}");
        refusals.forget();
        assert_eq!(refusals.all(), []);
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
        let text = &words(&all)["AccessDenied"];
        assert!(text.starts_with("may not write c/: store http://s: create c/1/"), "{text}");
        refusals.felt(Right::Write, "c/3/000001", &Ok(()));
        assert_eq!(refusals.all(), []);
        refusals.felt(Right::Read, "network", &denied("SignatureDoesNotMatch"));
        assert_eq!(refusals.all(), [], "the secret is wrong, and not a right lacking");
    }
}
