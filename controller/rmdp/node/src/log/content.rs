//! What the parts of a generation are as bytes: in lines, so that one edit stays a small delta. Pure.
//!
//! ```text
//! apply, live/<source>:  {"name":"policies/edge.yaml","bytes":5120}     and so many bytes, and a line feed; so for each file
//! desired:               9f..e1 120 7 3b..0d "leaf1"                    SHA-256 of the blob, its entries, the generation that
//!                                                                       has begun to say so, a hash of how the switch is
//!                                                                       reached, the switch
//! numbers:               whatever the compiler writes
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use outplane_rmdp_core::object::{DesiredState, Generation, Part, PolicyFile};
use outplane_rmdp_core::task::Digest;
use serde::{Deserialize, Serialize};

/// A part, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The hash of the bytes.
    pub(crate) sha256: Digest,
    /// See the module.
    pub(crate) bytes: Bytes,
}

impl Content {
    /// Of these bytes.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { sha256: Digest::of(&bytes), bytes }
    }
}

/// The parts of a generation.
pub(crate) type Contents = BTreeMap<Part, Content>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'a> {
    name: std::borrow::Cow<'a, str>,
    bytes: usize,
}

/// The parts that a generation has. One that says nothing of something has no such part.
pub(crate) fn contents(record: &Generation) -> Contents {
    let mut contents = Contents::new();
    let mut add = |part, bytes| contents.insert(part, Content::new(bytes));
    if !record.files.is_empty() {
        add(Part::Apply, files(&record.files));
    }
    for (source, of) in &record.sources {
        add(Part::Live(source.clone()), files(of));
    }
    if !record.desired.is_empty() {
        add(Part::Desired, desired(record));
    }
    if let Some(numbers) = &record.numbers {
        add(Part::Numbers, Bytes::copy_from_slice(numbers));
    }
    contents
}

/// Writes a part into a generation.
///
/// # Errors
/// In words: the bytes are no such part.
pub(crate) fn put(record: &mut Generation, part: &Part, bytes: &[u8]) -> Result<(), String> {
    match part {
        Part::Apply => record.files = read_files(bytes)?,
        Part::Live(source) => _ = record.sources.insert(source.clone(), read_files(bytes)?),
        Part::Desired => (record.desired, record.since) = read_desired(record.generation, bytes)?,
        Part::Numbers => record.numbers = Some(Arc::from(bytes)),
    }
    Ok(())
}

fn files(files: &[PolicyFile]) -> Bytes {
    let length = files.iter().map(|file| file.name.len() + file.text.len() + 64).sum();
    let mut bytes = Vec::with_capacity(length);
    for PolicyFile { name, text } in files {
        let head = Head { name: name.into(), bytes: text.len() };
        serde_json::to_writer(&mut bytes, &head).expect("a string and a number");
        bytes.push(b'\n');
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
    }
    bytes.into()
}

fn read_files(mut bytes: &[u8]) -> Result<Vec<PolicyFile>, String> {
    let mut files = Vec::new();
    let broken = || "a file is not whole".to_owned();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let head: Head<'_> = serde_json::from_slice(&bytes[..end]).map_err(|error| error.to_string())?;
        let rest = &bytes[end + 1..];
        let (text, rest) = rest.split_at_checked(head.bytes).ok_or_else(broken)?;
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?.to_owned();
        bytes = rest.strip_prefix(b"\n").ok_or_else(broken)?;
        files.push(PolicyFile { name: head.name.into_owned(), text });
    }
    Ok(files)
}

fn desired(record: &Generation) -> Bytes {
    let mut bytes = Vec::new();
    for (switch, DesiredState { sha256, entries, place }) in &record.desired {
        let since = record.since(switch);
        bytes.extend_from_slice(format!("{sha256} {entries} {since} {place:016x} ").as_bytes());
        serde_json::to_writer(&mut bytes, switch).expect("a string");
        bytes.push(b'\n');
    }
    bytes.into()
}

/// What each switch should hold, and the generations before this one that have begun to say so.
type Desired = (BTreeMap<String, DesiredState>, BTreeMap<String, u64>);

fn read_desired(generation: u64, bytes: &[u8]) -> Result<Desired, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let line = |line: &str| -> Option<(String, DesiredState, u64)> {
        let (sha256, rest) = line.split_once(' ')?;
        let (entries, rest) = rest.split_once(' ')?;
        let (sha256, entries) = (sha256.parse().ok()?, entries.parse().ok()?);
        // Before they said since when, each generation had a task for each switch.
        if rest.starts_with('"') {
            let state = DesiredState { sha256, entries, place: 0 };
            return Some((serde_json::from_str(rest).ok()?, state, generation));
        }
        let (since, rest) = rest.split_once(' ')?;
        let (place, switch) = rest.split_once(' ')?;
        let since = since.parse().ok().filter(|since| (1..=generation).contains(since))?;
        let state = DesiredState { sha256, entries, place: u64::from_str_radix(place, 16).ok()? };
        Some((serde_json::from_str(switch).ok()?, state, since))
    };
    let (mut desired, mut before) = Desired::default();
    for of in text.lines() {
        let (switch, state, since) = line(of).ok_or("a line that is no switch's desired state")?;
        if since < generation {
            before.insert(switch.clone(), since);
        }
        desired.insert(switch, state);
    }
    Ok((desired, before))
}
