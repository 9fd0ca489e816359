//! `trace --batch`: a JSON line in, a JSON line out, in order.

use std::io::{self, BufReader, ErrorKind, Read, Write};

use serde::Serialize;

/// Longest line that is read, in bytes. A longer one is answered with an error and skipped.
const LONGEST_LINE: usize = 65_536;

/// How much is read ahead, and therefore how many answers wait at most before they are written.
const READ_AHEAD: usize = 1 << 16;

/// Answer to a line that is no packet.
#[derive(Serialize)]
struct Bad<'a> {
    error: &'a str,
    /// From 1.
    line: u64,
}

/// What there was on the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conversed {
    /// Lines that are not blank.
    pub(super) lines: u64,
    /// Of these, no packets.
    pub(super) bad: u64,
}

/// Answers each line of `input` on `output` and returns how many there were, and how many were bad. Blank lines are ignored, and
/// those that are answered with nothing.
///
/// The output is flushed whenever the input has no complete line left to read, so that whoever writes one line and
/// waits for its answer gets it, and whoever writes many is served fast.
pub(super) fn converse<A: Serialize>(
    input: impl Read,
    mut output: impl Write,
    mut answer: impl FnMut(&[u8]) -> Result<Option<A>, String>,
) -> io::Result<Conversed> {
    let mut lines = Lines { input: BufReader::with_capacity(READ_AHEAD, input), line: Vec::new() };
    let (mut number, mut found) = (0, Conversed::default());
    loop {
        if !lines.one_is_waiting() {
            output.flush()?;
        }
        let line = match lines.next()? {
            Line::End => break,
            Line::TooLong => Err(format!("the line is longer than {LONGEST_LINE} bytes")),
            Line::Text(text) => Ok(text.trim_ascii()),
        };
        number += 1;
        if line.as_ref().is_ok_and(|text| text.is_empty()) {
            continue;
        }
        found.lines += 1;
        match line.and_then(&mut answer) {
            Ok(None) => continue,
            Ok(Some(answer)) => serde_json::to_writer(&mut output, &answer)?,
            Err(error) => {
                found.bad += 1;
                serde_json::to_writer(&mut output, &Bad { error: &error, line: number })?;
            }
        }
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(found)
}

struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
}

enum Line<'a> {
    Text(&'a [u8]),
    TooLong,
    End,
}

impl<R: Read> Lines<R> {
    /// Whether the next line can be had without asking the source for more.
    fn one_is_waiting(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    fn next(&mut self) -> io::Result<Line<'_>> {
        use io::BufRead as _;
        self.line.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if self.line.len() + part.len() > LONGEST_LINE {
                too_long = true;
            } else {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(chunk.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => Line::End,
            (true, true) => Line::TooLong,
            (true, false) => Line::Text(&self.line),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn echo(line: &[u8]) -> Result<Option<String>, String> {
        let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        match text {
            "bad" => Err("bad".to_owned()),
            "none" => Ok(None),
            text => Ok(Some(text.to_owned())),
        }
    }

    fn run(input: &[u8]) -> (String, u64) {
        let mut output = Vec::new();
        let found = converse(input, &mut output, echo).unwrap();
        (String::from_utf8(output).unwrap(), found.bad)
    }

    #[test]
    fn every_line_is_answered_in_order() {
        assert_eq!(
            run(b"a\nbad\n\n  \r\nnone\nb"),
            ("\"a\"\n{\"error\":\"bad\",\"line\":2}\n\"b\"\n".to_owned(), 1)
        );
        assert_eq!(run(b""), (String::new(), 0));
        assert_eq!(run(b"\xff\n"), ("{\"error\":\"not UTF-8\",\"line\":1}\n".to_owned(), 1));
    }

    #[test]
    fn a_line_without_end_is_refused_and_skipped() {
        let mut input = vec![b'x'; 3 * LONGEST_LINE];
        input.extend_from_slice(b"\na\n");
        let (output, bad) = run(&input);
        assert_eq!(bad, 1);
        assert!(
            output.starts_with("{\"error\":\"the line is longer than 65536 bytes\",\"line\":1}\n"),
            "{output}"
        );
        assert!(output.ends_with("\"a\"\n"), "{output}");
        let longest = vec![b'x'; LONGEST_LINE];
        assert_eq!(run(&longest).1, 0);
    }

    /// A source that gives one piece a call, and notes what has been written before each.
    struct Pieces<'a> {
        left: Vec<&'static [u8]>,
        flushed: &'a RefCell<Vec<u8>>,
        seen: Vec<String>,
    }

    impl Read for &mut Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.seen.push(String::from_utf8(self.flushed.borrow().clone()).unwrap());
            if self.left.is_empty() {
                return Ok(0);
            }
            let piece = self.left.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    struct Flushed<'a>(Vec<u8>, &'a RefCell<Vec<u8>>);

    impl Write for Flushed<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.1.borrow_mut().append(&mut self.0);
            Ok(())
        }
    }

    #[test]
    fn answers_are_out_before_more_is_asked_for() {
        let flushed = RefCell::new(Vec::new());
        let mut source =
            Pieces { left: vec![b"a\n", b"b\nc\nd", b"d\n"], flushed: &flushed, seen: Vec::new() };
        converse(&mut source, Flushed(Vec::new(), &flushed), echo).unwrap();
        assert_eq!(source.seen, ["", "\"a\"\n", "\"a\"\n\"b\"\n\"c\"\n", "\"a\"\n\"b\"\n\"c\"\n\"dd\"\n"]);
    }
}
