//! Keys under our prefixes that are not ours: somebody else writes to this bucket, or a newer version does. They are left
//! alone, and told, since each of them costs every listing, and one day one of them may be in the way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often those of a prefix are told at most.
const TELL: Duration = Duration::from_mins(10);

/// What is kept of a prefix.
#[derive(Debug, Default)]
struct Seen {
    /// In the listing that runs.
    counting: u64,
    /// In the last listing that came to its end.
    last: u64,
    /// One of them.
    example: String,
    told: Option<Instant>,
}

/// What listings have shown. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Strangers(Arc<Mutex<BTreeMap<&'static str, Seen>>>);

/// Those of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrangersOf {
    /// The prefix: `q/`, `i/`, ..
    pub prefix: &'static str,
    /// How many the last listing had.
    pub count: u64,
    /// One of them, cut to a readable length.
    pub example: String,
}

impl fmt::Display for StrangersOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, count, example } = self;
        let (keys, are) = if *count == 1 { ("key", "is") } else { ("keys", "are") };
        write!(
            f,
            "{count} {keys} under {prefix} in the bucket {are} not Outplane's, such as `{example}`: left alone; move them \
             elsewhere, or give Outplane a `prefix` of its own"
        )
    }
}

impl Strangers {
    /// A page of a listing: the first one, the last one, and what in it was not ours.
    pub(crate) fn page(
        &self,
        prefix: &'static str,
        first: bool,
        end: bool,
        keys: u64,
        example: Option<&str>,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(prefix).or_default();
        if first {
            seen.counting = 0;
        }
        seen.counting = seen.counting.saturating_add(keys);
        if let Some(example) = example {
            seen.example = example.chars().filter(|letter| !letter.is_control()).take(100).collect();
        }
        if end {
            seen.last = seen.counting;
        }
        let count = seen.counting.max(seen.last);
        if keys > 0 && seen.told.is_none_or(|told| told.elapsed() >= TELL) {
            seen.told = Some(Instant::now());
            let of = StrangersOf { prefix, count, example: seen.example.clone() };
            tracing::warn!(prefix, count, "{of}");
        }
    }

    /// What the last listings had.
    pub fn all(&self) -> Vec<StrangersOf> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(prefix, seen): (&&'static str, &Seen)| StrangersOf {
            prefix,
            count: seen.last,
            example: seen.example.clone(),
        };
        all.iter().filter(|(_, seen)| seen.last > 0).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_listing_counts() {
        let strangers = Strangers::default();
        strangers.page("q/", true, false, 1000, Some("q/\u{1b}[31mred"));
        assert_eq!(strangers.all(), []);
        strangers.page("q/", false, true, 3, None);
        let [of] = &strangers.all()[..] else { panic!("one prefix") };
        assert_eq!((of.prefix, of.count, of.example.as_str()), ("q/", 1003, "q/[31mred"));
        strangers.page("q/", true, true, 0, None);
        assert_eq!(strangers.all(), []);
    }
}
