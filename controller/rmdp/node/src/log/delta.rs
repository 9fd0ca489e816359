//! What one content says otherwise than another: copies out of the old one and insertions, in order. Pure.
//!
//! ```text
//! delta := op*        op := number(length * 2) number(offset)        so many bytes of the old content, from there on
//!                         | number(length * 2 + 1) byte*             so many bytes
//! number := LEB128, little-endian in groups of seven bits
//! ```

use imara_diff::sources::byte_lines;
use imara_diff::{Algorithm, Diff, InternedInput};
use thiserror::Error;

/// Lines of one side that are compared; of more all is inserted that lies between the first and the last difference.
const MOST_LINES: usize = 1 << 22;

/// A copy that is shorter costs more than it spares.
const SHORTEST_COPY: usize = 12;

/// Why bytes are no delta on a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is no delta on that content")]
pub(crate) struct BadDelta;

/// Most bytes of a delta that makes a content of so many, as [`encode`] writes it: what is inserted, and two numbers a copy.
pub(crate) fn most(length: u64) -> u64 {
    length.saturating_mul(2).saturating_add(32)
}

/// What leads from one content to another. The same two give the same bytes.
pub(crate) fn encode(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut ops = Ops::default();
    let (first, last) = edges(old, new);
    ops.copy(0, first);
    between(&mut ops, first, &old[first..old.len() - last], &new[first..new.len() - last]);
    ops.copy(old.len() - last, last);
    ops.end()
}

/// How many bytes two contents begin with alike, and end with behind these.
fn edges(old: &[u8], new: &[u8]) -> (usize, usize) {
    let alike = |(one, other): &(&u8, &u8)| one == other;
    let first = old.iter().zip(new).take_while(alike).count();
    let last = old[first..].iter().rev().zip(new[first..].iter().rev()).take_while(alike).count();
    (first, last)
}

/// What is between the first and the last difference, line by line; `at` is where it begins in the old content.
fn between(ops: &mut Ops, at: usize, old: &[u8], new: &[u8]) {
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').count();
    if old.is_empty() || new.is_empty() || lines(old).max(lines(new)) > MOST_LINES {
        return ops.insert(new);
    }
    let input = InternedInput::new(byte_lines(old), byte_lines(new));
    let length = |token: &imara_diff::Token| input.interner[*token].len();
    let diff = Diff::compute(Algorithm::Histogram, &input);
    // Lines that are passed, and bytes of them: on both sides.
    let (mut old_line, mut new_line, mut old_at, mut new_at) = (0, 0, 0, 0);
    for hunk in diff.hunks() {
        let (start, end) = (hunk.before.start as usize, hunk.before.end as usize);
        let alike: usize = input.before[old_line..start].iter().map(length).sum();
        let gone: usize = input.before[start..end].iter().map(length).sum();
        let come = &input.after[new_line + (start - old_line)..hunk.after.end as usize];
        let come: usize = come.iter().map(length).sum();
        ops.copy(at + old_at, alike);
        (old_at, new_at) = (old_at + alike, new_at + alike);
        changed(ops, at + old_at, &old[old_at..old_at + gone], &new[new_at..new_at + come]);
        (old_at, new_at) = (old_at + gone, new_at + come);
        (old_line, new_line) = (end, hunk.after.end as usize);
    }
    ops.copy(at + old_at, old.len() - old_at);
}

/// Lines in the place of others: mostly they begin and end alike.
fn changed(ops: &mut Ops, at: usize, old: &[u8], new: &[u8]) {
    let (first, last) = edges(old, new);
    let first = if first < SHORTEST_COPY { 0 } else { first };
    let last = if last < SHORTEST_COPY { 0 } else { last };
    ops.copy(at, first);
    ops.insert(&new[first..new.len() - last]);
    ops.copy(at + old.len() - last, last);
}

/// Writes a delta; what goes on where the one before has ended is one with it.
#[derive(Default)]
struct Ops {
    delta: Vec<u8>,
    /// A copy that may go on: where it begins, and its length.
    copy: (usize, usize),
    insert: Vec<u8>,
}

impl Ops {
    fn copy(&mut self, at: usize, length: usize) {
        if length == 0 {
            return;
        }
        if self.insert.is_empty() && self.copy.1 > 0 && self.copy.0 + self.copy.1 == at {
            self.copy.1 += length;
            return;
        }
        self.write();
        self.copy = (at, length);
    }

    fn insert(&mut self, bytes: &[u8]) {
        self.insert.extend_from_slice(bytes);
    }

    /// Writes what is held: a copy, then what was inserted behind it.
    fn write(&mut self) {
        let (at, length) = std::mem::take(&mut self.copy);
        if length > 0 {
            put(&mut self.delta, (length as u64) << 1);
            put(&mut self.delta, at as u64);
        }
        if !self.insert.is_empty() {
            put(&mut self.delta, (self.insert.len() as u64) << 1 | 1);
            self.delta.append(&mut self.insert);
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.write();
        self.delta
    }
}

fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push((number & 0x7f) as u8);
}

fn number(from: &mut &[u8]) -> Result<usize, BadDelta> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = from.split_first().ok_or(BadDelta)?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(number).map_err(|_| BadDelta);
        }
    }
    Err(BadDelta)
}

/// The content of this length that a delta makes of another one. Takes no more memory than that.
///
/// # Errors
/// [`BadDelta`]: it makes another length of it, or copies what is not there.
pub(crate) fn apply(old: &[u8], mut delta: &[u8], length: usize) -> Result<Vec<u8>, BadDelta> {
    let mut new = Vec::with_capacity(length);
    while !delta.is_empty() {
        let op = number(&mut delta)?;
        let bytes = if op & 1 == 0 {
            let at = number(&mut delta)?;
            let end = at.checked_add(op >> 1).ok_or(BadDelta)?;
            old.get(at..end).ok_or(BadDelta)?
        } else {
            delta.split_off(..op >> 1).ok_or(BadDelta)?
        };
        if bytes.len() > length - new.len() {
            return Err(BadDelta);
        }
        new.extend_from_slice(bytes);
    }
    if new.len() == length { Ok(new) } else { Err(BadDelta) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn way(old: &str, new: &str) -> usize {
        let delta = encode(old.as_bytes(), new.as_bytes());
        assert_eq!(apply(old.as_bytes(), &delta, new.len()).unwrap(), new.as_bytes());
        delta.len()
    }

    #[test]
    fn a_few_changes_are_few_bytes() {
        let line = |number: usize| {
            format!("- {{name: r{number}, cidr: 10.{}.{}.0/24}}\n", number / 250, number % 250)
        };
        let old: String = (0..20_000).map(line).collect();
        assert_eq!(way(&old, &old), 4);
        assert!(way(&old, &old.replace("r777,", "r778,")) < 25);
        let moved = format!("{}{}", &old[old.len() / 2..], &old[..old.len() / 2]);
        assert!(way(&old, &moved) < old.len() * 6 / 10);
        // Here and there, put in and taken out.
        let edited: Vec<String> = (0..20_000)
            .filter(|number| number % 3001 != 5)
            .map(|number| line(number + number % 4001 / 4000))
            .collect();
        let edited = edited.concat() + "one more\n";
        assert!(way(&old, &edited) < 300, "{}", way(&old, &edited));
        // Without a line feed, as binary records are.
        assert!(way(&"x1y2".repeat(9000), &format!("{}z{}", "x1y2".repeat(4000), "x1y2".repeat(5000))) < 16);
    }

    #[test]
    fn what_is_no_delta_is_refused() {
        let delta = encode(b"one two three four five", b"one two 3 four five");
        for (bytes, length) in
            [(&delta[..], 18), (&delta, 20), (&[0x80], 1), (&[0xff; 12], 1), (&[4, 30], 2), (&[9, 1], 4)]
        {
            assert_eq!(apply(b"one two three four five", bytes, length), Err(BadDelta), "{bytes:?}");
        }
        assert_eq!(apply(b"", &[], 0), Ok(vec![]));
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("a\n"),
            Just("bb\n"),
            Just("a long line that comes again\n"),
            Just("\n"),
            Just("\u{e9}")
        ];
        prop::collection::vec(line, 0..60).prop_map(|lines| lines.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn leads_from_any_content_to_any(old in texts(), new in texts(), other in any::<Vec<u8>>()) {
            for (old, new) in [(&old, &new), (&new, &old), (&old, &other), (&other, &old), (&other, &other)] {
                let delta = encode(old, new);
                prop_assert!(delta.len() as u64 <= most(new.len() as u64));
                prop_assert_eq!(&apply(old, &delta, new.len()).unwrap(), new);
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(old in texts(), delta in any::<Vec<u8>>(), length in 0usize..300) {
            if let Ok(new) = apply(&old, &delta, length) {
                prop_assert_eq!(new.len(), length);
            }
        }
    }
}
