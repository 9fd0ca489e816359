//! What is wrong with a file: all of it, each with its place and its cure.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// Line, from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// Character in the line, from 1; 0 where it is about the file as a whole.
    pub column: usize,
    /// The key with its table, such as `store.bucket`; empty if it is about no key.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub cure: String,
}

/// A file that a node cannot start with.
#[derive(Debug, Error)]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, in the order of the lines; at least one.
    pub problems: Vec<FileProblem>,
}

impl FileError {
    pub(super) fn unreadable(file: &Path, why: &str) -> Self {
        let problem = FileProblem {
            line: 0,
            column: 0,
            key: String::new(),
            what: format!("cannot be read: {why}"),
            cure: "name the node's file; examples/nodes has some to start from".to_owned(),
        };
        Self { file: file.to_owned(), problems: vec![problem] }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if problem.line > 0 {
                write!(f, ":{}:{}", problem.line, problem.column)?;
            }
            write!(f, ": ")?;
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            write!(f, "{}; {}", problem.what, problem.cure)?;
        }
        Ok(())
    }
}

/// Problems as they are found.
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<FileProblem>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Notes a problem at bytes `span` of the text.
    pub(super) fn add(
        &mut self,
        span: &Range<usize>,
        key: &str,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let (line, column) = self.place(span.start);
        self.found.push(FileProblem {
            line,
            column,
            key: key.to_owned(),
            what: what.into(),
            cure: cure.into(),
        });
    }

    pub(super) fn any(&self) -> bool {
        !self.found.is_empty()
    }

    pub(super) fn into_error(mut self, file: &Path) -> FileError {
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        FileError { file: file.to_owned(), problems: self.found }
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        (line, column)
    }
}
