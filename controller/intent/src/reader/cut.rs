//! Whether a text that ended early may have been read: what there is of it is whole, and what is missing goes unseen.
//!
//! A JSON value ends itself, and so does a list as kubectl prints it, whose `kind` stands behind its items. Any other YAML
//! that is cut after a line is often YAML still, unless its end is marked (`...`). It shows only beside what was said before:
//! of that the text says everything up to some place, and nothing of what came behind; and what it ends with is known.

use std::collections::BTreeSet;
use std::fmt;

use super::expectation::is_policy;
use super::json;
use super::limits::Limits;
use super::source::{SourceFile, Spot};
use super::sources::Sources;
use super::tree::{Cursor, Document, Said};
use super::yaml;

/// How refusals of text begin that has no end of its own.
pub const UNMARKED: &str = "the end of the input is not marked (a last line `...` marks it)";

/// What the end of a text lacks of what was said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The last object of the text: `FilterPolicy/edge`.
    pub last: String,
    /// What is missing, or may be.
    pub what: Missing,
}

/// What may be missing at the end of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The last object is new.
    New,
    /// The last object says something else.
    Other,
    /// The last object lacks what it had at its end.
    Part,
    /// The objects that stood behind the last one, none of which is there now, in order.
    Behind(Vec<String>),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last, what } = self;
        match what {
            Missing::New => write!(f, "{UNMARKED}, and {last}, its last object, is new"),
            Missing::Other => write!(f, "{UNMARKED}, and {last}, its last object, says something else"),
            Missing::Part => write!(f, "{last}, the last object of the input, lacks what it had at its end"),
            Missing::Behind(lost) => match lost.as_slice() {
                [first, more @ ..] if !more.is_empty() => write!(
                    f,
                    "the input ends with {last}, and {first} and {} more, which came behind it, are gone",
                    more.len()
                ),
                lost => write!(
                    f,
                    "the input ends with {last}, and {}, which came behind it, is gone",
                    lost.concat()
                ),
            },
        }
    }
}

/// What can be said of a text's end without another text beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing can be missing behind it.
    Whole,
    /// Its last line may be there only in part: it has no line feed.
    NoLineFeed,
    /// The last thing that it says is a key without a value: what the value was, may be missing.
    NoValue,
    /// What stood behind its last line may be missing.
    Open,
}

/// How a text ends.
pub fn end(source: &SourceFile) -> End {
    let text = source.text();
    if text.trim().is_empty() || is_json(source) || is_marked(text) {
        return End::Whole;
    }
    if !text.ends_with('\n') {
        return End::NoLineFeed;
    }
    let documents = documents(source);
    match documents.as_slice() {
        [only] if is_list_with_end(only.root()) => End::Whole,
        [.., last] if ends_with_nothing(last.root()) => End::NoValue,
        _ => End::Open,
    }
}

/// Whether a text may be what is left of another that was said before, and what is missing then: unless its last object is
/// known and says the same, that is not known. `file` is the name of the text among `after`.
pub fn cut(before: &Sources, after: &Sources, file: &str) -> Option<Cut> {
    let at = after.files().iter().position(|source| source.name() == file)?;
    let number = u32::try_from(at).ok()?;
    let (last, place) = after.last_of(number)?;
    let found = |what: Missing| Some(Cut { last: last.to_owned(), what });
    let source = |place: Spot| before.files().get(place.file as usize);
    let Some((old_place, old)) = before.place_of(last).and_then(|place| Some((place, source(place)?))) else {
        return found(Missing::New);
    };
    let (old, new) = (documents(old), documents(after.files().get(at)?));
    let old_root = old.iter().find_map(|document| object(document.root(), old_place.start))?;
    let new_root = new.iter().find_map(|document| object(document.root(), place.start))?;
    let behind = || {
        let there: BTreeSet<&str> = after.objects().collect();
        let mut later: Vec<_> = before.places().filter(|(_, place)| *place > old_place).collect();
        later.sort_unstable_by_key(|(_, place)| *place);
        let all_gone = later.iter().all(|(name, _)| !there.contains(name));
        all_gone.then(|| later.into_iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
    };
    let behind = || behind().filter(|lost| !lost.is_empty());
    match compared(new_root, old_root) {
        Left::Part => found(Missing::Part),
        left => match behind() {
            Some(gone) => found(Missing::Behind(gone)),
            None if left == Left::All => None,
            None => found(Missing::Other),
        },
    }
}

/// The policy that a text ends with, and the last rule that it says there, its `default` included; none where its last object
/// is no policy.
pub fn last_rule<'s>(sources: &'s Sources, file: &str) -> Option<(&'s str, Option<&'s str>)> {
    let at = sources.files().iter().position(|source| source.name() == file)?;
    let (object, _) = sources.last_of(u32::try_from(at).ok()?)?;
    is_policy(object).then(|| (object, sources.last_rule_of(object)))
}

/// YAML's marker of a document's end. It says more than `---`, which stands between documents, so that a text may well be cut
/// off behind one.
fn is_marked(text: &str) -> bool {
    text.trim_end().lines().next_back() == Some("...")
}

/// One JSON value; whether it is an object is not asked here.
fn is_json(source: &SourceFile) -> bool {
    json::looks_like(source.text()) && json::read(source, 0, Limits::default()).is_ok()
}

/// The documents of a text that was read without a fault.
fn documents(source: &SourceFile) -> Vec<Document> {
    if json::looks_like(source.text())
        && let Ok(document) = json::read(source, 0, Limits::default())
    {
        return document.into_iter().collect();
    }
    let mut left = Limits::default().documents;
    let mut documents = yaml::Documents::new(source, 0, Limits::default());
    std::iter::from_fn(|| documents.next(&mut left)).map_while(Result::ok).collect()
}

/// kubectl's way: `kind: List` comes behind the items.
fn is_list_with_end(root: Cursor<'_>) -> bool {
    let Said::Mapping(fields) = root.said() else { return false };
    let place = |name: &str| fields.pairs().position(|(key, _)| key.raw() == Some(name));
    place("items").is_some_and(|items| place("kind").is_some_and(|kind| kind > items))
}

/// Whether the last value of a document is not there.
fn ends_with_nothing(mut at: Cursor<'_>) -> bool {
    loop {
        at = match at.said() {
            Said::Mapping(items) | Said::Sequence(items) => match items.iter().last() {
                Some(last) => last,
                None => return false,
            },
            _ => return at.raw() == Some("") && matches!(at.said(), Said::Null),
        };
    }
}

/// The object whose name starts at this character.
fn object(at: Cursor<'_>, name: u32) -> Option<Cursor<'_>> {
    let Said::Mapping(fields) = at.said() else { return None };
    let field = |name: &str| fields.pairs().find(|(key, _)| key.raw() == Some(name)).map(|(_, value)| value);
    if let Some(Said::Sequence(items)) = field("items").map(Cursor::said) {
        return items.iter().find_map(|item| object(item, name));
    }
    let Said::Mapping(metadata) = field("metadata")?.said() else { return None };
    let is_it = metadata.pairs().any(|(_, value)| value.place().start == name);
    is_it.then_some(at)
}

/// What is left of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    All,
    /// All up to some place.
    Part,
    /// It says something else.
    Other,
}

fn compared(after: Cursor<'_>, before: Cursor<'_>) -> Left {
    match (after.said(), before.said()) {
        (Said::Mapping(after), Said::Mapping(before)) | (Said::Sequence(after), Said::Sequence(before)) => {
            // Documents are at most as deep as their limit.
            let mut last = Left::All;
            for (one, other) in after.iter().zip(before.iter()) {
                if last != Left::All {
                    return Left::Other;
                }
                last = compared(one, other);
            }
            match (last, after.len().cmp(&before.len())) {
                (Left::All, std::cmp::Ordering::Less) => Left::Part,
                (_, std::cmp::Ordering::Greater) => Left::Other,
                (last, _) => last,
            }
        }
        _ => match (after.raw(), before.raw()) {
            (Some(after), Some(before)) if after == before => Left::All,
            (Some(""), _) => Left::Part,
            // Text over several lines, of which there are fewer.
            (Some(after), Some(before)) => match before.strip_prefix(after) {
                Some(rest) if rest.starts_with(char::is_whitespace) || after.ends_with('\n') => Left::Part,
                _ => Left::Other,
            },
            _ => Left::Other,
        },
    }
}
