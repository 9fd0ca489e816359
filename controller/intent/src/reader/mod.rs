//! Reads policy files: YAML (and so JSON) with our kinds and those of Kubernetes, as `kubectl get -o yaml` prints them.
//!
//! Text becomes documents ([`yaml`], [`json`]), documents become objects as they were said, each checked by itself ([`objects`]
//! and the modules of the kinds), and these become one [`Intent`] once all their names are resolved ([`resolve`]).
//! Nothing stops at the first fault: all of them are reported at once, each with its place, an excerpt and a hint.
//! docs/intent.md describes every kind and field for users.

mod annotations;
mod cluster_policy;
mod cure;
mod cut;
mod declaration;
mod declared;
mod decode;
mod defaults;
mod diagnostic;
mod encoding;
mod expectation;
mod files;
mod filter;
mod hints;
mod incremental;
mod json;
mod labels;
mod limits;
mod network;
mod network_policy;
mod objects;
mod pods;
mod render;
mod resolve;
mod scalar;
mod selector;
mod sink;
mod source;
mod sources;
mod traffic;
mod tree;
mod values;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

pub use self::cut::{Cut, End, Missing, UNMARKED, cut, end, last_rule};
pub use self::diagnostic::{Code, Diagnostic, Diagnostics, Label, Severity};
pub use self::files::STDIN;
pub use self::incremental::{IncrementalReader, Reread};
pub use self::limits::Limits;
pub use self::source::{Location, SourceFile};
pub use self::sources::Sources;
pub use self::values::parse_mac;

use self::decode::Problem;
pub(crate) use self::hints::service;
use self::objects::Objects;
use self::sink::{Report, Sink};
use crate::advice;
use crate::deciders;
use crate::expectation::Expectations;
use crate::model::Intent;

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The intent, checked.
    pub intent: Intent,
    /// What should become of which packets.
    pub expectations: Expectations,
    /// Why packets of Expectations cannot be judged: what they name is not there. Whoever judges them has to tell it.
    pub unjudged: Vec<Diagnostic>,
    /// Where its objects and rules were said.
    pub sources: Sources,
    /// What looks like a mistake, in order of files and places.
    pub warnings: Vec<Diagnostic>,
    /// How many more warnings there were than are kept here.
    pub omitted_warnings: usize,
}

impl Loaded {
    /// Warnings for the rules that have expired at a moment. The reader has no clock, so this is apart.
    pub fn expired(&self, at: Timestamp) -> Vec<Diagnostic> {
        let mut warnings = Vec::new();
        for (name, policy) in &self.intent.filters {
            let object = deciders::filter_policy(name);
            for rule in &policy.rules {
                if let Some(expires) = rule.expires.filter(|expires| *expires <= at) {
                    let message = format!("rule {} has expired at {expires}", rule.name);
                    let code = Code::Expired;
                    let warning =
                        self.sources.diagnostic(Severity::Warning, code, &object, Some(&rule.name), message);
                    warnings.push(warning.help("remove it, or give it a later `expires`"));
                }
            }
        }
        warnings
    }
}

/// Warnings for what is allowed and can hardly be meant, as of a moment, and whether that is all of them: if not, what is
/// not. Packets are judged for it: for whoever shows them.
pub fn advice(intent: &Intent, sources: &Sources, at: Timestamp) -> (Vec<Diagnostic>, Option<String>) {
    let found = advice::find(intent, at);
    let warning = |item: advice::Item| {
        let code = match item.kind {
            advice::Kind::Unreached { .. } => Code::NeverMatches,
            advice::Kind::RepliesLost(_) => Code::RepliesLost,
            advice::Kind::CountedTwice { .. } => Code::RateLimit,
            advice::Kind::NoEntrance { .. } => Code::Spoofing,
        };
        let rule = item.rule.as_deref();
        let warning = sources.diagnostic(Severity::Warning, code, &item.object, rule, item.message);
        warning.help(item.help)
    };
    (found.items.into_iter().map(warning).collect(), found.incomplete)
}

/// Reads files and folders.
///
/// Folders are read with their folders, files that end with `.yaml`, `.yml` or `.json` in the order of their names,
/// hidden ones left out. `-` is standard input. A file that several paths lead to is read once.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, Diagnostics> {
    load_within(paths, &Limits::default())
}

/// Reads files and folders within limits of one's own.
pub fn load_within(paths: &[PathBuf], limits: &Limits) -> Result<Loaded, Diagnostics> {
    let mut sink = Sink::new(limits.diagnostics);
    let texts = files::read(paths, limits, &mut sink);
    read(source_files(texts), limits, sink)
}

/// Reads texts, each under the name that messages shall call it. Relative paths in a Switch's `tls` are joined to
/// the folder of that name.
pub fn parse<N: Into<String>, T: Into<String>>(
    texts: impl IntoIterator<Item = (N, T)>,
) -> Result<Loaded, Diagnostics> {
    parse_within(texts, &Limits::default())
}

/// Reads texts within limits of one's own.
pub fn parse_within<N: Into<String>, T: Into<String>>(
    texts: impl IntoIterator<Item = (N, T)>,
    limits: &Limits,
) -> Result<Loaded, Diagnostics> {
    read(source_files(texts), limits, Sink::new(limits.diagnostics))
}

fn source_files<N: Into<String>, T: Into<String>>(
    texts: impl IntoIterator<Item = (N, T)>,
) -> Vec<Arc<SourceFile>> {
    texts.into_iter().map(|(name, text)| Arc::new(SourceFile::new(name, text))).collect()
}

fn read(files: Vec<Arc<SourceFile>>, limits: &Limits, sink: Sink) -> Result<Loaded, Diagnostics> {
    // Files that could not be read may hold what others name.
    let mut complete = sink.error_count() == 0;
    let mut objects = Objects::new(sink, Sources::default());
    let mut documents_left = limits.documents;
    let mut bytes_left = limits.total_bytes;
    for source in files {
        let file = objects.sources.add_file(source.clone());
        let Some(left) =
            bytes_left.checked_sub(source.text().len()).filter(|_| source.text().len() <= limits.file_bytes)
        else {
            complete = false;
            let message = format!("{} has more bytes than are read", source.name());
            let fault = Diagnostic::new(Severity::Error, Code::Limit, message).of_file(source.name());
            objects.sink.push(fault.help(format!(
                "at most {} bytes of a file are read, and {} of all files",
                limits.file_bytes, limits.total_bytes
            )));
            continue;
        };
        bytes_left = left;
        if let Some(fault) = forbidden_character(&source) {
            complete = false;
            objects.sink.push(fault);
            continue;
        }
        complete &= documents(&mut objects, &source, file, limits, &mut documents_left);
    }
    for (object, places) in std::mem::take(&mut objects.placed) {
        objects.sources.add_object(object, places);
    }
    let (intent, expectations, mut unjudged) = resolve::resolve(&mut objects, limits, complete);
    let Objects { mut sink, sources, .. } = objects;
    let warnings = in_order(&sink.warnings, &sources);
    if !sink.errors.is_empty() {
        sink.errors.append(&mut unjudged);
        let errors = in_order(&sink.errors, &sources);
        return Err(Diagnostics { errors, warnings, omitted: sink.omitted_errors });
    }
    let (unjudged, omitted_warnings) = (in_order(&unjudged, &sources), sink.omitted_warnings);
    Ok(Loaded { intent, expectations, unjudged, sources, warnings, omitted_warnings })
}

/// Reads a file's documents; whether all of them could be read.
fn documents(
    objects: &mut Objects,
    source: &SourceFile,
    file: u32,
    limits: &Limits,
    documents_left: &mut usize,
) -> bool {
    let report = |objects: &mut Objects, fault: tree::Fault| {
        let fault = cure::better(source, fault);
        let mut problem = Problem::error(fault.code, fault.at, fault.message);
        if let Some(help) = fault.help {
            problem = problem.help(help);
        }
        if let Some((at, text)) = fault.also {
            problem = problem.also(at, text);
        }
        objects.sink.push(problem.of(""));
    };
    let mut not_json = None;
    if json::looks_like(source.text()) && *documents_left > 0 {
        match json::read(source, file, *limits) {
            Ok(document) => {
                *documents_left -= 1;
                if let Some(document) = document {
                    objects.read(document.root(), None);
                }
                return true;
            }
            Err(fault) if fault.code == Code::Syntax => not_json = Some(fault),
            Err(fault) => {
                report(objects, fault);
                return false;
            }
        }
    }
    let says_json = Path::new(source.name()).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let mut complete = true;
    let mut documents = yaml::Documents::new(source, file, *limits);
    while let Some(document) = documents.next(documents_left) {
        match document {
            Ok(document) => objects.read(document.root(), None),
            Err(fault) => {
                complete = false;
                // A template has faults wherever it was to be filled in. One is enough.
                if let Some(template) = cure::template(source, &fault) {
                    report(objects, template);
                    break;
                }
                // Of a file that says it is JSON, YAML's reading is not what its author wants to hear.
                let fault = not_json.take().filter(|_| says_json).unwrap_or(fault);
                report(objects, fault);
            }
        }
        if objects.sink.is_full() {
            break;
        }
    }
    complete
}

/// YAML has no control characters but tab and line breaks (YAML 1.2.2, section 5.1), and no lone carriage returns
/// are read, so that everybody counts lines alike.
fn forbidden_character(source: &Arc<SourceFile>) -> Option<Diagnostic> {
    let (at, character) = forbidden(source.text())?;
    let (line, column) = source.line_and_column(at);
    let message = format!(
        "{}:{line}:{column}: the character U+{:04X} has no place in YAML",
        source.name(),
        u32::from(character)
    );
    let fault = Diagnostic::new(Severity::Error, Code::Encoding, message).of_file(source.name());
    Some(fault.help("remove it; in double quotes it can be written as an escape"))
}

/// The first character of a text that is not read.
fn forbidden(text: &str) -> Option<(usize, char)> {
    let bad = |(at, character): (usize, char)| match character {
        '\t' | '\n' | '\u{85}' => false,
        '\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
        // A byte order mark may start a document, as where files were joined; the parser knows where one starts.
        '\u{feff}' => at > 0 && text.as_bytes().get(at - 1) != Some(&b'\n'),
        other => other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}'),
    };
    text.char_indices().find(|found| bad(*found))
}

/// Told by file and place; what has no place comes first.
fn in_order(reports: &[Report], sources: &Sources) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<_> = reports.iter().map(|report| report.diagnostic(sources)).collect();
    let files = sources.files();
    diagnostics.sort_by_cached_key(|diagnostic| {
        diagnostic.label().map(|label| {
            let file = files.iter().position(|file| Arc::ptr_eq(file, &label.file)).unwrap_or(files.len());
            (file, label.offset)
        })
    });
    diagnostics
}
