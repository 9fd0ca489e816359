//! YAML text to documents: trees of nodes that know their places.
//!
//! The parser's event stream is read without recursion, and nodes live in one vector a document, so that neither
//! reading nor dropping a document needs stack. Aliases point to the node that they name; what a reader would visit
//! through them is counted as if they were copies, so that a few lines cannot unfold to billions of nodes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::diagnostic::Code;
use super::limits::Limits;
use super::source::{Place, SourceFile};

/// Why a document could not be read.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) at: Place,
    pub(crate) also: Option<(Place, &'static str)>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// The number of a node in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NodeId(u32);

#[derive(Debug)]
struct Node<'t> {
    value: Value<'t>,
    start: u32,
    end: u32,
    /// Levels from here down, a scalar has one.
    height: u32,
    /// Nodes from here down, aliases counted as copies.
    weight: usize,
}

/// What a node is. Ranges are those of its items in [`Document::items`]; a mapping's are key, value, key, value.
#[derive(Debug)]
enum Value<'t> {
    Scalar { text: Cow<'t, str>, plain: bool },
    Sequence(Range<usize>),
    Mapping(Range<usize>),
}

/// One document.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    file: u32,
    nodes: Vec<Node<'t>>,
    items: Vec<NodeId>,
    root: NodeId,
}

impl<'t> Document<'t> {
    pub(crate) fn root(&self) -> Cursor<'_, 't> {
        Cursor { document: self, id: self.root }
    }
}

/// A node, seen in its document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'d, 't> {
    document: &'d Document<'t>,
    id: NodeId,
}

/// What a node says. Plain scalars are resolved as YAML 1.2's core schema has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'d, 't> {
    Null,
    Boolean(bool),
    /// Integers in decimal, octal (`0o`) or hexadecimal; none where it has more than 64 bits.
    Integer(Option<i64>),
    Float,
    Text(&'d str),
    Sequence(Items<'d, 't>),
    Mapping(Items<'d, 't>),
}

/// Children of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'d, 't> {
    document: &'d Document<'t>,
    ids: &'d [NodeId],
}

impl<'d, 't> Items<'d, 't> {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Cursor<'d, 't>> {
        self.ids.iter().map(move |id| Cursor { document: self.document, id: *id })
    }

    /// A mapping's keys and values.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (Cursor<'d, 't>, Cursor<'d, 't>)> {
        let at = move |id: NodeId| Cursor { document: self.document, id };
        self.ids.as_chunks::<2>().0.iter().map(move |[key, value]| (at(*key), at(*value)))
    }
}

impl<'d, 't> Cursor<'d, 't> {
    fn node(self) -> &'d Node<'t> {
        &self.document.nodes[self.id.0 as usize]
    }

    pub(crate) fn place(self) -> Place {
        let node = self.node();
        Place { file: self.document.file, start: node.start, end: node.end }
    }

    /// The text of a scalar as it was written, whatever type it has.
    pub(crate) fn raw(self) -> Option<&'d str> {
        match &self.node().value {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    pub(crate) fn said(self) -> Said<'d, 't> {
        let items = |range: &Range<usize>| Items {
            document: self.document,
            ids: &self.document.items[range.clone()],
        };
        match &self.node().value {
            Value::Scalar { text, plain: true } => resolve(text),
            Value::Scalar { text, plain: false } => Said::Text(text),
            Value::Sequence(range) => Said::Sequence(items(range)),
            Value::Mapping(range) => Said::Mapping(items(range)),
        }
    }
}

/// A plain scalar by YAML 1.2's core schema (section 10.3.2).
fn resolve<'d, 't>(text: &'d str) -> Said<'d, 't> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Said::Null,
        "true" | "True" | "TRUE" => return Said::Boolean(true),
        "false" | "False" | "FALSE" => return Said::Boolean(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Said::Text(text);
    }
    let radix = |digits: &str, radix: u32| {
        (!digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix)))
            .then(|| Said::Integer(i64::from_str_radix(digits, radix).ok()))
    };
    let based = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => radix(digits, 16),
        (_, Some(digits)) => radix(digits, 8),
        _ => None,
    };
    if let Some(number) = based {
        return number;
    }
    if unsigned.chars().all(|digit| digit.is_ascii_digit()) {
        return Said::Integer(text.parse().ok());
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") || is_float(unsigned) {
        return Said::Float;
    }
    Said::Text(text)
}

/// `[0-9]* [.[0-9]*] [e[+-][0-9]+]`, with a digit before any exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && whole.len() + fraction.len() > 0
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// Reads a file document by document. After a fault it goes on with the next document of the file.
pub(crate) struct Documents<'t> {
    source: &'t SourceFile,
    file: u32,
    parser: Parser<'t, StrInput<'t>>,
    /// Where the parser's text starts: byte and character.
    base: (usize, u32),
    limits: Limits,
    done: bool,
}

/// A sequence or mapping that is not complete yet.
struct Open {
    mapping: bool,
    start: u32,
    anchor: usize,
    /// Its items so far are those of the builder's `pending` from here on.
    first: usize,
}

struct Builder<'t> {
    file: u32,
    nodes: Vec<Node<'t>>,
    items: Vec<NodeId>,
    open: Vec<Open>,
    pending: Vec<NodeId>,
    anchors: BTreeMap<usize, NodeId>,
    root: Option<NodeId>,
    limits: Limits,
}

impl<'t> Documents<'t> {
    pub(crate) fn new(source: &'t SourceFile, file: u32, limits: Limits) -> Self {
        let parser = Parser::new_from_str(source.text());
        Self { source, file, parser, base: (0, 0), limits, done: false }
    }

    /// The next document, or why it cannot be read.
    pub(crate) fn next(&mut self, documents_left: &mut usize) -> Option<Result<Document<'t>, Fault>> {
        let mut builder: Option<Builder<'t>> = None;
        while !self.done {
            let (event, span) = match self.parser.next_event() {
                None => break,
                Some(Ok(next)) => next,
                Some(Err(error)) => {
                    let fault = self.syntax(&error);
                    self.skip_document(fault.at.start);
                    return Some(Err(fault));
                }
            };
            let place = self.place(span);
            match event {
                Event::Nothing | Event::StreamStart => {}
                Event::StreamEnd => self.done = true,
                Event::DocumentStart(_) => {
                    builder = Some(Builder::new(self.file, self.limits));
                    let Some(left) = documents_left.checked_sub(1) else {
                        return Some(Err(self.give_up(place, "documents", self.limits.documents)));
                    };
                    *documents_left = left;
                }
                Event::DocumentEnd => {
                    if let Some(document) = builder.take().and_then(Builder::finish) {
                        return Some(Ok(document));
                    }
                }
                event => {
                    if builder.as_ref().is_some_and(|builder| builder.nodes.len() >= self.limits.nodes) {
                        return Some(Err(self.give_up(place, "values in one document", self.limits.nodes)));
                    }
                    if let Some(Err(fault)) = builder.as_mut().map(|builder| builder.add(event, place)) {
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
        Place { file: self.file, start: character(span.start.index()), end: character(span.end.index()) }
    }

    fn give_up(&mut self, at: Place, what: &str, most: usize) -> Fault {
        self.done = true;
        Fault {
            code: Code::Limit,
            at,
            also: None,
            message: format!("more than {most} {what}"),
            help: Some("read fewer files at once".to_owned()),
        }
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

    /// Goes on at the first line `---` behind a character of the file.
    fn skip_document(&mut self, from: u32) {
        let text = self.source.text();
        let from = self.source.byte_of(from).max(self.base.0);
        let behind = |at: usize| text[at + 4..].chars().next().is_none_or(char::is_whitespace);
        let next = text[from..].match_indices("\n---").map(|(at, _)| from + at).find(|at| behind(*at));
        let Some(next) = next else {
            self.done = true;
            return;
        };
        let skipped = text[self.base.0..=next].chars().count();
        self.base = (next + 1, self.base.1.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX)));
        self.parser = Parser::new_from_str(&text[next + 1..]);
    }
}

/// The parser's words without the position that some of them end with: the place says it.
fn without_position(info: &str) -> &str {
    info.split(" at byte ").next().unwrap_or(info)
}

impl<'t> Builder<'t> {
    fn new(file: u32, limits: Limits) -> Self {
        Self {
            file,
            nodes: Vec::new(),
            items: Vec::new(),
            open: Vec::new(),
            pending: Vec::new(),
            anchors: BTreeMap::new(),
            root: None,
            limits,
        }
    }

    fn finish(self) -> Option<Document<'t>> {
        Some(Document { file: self.file, root: self.root?, nodes: self.nodes, items: self.items })
    }

    fn add(&mut self, event: Event<'t>, at: Place) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = check_tag(tag.as_deref(), "str", at)?;
                let plain = style == ScalarStyle::Plain && !forced;
                let value = Value::Scalar { text, plain };
                let id = self.push(Node { value, start: at.start, end: at.end, height: 1, weight: 1 });
                self.name(anchor, id);
                self.attach(id);
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", at)?;
                self.open(false, anchor, at)?;
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", at)?;
                self.open(true, anchor, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at)?,
            Event::Alias(anchor) => {
                let Some(id) = self.anchors.get(&anchor).copied() else {
                    return Err(fault(
                        Code::Syntax,
                        at,
                        "this alias names no complete value before it in the document",
                        "an alias cannot stand inside of what it names, nor name a value of another document",
                    ));
                };
                let height = self.nodes[id.0 as usize].height as usize;
                if self.open.len() + height > self.limits.depth {
                    return Err(self.too_deep(at));
                }
                self.attach(id);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn push(&mut self, node: Node<'t>) -> NodeId {
        self.nodes.push(node);
        // The budget of nodes is far below.
        NodeId(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
    }

    fn name(&mut self, anchor: usize, id: NodeId) {
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }

    fn attach(&mut self, id: NodeId) {
        if self.open.is_empty() {
            self.root = Some(id);
        } else {
            self.pending.push(id);
        }
    }

    fn too_deep(&self, at: Place) -> Fault {
        let message = format!("nested deeper than {} levels", self.limits.depth);
        fault(Code::Limit, at, &message, "no object needs that depth; check the brackets and the indentation")
    }

    fn open(&mut self, mapping: bool, anchor: usize, at: Place) -> Result<(), Fault> {
        if self.open.len() + 1 >= self.limits.depth {
            return Err(self.too_deep(at));
        }
        self.open.push(Open { mapping, start: at.start, anchor, first: self.pending.len() });
        Ok(())
    }

    fn close(&mut self, at: Place) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let first = self.items.len();
        self.items.extend(self.pending.drain(open.first..));
        let range = first..self.items.len();
        let (mut height, mut weight) = (0, 1_usize);
        for id in &self.items[range.clone()] {
            let child = &self.nodes[id.0 as usize];
            height = height.max(child.height);
            weight = weight.saturating_add(child.weight);
        }
        if weight > self.limits.nodes {
            let message = format!("aliases unfold to more than {} values", self.limits.nodes);
            return Err(fault(Code::Limit, at, &message, "write out what is meant, in separate objects"));
        }
        if open.mapping {
            self.check_keys(&range)?;
        }
        let value = if open.mapping { Value::Mapping(range) } else { Value::Sequence(range) };
        let (start, end) = (open.start, at.end.max(open.start));
        let id = self.push(Node { value, start, end, height: height + 1, weight });
        self.name(open.anchor, id);
        self.attach(id);
        Ok(())
    }

    /// Keys are scalars, each once, and none merges another mapping in.
    fn check_keys(&self, range: &Range<usize>) -> Result<(), Fault> {
        let place = |id: NodeId| {
            let node = &self.nodes[id.0 as usize];
            Place { file: self.file, start: node.start, end: node.end }
        };
        let mut keys = Vec::with_capacity(range.len() / 2);
        for id in self.items[range.clone()].iter().step_by(2) {
            match &self.nodes[id.0 as usize].value {
                Value::Scalar { text, plain: true } if text == "<<" => {
                    return Err(fault(
                        Code::Syntax,
                        place(*id),
                        "merge keys (`<<`) are not read",
                        "YAML 1.2 has no merge keys; write the fields out, or use an alias for a whole value",
                    ));
                }
                Value::Scalar { text, .. } => keys.push((text.as_ref(), *id)),
                Value::Sequence(_) | Value::Mapping(_) => {
                    let help = "write the key as plain text";
                    return Err(fault(
                        Code::Syntax,
                        place(*id),
                        "a key must be text, not a list or a mapping",
                        help,
                    ));
                }
            }
        }
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0].0 == pair[1].0);
        twice.map_or(Ok(()), |pair| {
            Err(Fault {
                code: Code::DuplicateKey,
                at: place(pair[1].1),
                also: Some((place(pair[0].1), "first here")),
                message: format!("the key {} is there twice", super::render::quoted(pair[0].0)),
                help: Some("keep one of them; a YAML reader could take either".to_owned()),
            })
        })
    }
}

fn fault(code: Code, at: Place, message: &str, help: &str) -> Fault {
    Fault { code, at, also: None, message: message.to_owned(), help: Some(help.to_owned()) }
}

/// Whether a tag is there and says what it may: the core schema's `allowed`, or `!`, which means the same.
fn check_tag(tag: Option<&Tag>, allowed: &str, at: Place) -> Result<bool, Fault> {
    let Some(tag) = tag else { return Ok(false) };
    let core = tag.is_yaml_core_schema() && tag.suffix == allowed;
    if core || (tag.handle.is_empty() && tag.suffix == "!") {
        return Ok(true);
    }
    let message = format!("the tag {} is not read", super::render::quoted(&tag.to_string()));
    Err(fault(Code::Syntax, at, &message, "leave it out; quote a value to make it text"))
}
