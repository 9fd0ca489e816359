//! Files and places in them.

use std::fmt;
use std::sync::OnceLock;

use serde::Serialize;

/// Every how many characters the byte offset is noted, in files that are not all ASCII.
const STRIDE: usize = 256;

/// A file's name and text.
pub struct SourceFile {
    name: String,
    text: String,
    /// Byte offset of each line's first character.
    lines: OnceLock<Vec<u32>>,
    /// Byte offset of every [`STRIDE`]th character; none in ASCII text, where characters are bytes.
    characters: OnceLock<Option<Vec<u32>>>,
}

/// Files are far smaller than what 32 bits count.
pub(crate) fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl SourceFile {
    /// A file. The name is what messages call it; a byte order mark is cut off the text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Self { name: name.into(), text, lines: OnceLock::new(), characters: OnceLock::new() }
    }

    /// What messages call it: its path, or `<stdin>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn lines(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let newlines = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(newlines.map(|(at, _)| number(at + 1))).collect()
        })
    }

    fn characters(&self) -> Option<&[u32]> {
        let characters = self.characters.get_or_init(|| {
            let marks = self.text.char_indices().step_by(STRIDE).map(|(at, _)| number(at));
            (!self.text.is_ascii()).then(|| marks.collect())
        });
        characters.as_deref()
    }

    /// The byte offset of a character by its number; the end of the text where there is none.
    pub(crate) fn byte_of(&self, character: u32) -> usize {
        let character = character as usize;
        let Some(known) = self.characters() else { return character.min(self.text.len()) };
        let Some(start) = known.get(character / STRIDE) else { return self.text.len() };
        let start = *start as usize;
        let rest = &self.text[start..];
        rest.char_indices().nth(character % STRIDE).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// Line and column, from 1, of a byte offset. Columns count characters.
    pub(crate) fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let lines = self.lines();
        let line = lines.partition_point(|start| *start as usize <= byte).max(1);
        let start = lines[line - 1] as usize;
        let column = self.text.get(start..byte).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }

    /// The bytes of a line, numbered from 1, without its line break.
    pub(crate) fn line(&self, number: usize) -> Option<std::ops::Range<usize>> {
        let lines = self.lines();
        let start = *lines.get(number.checked_sub(1)?)? as usize;
        let mut end = lines.get(number).map_or(self.text.len(), |next| *next as usize - 1);
        if end > start && self.text.as_bytes()[end - 1] == b'\r' {
            end -= 1;
        }
        Some(start..end)
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile")
            .field("name", &self.name)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// A stretch of a part of a file: characters `start..end` from where the part begins, as the YAML parser counts them. It
/// stays what it is where text before the part grows; where that is in the file, [`super::Sources`] knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the part. Mostly a file is one part, and has the part's number.
    pub(crate) part: u32,
    /// First character.
    pub(crate) start: u32,
    /// Behind the last character.
    pub(crate) end: u32,
}

/// A stretch of a file: characters `start..end`. In the order of files, and of what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// Number of the file.
    pub(crate) file: u32,
    /// First character.
    pub(crate) start: u32,
    /// Behind the last character.
    pub(crate) end: u32,
}

/// A value and where it was said.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

/// File, line and column, from 1. Shown as `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_lines_and_columns() {
        let text = format!("a: b\r\n{}é: 1\nlast", "ä".repeat(600));
        let file = SourceFile::new("x", format!("\u{feff}{text}"));
        assert_eq!(file.text(), text);
        for (number, (byte, _)) in text.char_indices().enumerate() {
            assert_eq!(file.byte_of(u32::try_from(number).unwrap()), byte);
        }
        assert_eq!(file.byte_of(u32::MAX), text.len());
        assert_eq!(file.line_and_column(0), (1, 1));
        assert_eq!(file.line_and_column(6), (2, 1));
        assert_eq!(file.line_and_column(6 + 1200), (2, 601));
        assert_eq!(file.line_and_column(text.len()), (3, 5));
        assert_eq!(file.line(1), Some(0..4));
        assert_eq!(file.line(3), Some(text.len() - 4..text.len()));
        assert_eq!(file.line(4), None);
        assert_eq!(file.line(0), None);
    }
}
