//! Documents: trees of nodes that know their places.
//!
//! Nodes live in one vector a document and their text in one string, so that neither building nor dropping a document
//! needs stack, and millions of nodes no allocation each. Aliases point to the node that they name; what a reader
//! would visit through them is counted as if they were copies, so that a few lines cannot unfold to billions of nodes.

use std::ops::Range;

use super::diagnostic::Code;
use super::limits::Limits;
use super::render::quoted;
use super::scalar::{self, Old, Plain};
use super::source::Place;

/// Why a document could not be read.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) at: Place,
    pub(crate) also: Option<(Place, &'static str)>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: Code, at: Place, message: &str, help: &str) -> Self {
        Self { code, at, also: None, message: message.to_owned(), help: Some(help.to_owned()) }
    }
}

/// The number of a node in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

#[derive(Debug)]
struct Node {
    value: Value,
    start: u32,
    end: u32,
    /// Nodes from here down, aliases counted as copies.
    weight: u32,
    /// Levels from here down, a scalar has one.
    height: u8,
}

/// What a node is. Ranges are those of its bytes in [`Document::text`], or of its items in [`Document::items`]; a
/// mapping's items are key, value, key, value.
#[derive(Clone, Copy, Debug)]
enum Value {
    Plain(Stretch),
    Quoted(Stretch),
    Sequence(Stretch),
    Mapping(Stretch),
}

/// A range of 32-bit numbers: the limits on bytes and nodes are far below.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u32,
    end: u32,
}

impl Stretch {
    fn new(range: Range<usize>) -> Self {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: number(range.start), end: number(range.end) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    part: u32,
    nodes: Vec<Node>,
    items: Vec<NodeId>,
    text: String,
    root: NodeId,
}

impl Document {
    /// As part of this number.
    pub(crate) fn part(self, part: u32) -> Self {
        Self { part, ..self }
    }

    pub(crate) fn root(&self) -> Cursor<'_> {
        Cursor { document: self, id: self.root }
    }
}

/// A node, seen in its document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'d> {
    document: &'d Document,
    id: NodeId,
}

/// What a node says. Plain scalars are resolved as YAML 1.2's core schema has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'d> {
    Null,
    Boolean(bool),
    /// Integers in decimal, octal (`0o`) or hexadecimal; none where it has more than 64 bits.
    Integer(Option<i64>),
    Float,
    /// What YAML 1.1 and 1.2 read differently: nobody knows which is meant.
    Twofold(Plain, Old),
    Text(&'d str),
    Sequence(Items<'d>),
    Mapping(Items<'d>),
}

/// Children of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'d> {
    document: &'d Document,
    ids: &'d [NodeId],
}

impl<'d> Items<'d> {
    pub(crate) fn len(self) -> usize {
        self.ids.len()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Cursor<'d>> {
        self.ids.iter().map(move |id| Cursor { document: self.document, id: *id })
    }

    /// A mapping's keys and values.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (Cursor<'d>, Cursor<'d>)> {
        let at = move |id: NodeId| Cursor { document: self.document, id };
        self.ids.as_chunks::<2>().0.iter().map(move |[key, value]| (at(*key), at(*value)))
    }
}

impl<'d> Cursor<'d> {
    fn node(self) -> &'d Node {
        &self.document.nodes[self.id.0 as usize]
    }

    pub(crate) fn place(self) -> Place {
        let node = self.node();
        Place { part: self.document.part, start: node.start, end: node.end }
    }

    /// The text of a scalar as it was written, whatever type it has.
    pub(crate) fn raw(self) -> Option<&'d str> {
        match self.node().value {
            Value::Plain(stretch) | Value::Quoted(stretch) => Some(&self.document.text[stretch.range()]),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    pub(crate) fn said(self) -> Said<'d> {
        let items =
            |stretch: Stretch| Items { document: self.document, ids: &self.document.items[stretch.range()] };
        match self.node().value {
            Value::Plain(stretch) => {
                let text = &self.document.text[stretch.range()];
                let core = scalar::core(text);
                match (scalar::old(text, core), core) {
                    (Some(old), _) => Said::Twofold(core, old),
                    (None, Plain::Null) => Said::Null,
                    (None, Plain::Boolean(value)) => Said::Boolean(value),
                    (None, Plain::Integer(value)) => Said::Integer(value),
                    (None, Plain::Float) => Said::Float,
                    (None, Plain::Text) => Said::Text(text),
                }
            }
            Value::Quoted(stretch) => Said::Text(&self.document.text[stretch.range()]),
            Value::Sequence(stretch) => Said::Sequence(items(stretch)),
            Value::Mapping(stretch) => Said::Mapping(items(stretch)),
        }
    }
}

/// A sequence or mapping that is not complete yet.
struct Open {
    mapping: bool,
    start: u32,
    /// Its items so far are those of the builder's `pending` from here on.
    first: usize,
}

/// Builds a document from its parts in the order of the text.
pub(crate) struct Builder {
    part: u32,
    nodes: Vec<Node>,
    items: Vec<NodeId>,
    text: String,
    open: Vec<Open>,
    pending: Vec<NodeId>,
    root: Option<NodeId>,
    limits: Limits,
}

impl Builder {
    pub(crate) fn new(part: u32, limits: Limits) -> Self {
        Self {
            part,
            nodes: Vec::new(),
            items: Vec::new(),
            text: String::new(),
            open: Vec::new(),
            pending: Vec::new(),
            root: None,
            limits,
        }
    }

    /// The document; none where there was nothing.
    pub(crate) fn finish(self) -> Option<Document> {
        let (nodes, items, text) = (self.nodes, self.items, self.text);
        Some(Document { part: self.part, root: self.root?, nodes, items, text })
    }

    pub(crate) fn scalar(&mut self, text: &str, plain: bool, at: Place) -> Result<NodeId, Fault> {
        let start = self.text.len();
        self.text.push_str(text);
        let stretch = Stretch::new(start..self.text.len());
        let value = if plain { Value::Plain(stretch) } else { Value::Quoted(stretch) };
        self.push(Node { value, start: at.start, end: at.end, weight: 1, height: 1 })
    }

    /// Starts a sequence or mapping.
    pub(crate) fn open(&mut self, mapping: bool, at: Place) -> Result<(), Fault> {
        if self.open.len() + 1 >= self.limits.depth {
            return Err(self.too_deep(at));
        }
        self.open.push(Open { mapping, start: at.start, first: self.pending.len() });
        Ok(())
    }

    /// Ends the innermost sequence or mapping.
    pub(crate) fn close(&mut self, at: Place) -> Result<Option<NodeId>, Fault> {
        let Some(open) = self.open.pop() else { return Ok(None) };
        let first = self.items.len();
        self.items.extend(self.pending.drain(open.first..));
        let range = first..self.items.len();
        let (mut height, mut weight) = (0, 1_u32);
        for id in &self.items[range.clone()] {
            let child = &self.nodes[id.0 as usize];
            height = height.max(child.height);
            weight = weight.saturating_add(child.weight);
        }
        if weight as usize > self.limits.nodes {
            let message = format!("aliases unfold to more than {} values", self.limits.nodes);
            return Err(Fault::new(
                Code::Limit,
                at,
                &message,
                "write out what is meant, in separate objects",
            ));
        }
        if open.mapping {
            self.check_keys(range.clone())?;
        }
        let stretch = Stretch::new(range);
        let value = if open.mapping { Value::Mapping(stretch) } else { Value::Sequence(stretch) };
        let (start, end) = (open.start, at.end.max(open.start));
        self.push(Node { value, start, end, weight, height: height.saturating_add(1) }).map(Some)
    }

    /// A node once more.
    pub(crate) fn alias(&mut self, id: NodeId, at: Place) -> Result<(), Fault> {
        if self.open.len() + usize::from(self.nodes[id.0 as usize].height) > self.limits.depth {
            return Err(self.too_deep(at));
        }
        self.attach(id);
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<NodeId, Fault> {
        let at = Place { part: self.part, start: node.start, end: node.end };
        let too_many = || {
            let message = format!("more than {} values in one document", self.limits.nodes);
            Fault::new(Code::Limit, at, &message, "split it into several documents")
        };
        let id = u32::try_from(self.nodes.len()).ok().filter(|_| self.nodes.len() < self.limits.nodes);
        let id = NodeId(id.ok_or_else(too_many)?);
        self.nodes.push(node);
        self.attach(id);
        Ok(id)
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
        Fault::new(
            Code::Limit,
            at,
            &message,
            "no object needs that depth; check the brackets and the indentation",
        )
    }

    /// Keys are scalars, each once, and none merges another mapping in.
    fn check_keys(&self, range: Range<usize>) -> Result<(), Fault> {
        let place = |id: NodeId| {
            let node = &self.nodes[id.0 as usize];
            Place { part: self.part, start: node.start, end: node.end }
        };
        let mut keys = Vec::with_capacity(range.len() / 2);
        for id in self.items[range].iter().step_by(2) {
            let (stretch, plain) = match self.nodes[id.0 as usize].value {
                Value::Plain(stretch) => (stretch, true),
                Value::Quoted(stretch) => (stretch, false),
                Value::Sequence(_) | Value::Mapping(_) => {
                    let message = "a key must be text, not a list or a mapping";
                    return Err(Fault::new(Code::Syntax, place(*id), message, "write the key as plain text"));
                }
            };
            let text = &self.text[stretch.range()];
            if plain && text == "<<" {
                let help =
                    "YAML 1.2 has no merge keys; write the fields out, or use an alias for a whole value";
                return Err(Fault::new(Code::Syntax, place(*id), "merge keys (`<<`) are not read", help));
            }
            keys.push((text, *id));
        }
        keys.sort_unstable();
        // Of several keys that are there twice, the one that comes twice first: there another object may start.
        let twice = || keys.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let Some((key, second, first)) = twice()
            .map(|pair| (pair[0].0, pair[1].1, pair[0].1))
            .min_by_key(|(_, second, _)| place(*second).start)
        else {
            return Ok(());
        };
        let objects = twice().any(|pair| matches!(pair[0].0, "apiVersion" | "kind"));
        let help = match (objects, self.open.is_empty()) {
            (true, true) => {
                "if another object starts here, put a line `---` before it; if not, keep one of them"
            }
            (true, false) => "if another object starts here, begin it with `- `; if not, keep one of them",
            (false, _) => "keep one of them; a YAML reader could take either",
        };
        Err(Fault {
            code: Code::DuplicateKey,
            at: place(second),
            also: Some((place(first), "first here")),
            message: format!("the key {} is there twice", quoted(key)),
            help: Some(help.to_owned()),
        })
    }
}
