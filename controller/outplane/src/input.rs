//! Policies from files, and what is said when they are wrong.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outplane_intent::expectation::Expectations;
use outplane_intent::model::Intent;
use outplane_intent::reader::{self, Code, Diagnostic, Diagnostics, Sources};
use serde::Serialize;

use crate::options::{Format, PolicyFiles};
use crate::output::{BAD, WARN, count, styled};

/// What was read.
pub(crate) struct Input {
    /// The intent.
    pub(crate) intent: Intent,
    /// What should become of which packets.
    pub(crate) expectations: Expectations,
    /// Why others of them cannot be judged.
    pub(crate) unjudged: Vec<Diagnostic>,
    /// Where it was said.
    pub(crate) sources: Sources,
    /// What came through pipes, by the names of the sources: they may have ended early.
    pub(crate) pipes: Vec<String>,
    /// As of when.
    pub(crate) at: Timestamp,
    /// Warnings, in order of files and places.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Warnings that were too many to keep.
    pub(crate) omitted_warnings: usize,
}

impl Input {
    /// What was read, as of a moment.
    pub(crate) fn of(loaded: reader::Loaded, at: Timestamp) -> Self {
        let mut warnings = loaded.warnings.clone();
        warnings.extend(loaded.expired(at));
        Self {
            intent: loaded.intent,
            expectations: loaded.expectations,
            unjudged: loaded.unjudged,
            sources: loaded.sources,
            pipes: Vec::new(),
            at,
            warnings,
            omitted_warnings: loaded.omitted_warnings,
        }
    }

    /// How many objects of kinds that are not read there are, in words; empty where there are none.
    pub(crate) fn skipped(&self) -> String {
        let skipped = self.warnings.iter().filter(|warning| warning.code() == Code::Skipped).count();
        match (skipped, self.expectations.is_empty()) {
            (0, true) => String::new(),
            (_, true) => " of kinds that are read".to_owned(),
            (_, false) => " but Expectations".to_owned(),
        }
    }
}

/// Reads everything. Warnings are left to `check`.
pub(crate) fn load(sources: &PolicyFiles) -> Result<Input, Refused> {
    let at = sources.when.timestamp();
    let pipes = sources.files.iter().filter_map(|file| pipe(file)).collect();
    Ok(Input { pipes, ..Input::of(read(&sources.files)?, at) })
}

/// What a pipe is called: standard input, or one by its name, as shells write `<(command)`.
fn pipe(file: &Path) -> Option<String> {
    if file.as_os_str() == "-" {
        return Some(reader::STDIN.to_owned());
    }
    let is_pipe = std::fs::metadata(file).is_ok_and(|about| about.file_type().is_fifo());
    is_pipe.then(|| file.display().to_string())
}

/// Reads files and folders.
pub(crate) fn read(files: &[PathBuf]) -> Result<reader::Loaded, Refused> {
    tracing::debug!(?files, "reading");
    reader::load(files).map_err(Refused::from)
}

/// Input that cannot be used, with every reason.
#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    /// The reasons, at least one.
    pub(crate) errors: Vec<Diagnostic>,
    /// What else was found.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Errors that were too many to keep.
    pub(crate) omitted_errors: usize,
}

impl From<Diagnostics> for Refused {
    fn from(diagnostics: Diagnostics) -> Self {
        Self {
            errors: diagnostics.errors().to_vec(),
            warnings: diagnostics.warnings().to_vec(),
            omitted_errors: diagnostics.omitted(),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&found(self.errors.len() + self.omitted_errors, self.warnings.len()))
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// Says the reasons on standard error.
    pub(crate) fn print(&self, format: Format) {
        match format {
            Format::Text => {
                // Warnings matter less than what must be repaired first; `check` shows them.
                explain(&self.errors, self.omitted_errors);
                let mut stderr = anstream::AutoStream::auto(std::io::stderr().lock());
                let _ = writeln!(stderr, "{}: {self}", styled(BAD, "error"));
            }
            Format::Json => {
                #[derive(Serialize)]
                struct Line<'a> {
                    error: String,
                    #[serde(flatten)]
                    refused: &'a Refused,
                }
                let line = Line { error: self.to_string(), refused: self };
                if let Ok(line) = serde_json::to_string(&line) {
                    let _ = writeln!(std::io::stderr().lock(), "{line}");
                }
            }
        }
    }
}

/// `2 errors and 1 warning`.
pub(crate) fn found(errors: usize, warnings: usize) -> String {
    let errors_text = count(errors, "error", "errors");
    let warnings_text = count(warnings, "warning", "warnings");
    match (errors, warnings) {
        (_, 0) => errors_text,
        (0, _) => warnings_text,
        _ => format!("{errors_text} and {warnings_text}"),
    }
}

/// Shows diagnostics with their places in the files, on standard error.
pub(crate) fn explain(diagnostics: &[Diagnostic], omitted: usize) {
    let mut stderr = anstream::AutoStream::auto(std::io::stderr().lock());
    let colours = std::io::stderr().is_terminal() && stderr.current_choice() != anstream::ColorChoice::Never;
    for diagnostic in diagnostics {
        let _ = writeln!(stderr, "{}", diagnostic.render(colours));
    }
    if omitted > 0 {
        let more = count(omitted, "more is", "more are");
        let _ = writeln!(stderr, "{}: {more} not shown", styled(WARN, "note"));
    }
}
