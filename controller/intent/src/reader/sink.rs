//! What was found wrong, before anybody has to see it: places are looked up once it is told.

use super::decode::Problem;
use super::diagnostic::{Diagnostic, Severity};
use super::sources::Sources;

/// A fault, and what it is about.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// Of an object (empty: of none), at a place.
    Placed(String, Problem),
    /// Told already: it has no place.
    Told(Diagnostic),
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Told(diagnostic)
    }
}

impl Report {
    fn severity(&self) -> Severity {
        match self {
            Self::Placed(_, problem) => problem.severity(),
            Self::Told(diagnostic) => diagnostic.severity(),
        }
    }

    /// The object that it is about; empty: none.
    pub(crate) fn object(&self) -> &str {
        match self {
            Self::Placed(object, _) => object,
            Self::Told(diagnostic) => diagnostic.object().unwrap_or_default(),
        }
    }

    /// As people and programs get it.
    pub(crate) fn diagnostic(&self, sources: &Sources) -> Diagnostic {
        match self {
            Self::Placed(object, problem) => problem.diagnostic(sources, object),
            Self::Told(diagnostic) => diagnostic.clone(),
        }
    }
}

/// Collects faults, up to a limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    pub(crate) errors: Vec<Report>,
    pub(crate) warnings: Vec<Report>,
    pub(crate) omitted_errors: usize,
    pub(crate) omitted_warnings: usize,
    limit: usize,
}

impl Sink {
    pub(crate) fn new(limit: usize) -> Self {
        Self { errors: Vec::new(), warnings: Vec::new(), omitted_errors: 0, omitted_warnings: 0, limit }
    }

    pub(crate) fn push(&mut self, report: impl Into<Report>) {
        let report = report.into();
        let (list, omitted) = match report.severity() {
            Severity::Error => (&mut self.errors, &mut self.omitted_errors),
            Severity::Warning => (&mut self.warnings, &mut self.omitted_warnings),
        };
        if list.len() < self.limit {
            list.push(report);
        } else {
            *omitted += 1;
        }
    }

    /// Takes warnings over, as if they were found behind its own.
    pub(crate) fn warn_of(&mut self, warnings: &[Report], omitted: usize) {
        let room = self.limit.saturating_sub(self.warnings.len());
        self.warnings.extend(warnings.iter().take(room).cloned());
        self.omitted_warnings += warnings.len().saturating_sub(room) + omitted;
    }

    /// Counts an error that nobody will see.
    pub(crate) fn omit_error(&mut self) {
        self.omitted_errors += 1;
    }

    /// Counts a warning that nobody will see.
    pub(crate) fn omit_warning(&mut self) {
        self.omitted_warnings += 1;
    }

    /// Whether there is still room for errors. When not, nobody needs to look for more.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= self.limit
    }

    /// Whether another warning would only be counted.
    pub(crate) fn is_full_of_warnings(&self) -> bool {
        self.warnings.len() >= self.limit
    }

    pub(crate) fn error_count(&self) -> usize {
        self.errors.len() + self.omitted_errors
    }
}
