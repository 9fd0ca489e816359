//! Texts in pieces, and which of them were there before.
//!
//! A piece is what stands from one line `---` to the next: whatever the parser was doing ends there, so that a piece that is
//! whole by itself says by itself what it says in its file. Texts of which that does not hold are one piece: JSON, and files
//! with directives, which stand before the line that their document begins with.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::reader::declaration::Key;
use crate::reader::diagnostic::Code;
use crate::reader::json;
use crate::reader::limits::Limits;
use crate::reader::objects::Skipped;
use crate::reader::sink::Report;
use crate::reader::source::SourceFile;
use crate::reader::tree::Document;

/// A piece of a text, with what is asked of every piece each time.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The number of the part that its places are of.
    pub(super) part: u32,
    pub(super) bytes: u32,
    pub(super) characters: u32,
    pub(super) documents: u32,
    /// Nothing odd was found in it.
    pub(super) plain: bool,
    pub(super) piece: Arc<Piece>,
}

/// What was read from a piece of a text.
#[derive(Debug)]
pub(super) struct Piece {
    /// It was read as JSON.
    pub(super) json: bool,
    pub(super) keys: Vec<Key>,
    /// The names of its objects, as sources have them.
    pub(super) objects: Vec<String>,
    pub(super) warnings: Vec<Report>,
    pub(super) omitted_warnings: usize,
    pub(super) skipped: Skipped,
}

/// A text, and its pieces in order.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) source: Arc<SourceFile>,
    pub(super) pieces: Vec<Held>,
}

impl File {
    /// Its pieces in which something odd was found.
    pub(super) fn odd(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|held| !held.plain).map(|held| &*held.piece)
    }
}

/// A piece of a text as it is now.
pub(super) enum Planned {
    Kept(Held),
    /// To be read: bytes of the text.
    New(Range<usize>),
    /// The whole of a text that is one JSON value.
    Json(Option<Document>),
}

/// How texts are read.
pub(super) struct Plan {
    pub(super) files: Vec<(Arc<SourceFile>, Vec<Planned>)>,
    /// Pieces that are gone.
    pub(super) gone: Vec<Held>,
}

/// Pieces that are not where they were.
#[derive(Default)]
struct Pool<'t> {
    /// By the name of the file, which relative paths go by, and the text.
    by_text: HashMap<(&'t str, &'t str), Vec<Held>>,
    json: Vec<Held>,
}

/// What has to be read of some texts, if those before were read. None if some cannot be read.
pub(super) fn plan(before: &[File], sources: Vec<Arc<SourceFile>>, limits: &Limits) -> Option<Plan> {
    let mut by_name: HashMap<&str, Vec<&File>> = HashMap::new();
    // Of files of one name the first one comes first.
    for file in before.iter().rev() {
        by_name.entry(file.source.name()).or_default().push(file);
    }
    let mut pool = Pool::default();
    let mut files = Vec::with_capacity(sources.len());
    for source in sources {
        let old = by_name.get_mut(source.name()).and_then(Vec::pop);
        files.push(file(old, source, limits, &mut pool)?);
    }
    for file in by_name.into_values().flatten() {
        release(file, 0..file.pieces.len(), &mut pool);
    }
    // What stands somewhere else now is not read again.
    let Pool { mut by_text, json: mut gone } = pool;
    let moved = !by_text.is_empty();
    for (source, planned) in files.iter_mut().filter(|_| moved) {
        for piece in planned {
            let Planned::New(range) = piece else { continue };
            let key = (source.name(), &source.text()[range.clone()]);
            if let Some(known) = by_text.get_mut(&key).and_then(Vec::pop) {
                *piece = Planned::Kept(known);
            }
        }
    }
    gone.extend(by_text.into_values().flatten());
    Some(Plan { files, gone })
}

/// What a line that separates documents begins with, and one character behind it.
const SEPARATOR: usize = 4;

fn file<'t>(
    old: Option<&'t File>,
    source: Arc<SourceFile>,
    limits: &Limits,
    pool: &mut Pool<'t>,
) -> Option<(Arc<SourceFile>, Vec<Planned>)> {
    let text = source.text();
    let Some(old) = old else {
        let planned = anew(&source, limits)?;
        return Some((source, planned));
    };
    let was = old.source.text();
    let (first, last) = edges(was.as_bytes(), text.as_bytes());
    if first == was.len() && first == text.len() {
        let pieces = old.pieces.iter().cloned().map(Planned::Kept).collect();
        return Some((Arc::clone(&old.source), pieces));
    }
    // What ends so far before the first difference that the line `---` behind it is the same.
    let (mut before, mut at) = (0, 0);
    for piece in &old.pieces {
        let end = at + piece.bytes as usize;
        if end + SEPARATOR > first {
            break;
        }
        (before, at) = (before + 1, end);
    }
    // What begins behind the last difference, and a line feed.
    let (mut behind, mut end) = (old.pieces.len(), was.len());
    while behind > before {
        let start = end - old.pieces[behind - 1].bytes as usize;
        if start <= was.len() - last {
            break;
        }
        (behind, end) = (behind - 1, start);
    }
    let changed = at..text.len() - (was.len() - end);
    // Of JSON and what is one piece nothing is kept: there is no line `---` before and behind.
    if json::looks_like(text) || is_one(&text[changed.clone()], changed.start) {
        release(old, 0..old.pieces.len(), pool);
        let planned = anew(&source, limits)?;
        return Some((source, planned));
    }
    release(old, before..behind, pool);
    let kept = |pieces: &[Held]| pieces.iter().cloned().map(Planned::Kept).collect::<Vec<_>>();
    let mut planned = kept(&old.pieces[..before]);
    planned.extend(cut(text, changed));
    planned.extend(kept(&old.pieces[behind..]));
    Some((source, planned))
}

/// A text of which nothing is known.
fn anew(source: &SourceFile, limits: &Limits) -> Option<Vec<Planned>> {
    let text = source.text();
    if json::looks_like(text) {
        match json::read(source, 0, *limits) {
            Ok(document) => return Some(vec![Planned::Json(document)]),
            // It may be YAML.
            Err(fault) if fault.code == Code::Syntax => {}
            Err(_) => return None,
        }
    }
    Some(if is_one(text, 0) { vec![Planned::New(0..text.len())] } else { cut(text, 0..text.len()) })
}

/// Whether there is what makes a file one piece: a line that may be a directive, or a byte order mark at the start, after
/// one that was cut off.
fn is_one(text: &str, at: usize) -> bool {
    text.starts_with('%') || text.contains("\n%") || at == 0 && text.starts_with('\u{feff}')
}

/// Puts pieces of a file where others find them.
fn release<'t>(file: &'t File, pieces: Range<usize>, pool: &mut Pool<'t>) {
    let mut at = 0;
    for (number, piece) in file.pieces.iter().enumerate().take(pieces.end) {
        let end = at + piece.bytes as usize;
        if number >= pieces.start {
            let known = if piece.piece.json {
                &mut pool.json
            } else {
                pool.by_text.entry((file.source.name(), &file.source.text()[at..end])).or_default()
            };
            known.push(piece.clone());
        }
        at = end;
    }
}

/// Stretches from one separator to the next, of bytes that begin and end at one, or with the text.
fn cut(text: &str, bytes: Range<usize>) -> Vec<Planned> {
    let mut pieces = Vec::new();
    let mut from = bytes.start;
    for (at, _) in text[bytes.clone()].match_indices("\n---") {
        let at = bytes.start + at + 1;
        // As the parser has it: words may begin with hyphens.
        let separates = matches!(text.as_bytes().get(at + 3), None | Some(b' ' | b'\t' | b'\r' | b'\n'));
        if separates && at < bytes.end {
            pieces.push(Planned::New(from..at));
            from = at;
        }
    }
    if from < bytes.end {
        pieces.push(Planned::New(from..bytes.end));
    }
    pieces
}

/// How many bytes two texts begin with alike, and end with behind these.
fn edges(one: &[u8], other: &[u8]) -> (usize, usize) {
    /// Blocks are compared as fast as memory is read.
    const BLOCK: usize = 4096;
    let alike = |(one, other): &(&u8, &u8)| one == other;
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let mut first = BLOCK * blocks.take_while(|(one, other)| one == other).count();
    first += one[first..].iter().zip(&other[first..]).take_while(alike).count();
    let (one, other) = (&one[first..], &other[first..]);
    let blocks = one.rchunks_exact(BLOCK).zip(other.rchunks_exact(BLOCK));
    let mut last = BLOCK * blocks.take_while(|(one, other)| one == other).count();
    let rest = (one.len() - last, other.len() - last);
    last += one[..rest.0].iter().rev().zip(other[..rest.1].iter().rev()).take_while(alike).count();
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        let ranges = cut(text, 0..text.len()).into_iter().map(|piece| match piece {
            Planned::New(range) => &text[range],
            _ => unreachable!("nothing was there before"),
        });
        ranges.collect()
    }

    #[test]
    fn texts_are_cut_where_documents_begin() {
        assert_eq!(pieces(""), Vec::<&str>::new());
        assert_eq!(pieces("a: b\n"), ["a: b\n"]);
        assert_eq!(pieces("---\na: b\n--- c\n---"), ["---\na: b\n", "--- c\n", "---"]);
        assert_eq!(pieces("a: b\n---c\n ---\n---\r\nd\n"), ["a: b\n---c\n ---\n", "---\r\nd\n"]);
    }

    #[test]
    fn what_is_alike_at_both_ends() {
        let long = "x".repeat(10_000);
        for (one, other) in [
            (String::new(), String::new()),
            (long.clone(), long.clone()),
            (format!("{long}a{long}"), format!("{long}b{long}")),
            (format!("{long}{long}"), format!("{long}b{long}")),
            (long.clone(), format!("{long}{long}")),
            ("ab".to_owned(), "b".to_owned()),
        ] {
            for (one, other) in [(one.as_bytes(), other.as_bytes()), (other.as_bytes(), one.as_bytes())] {
                let (first, last) = edges(one, other);
                assert_eq!(one[..first], other[..first]);
                assert_eq!(one[one.len() - last..], other[other.len() - last..]);
                let most = one.len().min(other.len());
                assert!(first + last <= most);
                assert!(first == most || one[first] != other[first]);
                let (one, other) = (&one[first..one.len() - last], &other[first..other.len() - last]);
                assert!(one.is_empty() || other.is_empty() || one.last() != other.last());
            }
        }
    }
}
