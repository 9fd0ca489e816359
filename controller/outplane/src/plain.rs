//! What others have written (names in stores, pages of nodes, files) goes to terminals without what commands them.

use std::borrow::Cow;
use std::io::{self, Write};

/// A text in which nothing moves the cursor, changes a title or turns the direction of writing; line feeds, tabs, and colours stay.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(commands) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(commands) {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let kept = colour(from);
        plain.push_str(&from[..kept]);
        let skipped = if kept == 0 { from.chars().next().map_or(0, char::len_utf8) } else { kept };
        if kept == 0 {
            plain.push('\u{fffd}');
        }
        rest = &from[skipped..];
    }
    plain.push_str(rest);
    plain.into()
}

fn commands(character: char) -> bool {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control() && !matches!(character, '\n' | '\t')
}

/// How long the sequence is at the beginning that sets a colour or a weight (ECMA-48, SGR); 0 if there is none.
fn colour(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    let end = parameters.find(|next: char| !next.is_ascii_digit() && next != ';').unwrap_or(parameters.len());
    if parameters[end..].starts_with('m') { 2 + end + 1 } else { 0 }
}

/// Writes what it is given as [`plain`] has it.
pub(crate) struct Plain<W>(pub(crate) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A piece of text is written whole; what is no text is none of ours.
        self.0.write_all(plain(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_commands() {
        for (text, shown) in [
            ("c2", "c2"),
            ("two\nlines\tand ümläute", "two\nlines\tand ümläute"),
            ("\u{1b}[31mred\u{1b}[0m", "\u{1b}[31mred\u{1b}[0m"),
            ("a\u{1b}[2Jb\u{1b}]0;pwn\u{7}", "a\u{fffd}[2Jb\u{fffd}]0;pwn\u{fffd}"),
            ("gone\rhere\u{85}\u{202e}live", "gone\u{fffd}here\u{fffd}\u{fffd}live"),
            ("\u{1b}", "\u{fffd}"),
            ("\u{1b}[1;3", "\u{fffd}[1;3"),
        ] {
            assert_eq!(plain(text), shown);
        }
        let mut written = Vec::new();
        let (name, number) = ("x\u{1b}c", 7);
        write!(Plain(&mut written), "{name}: {number}").unwrap();
        assert_eq!(written, "x\u{fffd}c: 7".as_bytes());
    }
}
