//! YAML text to documents.
//!
//! The parser's event stream is pulled, so nesting needs no stack. It is also metered: the parser keeps everything from
//! an opening bracket on until it knows whether that starts a key, so what lies between two events is bounded.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::Chars;

use saphyr_parser::{BufferedInput, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::diagnostic::Code;
use super::limits::Limits;
use super::render::quoted;
use super::source::{Place, SourceFile};
use super::tree::{Builder, Document, Fault, NodeId};

/// How many characters the parser may read to find the next event: the longest text, comment, or list in brackets.
const LOOKAHEAD: usize = 1 << 20;

/// Characters, up to an allowance that is renewed with each event.
struct Metered<'t> {
    text: Chars<'t>,
    allowance: Rc<Cell<usize>>,
    /// The character before is a colon.
    colon: bool,
}

impl Iterator for Metered<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        self.allowance.set(self.allowance.get().checked_sub(1)?);
        let next = self.text.next()?;
        // The parser refuses a tab between a colon and a word, which separates them as a space does (YAML 1.2.2,
        // section 6.2). Text that has both loses its tab; none that is read may hold one.
        let blank = self.colon && next == '\t';
        self.colon = next == ':';
        Some(if blank { ' ' } else { next })
    }
}

/// Reads a file document by document. After a fault it goes on with the next document of the file.
pub(crate) struct Documents<'t> {
    source: &'t SourceFile,
    part: u32,
    parser: Parser<'t, BufferedInput<Metered<'t>>>,
    allowance: Rc<Cell<usize>>,
    /// Where the parser's text starts: byte and character.
    base: (usize, u32),
    /// See [`LOOKAHEAD`].
    lookahead: usize,
    limits: Limits,
    last_fault: Option<Place>,
    done: bool,
}

/// A document that is being read, and what its anchors name.
struct Reading {
    builder: Builder,
    anchors: BTreeMap<usize, NodeId>,
    /// Anchors of the sequences and mappings that are open.
    open: Vec<usize>,
}

impl<'t> Documents<'t> {
    pub(crate) fn new(source: &'t SourceFile, part: u32, limits: Limits) -> Self {
        let (parser, allowance) = parser(source.text());
        Self {
            source,
            part,
            parser,
            allowance,
            base: (0, 0),
            lookahead: LOOKAHEAD,
            limits,
            last_fault: None,
            done: false,
        }
    }

    /// With less room for what lies between two events than there is for text before which there is other text, of which
    /// the parser may have read some ahead.
    pub(crate) fn of_piece(self) -> Self {
        Self { lookahead: LOOKAHEAD - 64, ..self }
    }

    /// The next document, or why it cannot be read.
    pub(crate) fn next(&mut self, documents_left: &mut usize) -> Option<Result<Document, Fault>> {
        let mut reading: Option<Reading> = None;
        while !self.done {
            self.allowance.set(self.lookahead);
            let (event, span) = match self.parser.next_event() {
                None => break,
                Some(Ok(next)) if self.allowance.get() > 0 => next,
                Some(Ok((_, span))) => return Some(Err(self.too_long(self.place(span)))),
                Some(Err(error)) if self.allowance.get() == 0 => {
                    return Some(Err(self.too_long(self.place(Span::empty(*error.marker())))));
                }
                Some(Err(error)) => {
                    let fault = self.syntax(&error);
                    self.skip_document(fault.at.start);
                    reading = None;
                    // A fault in a line `---` is met again by whoever goes on there.
                    if self.last_fault.replace(fault.at) == Some(fault.at) {
                        continue;
                    }
                    return Some(Err(fault));
                }
            };
            let place = self.place(span);
            match event {
                Event::Nothing | Event::StreamStart => {}
                Event::StreamEnd => self.done = true,
                Event::DocumentStart(_) => {
                    let builder = Builder::new(self.part, self.limits);
                    reading = Some(Reading { builder, anchors: BTreeMap::new(), open: Vec::new() });
                    let Some(left) = documents_left.checked_sub(1) else {
                        self.done = true;
                        let message = format!("more than {} documents", self.limits.documents);
                        return Some(Err(Fault::new(
                            Code::Limit,
                            place,
                            &message,
                            "read fewer files at once",
                        )));
                    };
                    *documents_left = left;
                }
                Event::DocumentEnd => {
                    if let Some(document) = reading.take().and_then(|reading| reading.builder.finish()) {
                        return Some(Ok(document));
                    }
                }
                event => {
                    if let Some(Err(fault)) = reading.as_mut().map(|reading| reading.add(event, place)) {
                        self.skip_document(place.start);
                        return Some(Err(fault));
                    }
                }
            }
        }
        None
    }

    fn place(&self, span: Span) -> Place {
        let character = |index: usize| self.base.1.saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
        Place { part: self.part, start: character(span.start.index()), end: character(span.end.index()) }
    }

    fn too_long(&mut self, at: Place) -> Fault {
        self.done = true;
        let at = Place { end: at.start, ..at };
        let message =
            format!("a text, a comment or a list in brackets goes on for more than {LOOKAHEAD} characters");
        Fault::new(
            Code::Limit,
            at,
            &message,
            "write long lists with one `- item` a line, or the file as strict JSON",
        )
    }

    fn syntax(&self, error: &ScanError) -> Fault {
        let at = self.place(Span::empty(*error.marker()));
        let info = error.info();
        let help = if info.contains("tab") {
            Some("indent with spaces; YAML does not allow tabs there")
        } else if info.contains("mapping values are not allowed") || info.contains("simple key") {
            Some(
                "check the indentation and the colons of this line and the one before; quote text that contains `: `",
            )
        } else if info.contains("unknown anchor") {
            Some("an alias (`*name`) needs an anchor (`&name`) before it in the same document")
        } else if info.contains("recursion limit") {
            Some("files are not read deeper than 64 levels")
        } else {
            None
        };
        Fault {
            code: if info.contains("recursion limit") { Code::Limit } else { Code::Syntax },
            at: Place { end: at.start.saturating_add(1), ..at },
            also: None,
            message: format!("this is not YAML: {}", without_position(info)),
            help: help.map(str::to_owned),
        }
    }

    /// Goes on at the first line `---` from the line of a character on.
    fn skip_document(&mut self, from: u32) {
        let text = self.source.text();
        let from = self.source.byte_of(from).max(self.base.0);
        // The line itself may be it: a mapping ends where the next document starts.
        let from = text[..from].rfind('\n').unwrap_or(from).max(self.base.0);
        let behind = |at: usize| text[at + 4..].chars().next().is_none_or(char::is_whitespace);
        let next = text[from..].match_indices("\n---").map(|(at, _)| from + at).find(|at| behind(*at));
        let Some(next) = next else {
            self.done = true;
            return;
        };
        let skipped = text[self.base.0..=next].chars().count();
        self.base = (next + 1, self.base.1.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX)));
        (self.parser, self.allowance) = parser(&text[next + 1..]);
    }
}

fn parser(text: &str) -> (Parser<'_, BufferedInput<Metered<'_>>>, Rc<Cell<usize>>) {
    let allowance = Rc::new(Cell::new(LOOKAHEAD));
    let metered = Metered { text: text.chars(), allowance: allowance.clone(), colon: false };
    (Parser::new_from_iter(metered), allowance)
}

/// The parser's words without the position that some of them end with: the place says it.
fn without_position(info: &str) -> &str {
    info.split(" at byte ").next().unwrap_or(info)
}

impl Reading {
    fn add(&mut self, event: Event<'_>, at: Place) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = check_tag(tag.as_deref(), "str", at)?;
                let id = self.builder.scalar(&text, style == ScalarStyle::Plain && !forced, at)?;
                self.name(anchor, id);
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", at)?;
                self.builder.open(false, at)?;
                self.open.push(anchor);
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", at)?;
                self.builder.open(true, at)?;
                self.open.push(anchor);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let (Some(id), Some(anchor)) = (self.builder.close(at)?, self.open.pop()) {
                    self.name(anchor, id);
                }
            }
            Event::Alias(anchor) => {
                let Some(id) = self.anchors.get(&anchor).copied() else {
                    let message = "this alias names no complete value before it in the document";
                    let help =
                        "an alias cannot stand inside of what it names, nor name a value of another document";
                    return Err(Fault::new(Code::Syntax, at, message, help));
                };
                self.builder.alias(id, at)?;
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn name(&mut self, anchor: usize, id: NodeId) {
        // The parser numbers anchors from 1.
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }
}

/// Whether a tag is there and says what it may: the core schema's `allowed`, or `!`, which means the same.
fn check_tag(tag: Option<&Tag>, allowed: &str, at: Place) -> Result<bool, Fault> {
    let Some(tag) = tag else { return Ok(false) };
    let core = tag.is_yaml_core_schema() && tag.suffix == allowed;
    if core || (tag.handle.is_empty() && tag.suffix == "!") {
        return Ok(true);
    }
    let message = format!("the tag {} is not read", quoted(&tag.to_string()));
    Err(Fault::new(Code::Syntax, at, &message, "leave it out; quote a value to make it text"))
}
