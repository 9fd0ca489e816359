//! JSON text to a document.
//!
//! All JSON is YAML, but the YAML parser keeps the whole of a list in brackets in memory before it says a word, and
//! `kubectl get -o json` prints one mapping of tens of megabytes.

use super::diagnostic::Code;
use super::limits::Limits;
use super::source::{Place, SourceFile};
use super::tree::{Builder, Document, Fault};

/// Whether a text looks like JSON: a mapping or list in brackets.
pub(crate) fn looks_like(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Reads a file that is one JSON value (RFC 8259). Many files that only look like JSON are YAML, so a syntax error is
/// no last word.
pub(crate) fn read(source: &SourceFile, part: u32, limits: Limits) -> Result<Option<Document>, Fault> {
    let bytes = source.text().as_bytes();
    let mut reader = Reader {
        source,
        bytes,
        at: 0,
        character: 0,
        part,
        builder: Builder::new(part, limits),
        open: Vec::new(),
    };
    reader.value()?;
    while let Some(mapping) = reader.open.last().copied() {
        reader.space();
        let end = if mapping { b'}' } else { b']' };
        if reader.take(end) {
            reader.open.pop();
            reader.builder.close(reader.here())?;
            continue;
        }
        if !reader.first() && !reader.take(b',') {
            return Err(reader.expected(if mapping { "`,` or `}`" } else { "`,` or `]`" }));
        }
        reader.space();
        if mapping {
            reader.string("a key in quotes")?;
            reader.space();
            if !reader.take(b':') {
                return Err(reader.expected("`:`"));
            }
        }
        reader.value()?;
    }
    reader.space();
    if reader.at < bytes.len() {
        return Err(reader.expected("the end of the file"));
    }
    Ok(reader.builder.finish())
}

struct Reader<'t> {
    source: &'t SourceFile,
    bytes: &'t [u8],
    /// Bytes read, and characters.
    at: usize,
    character: u32,
    part: u32,
    builder: Builder,
    /// What is open: mappings and lists.
    open: Vec<bool>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn advance(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.bytes.len());
        let starts = self.bytes[self.at..end].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        self.character = self.character.saturating_add(u32::try_from(starts).unwrap_or(u32::MAX));
        self.at = end;
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.advance(1);
        }
        found
    }

    fn space(&mut self) {
        let rest = &self.bytes[self.at..];
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.advance(blank);
    }

    fn here(&self) -> Place {
        self.since(self.character)
    }

    fn since(&self, start: u32) -> Place {
        Place { part: self.part, start, end: self.character }
    }

    /// Whether nothing has been read since the innermost bracket opened.
    fn first(&self) -> bool {
        let before = self.bytes[..self.at].iter().rev().find(|byte| !byte.is_ascii_whitespace());
        matches!(before, Some(b'{' | b'['))
    }

    fn expected(&self, what: &str) -> Fault {
        let at = Place { end: self.character.saturating_add(1), ..self.here() };
        let message = format!("this is not JSON: {what} is missing here");
        Fault::new(Code::Syntax, at, &message, "check the brackets, quotes and commas before")
    }

    /// A scalar, or the start of a mapping or list.
    fn value(&mut self) -> Result<(), Fault> {
        self.space();
        let start = self.character;
        match self.peek() {
            Some(bracket @ (b'{' | b'[')) => {
                self.advance(1);
                let mapping = bracket == b'{';
                self.builder.open(mapping, self.since(start))?;
                self.open.push(mapping);
                Ok(())
            }
            Some(b'"') => self.string("a string"),
            _ => {
                let rest = &self.bytes[self.at..];
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let length = rest.iter().take_while(is_part).count();
                let word = self.source.text().get(self.at..self.at + length).unwrap_or_default();
                if !matches!(word, "true" | "false" | "null") && !is_number(word) {
                    return Err(self.expected("a value"));
                }
                self.advance(length);
                self.builder.scalar(word, true, self.since(start)).map(|_| ())
            }
        }
    }

    fn string(&mut self, what: &str) -> Result<(), Fault> {
        let start = self.character;
        if self.peek() != Some(b'"') {
            return Err(self.expected(what));
        }
        let rest = &self.bytes[self.at + 1..];
        let mut length = 0;
        let mut escapes = false;
        loop {
            match rest.get(length) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes = true;
                    length += 2;
                }
                Some(0..0x20) | None => return Err(self.expected("the end of a string")),
                Some(_) => length += 1,
            }
        }
        let text = self.source.text();
        let (inner, whole) = (self.at + 1..self.at + 1 + length, self.at..self.at + length + 2);
        let unescaped;
        let value = if escapes {
            unescaped = serde_json::from_str::<String>(text.get(whole.clone()).unwrap_or_default())
                .map_err(|_| self.expected("a string with JSON's escapes"))?;
            unescaped.as_str()
        } else {
            text.get(inner).unwrap_or_default()
        };
        self.advance(whole.len());
        self.builder.scalar(value, false, self.since(start)).map(|_| ())
    }
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}
