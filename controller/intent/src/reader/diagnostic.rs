//! What is wrong, where, and what to do about it.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::source::{Location, SourceFile};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The intent cannot be used.
    Error,
    /// It can, but hardly means what its author thinks.
    Warning,
}

/// What kind of fault it is. Stable: programs may test it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A file or folder cannot be read.
    File,
    /// In no encoding of YAML, or characters that YAML does not allow.
    Encoding,
    /// Not YAML.
    Syntax,
    /// Too large, too deep, too many.
    Limit,
    /// A key twice in one mapping.
    DuplicateKey,
    /// Not an object, or of a kind or version that is not read.
    Kind,
    /// A field that the kind does not have.
    UnknownField,
    /// A field that must be there is not.
    MissingField,
    /// A string where a number belongs, and the like.
    WrongType,
    /// A number or word that YAML 1.1 and YAML 1.2 read differently.
    Ambiguous,
    /// Outside of what the field may say.
    InvalidValue,
    /// Not an IP address or CIDR.
    InvalidAddress,
    /// Two objects of one kind and name, two rules, two ports.
    DuplicateName,
    /// A name that nothing has.
    UnknownReference,
    /// Two that claim the same address, port or VLAN.
    Overlap,
    /// Fields that cannot both be meant.
    Conflict,
    /// A group that contains itself.
    Cycle,
    /// A rule that no packet can match.
    NeverMatches,
    /// Something that Kubernetes has and Outplane has not, or a protocol without a driver.
    Unsupported,
    /// Warning: an object was not read.
    Skipped,
    /// Warning: a CIDR had host bits.
    HostBits,
    /// Warning: a policy or peer that selects nothing.
    SelectsNothing,
    /// Warning: policies go by labels or names of what is not there, or has none.
    MissingObject,
    /// Warning: something that nothing uses.
    Unused,
    /// Warning: a rule that has expired.
    Expired,
    /// Warning: what a rule lets through is not answered.
    RepliesLost,
    /// Warning: a rate limit counts a packet twice.
    RateLimit,
    /// Warning: any source address may enter, or one may not that can hardly be kept out on purpose.
    Spoofing,
    /// For faults that others find in an intent: something else becomes of a packet than an Expectation says.
    ExpectationFailed,
    /// For faults that others find in an intent: it does not fit a switch.
    Capacity,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 29] = [
        Self::File,
        Self::Encoding,
        Self::Syntax,
        Self::Limit,
        Self::DuplicateKey,
        Self::Kind,
        Self::UnknownField,
        Self::MissingField,
        Self::WrongType,
        Self::Ambiguous,
        Self::InvalidValue,
        Self::InvalidAddress,
        Self::DuplicateName,
        Self::UnknownReference,
        Self::Overlap,
        Self::Conflict,
        Self::Cycle,
        Self::NeverMatches,
        Self::Unsupported,
        Self::Skipped,
        Self::HostBits,
        Self::SelectsNothing,
        Self::Unused,
        Self::Expired,
        Self::RepliesLost,
        Self::RateLimit,
        Self::Spoofing,
        Self::ExpectationFailed,
        Self::Capacity,
    ];

    /// Its name, as in `--output json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Encoding => "encoding",
            Self::Syntax => "syntax",
            Self::Limit => "limit",
            Self::DuplicateKey => "duplicate-key",
            Self::Kind => "kind",
            Self::UnknownField => "unknown-field",
            Self::MissingField => "missing-field",
            Self::WrongType => "wrong-type",
            Self::Ambiguous => "ambiguous",
            Self::InvalidValue => "invalid-value",
            Self::InvalidAddress => "invalid-address",
            Self::DuplicateName => "duplicate-name",
            Self::UnknownReference => "unknown-reference",
            Self::Overlap => "overlap",
            Self::Conflict => "conflict",
            Self::Cycle => "cycle",
            Self::NeverMatches => "never-matches",
            Self::Unsupported => "unsupported",
            Self::Skipped => "skipped",
            Self::HostBits => "host-bits",
            Self::SelectsNothing => "selects-nothing",
            Self::MissingObject => "missing-object",
            Self::Unused => "unused",
            Self::Expired => "expired",
            Self::RepliesLost => "replies-lost",
            Self::RateLimit => "rate-limit",
            Self::Spoofing => "spoofing",
            Self::ExpectationFailed => "expectation-failed",
            Self::Capacity => "capacity",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A stretch of a file that a message points to.
#[derive(Clone, Debug)]
pub struct Label {
    pub(crate) file: Arc<SourceFile>,
    /// Bytes.
    pub(crate) offset: usize,
    pub(crate) length: usize,
    pub(crate) text: Option<String>,
}

impl Label {
    /// Long stretches are cut: at their first line's end and after this many bytes.
    const LONGEST: usize = 160;

    pub(crate) fn new(file: Arc<SourceFile>, start: usize, end: usize) -> Self {
        let stretch = file.text().get(start..end.max(start)).unwrap_or_default();
        let line = stretch.lines().next().unwrap_or_default().trim_end();
        let length =
            if line.len() > Self::LONGEST { line.floor_char_boundary(Self::LONGEST) } else { line.len() };
        Self { file, offset: start, length, text: None }
    }

    /// What stands there.
    pub(crate) fn stretch(&self) -> &str {
        self.file.text().get(self.offset..self.offset + self.length).unwrap_or_default()
    }

    /// With words beside it.
    #[must_use]
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Where it starts.
    pub fn location(&self) -> Location {
        let (line, column) = self.file.line_and_column(self.offset);
        Location { file: self.file.name().to_owned(), line, column }
    }

    /// The words beside it.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

/// One error or warning.
///
/// It is a `miette::Diagnostic`, so that any of miette's handlers can show it with an excerpt of the file;
/// [`Self::render`] does so. It serialises as
/// `{severity, code, object, message, help, file, line, column, related: [{file, line, column, message}]}`,
/// where what is not known is `null`.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Diagnostic {
    severity: Severity,
    code: Code,
    object: Option<String>,
    message: String,
    help: Option<String>,
    at: Option<Label>,
    path: Option<String>,
    related: Vec<Label>,
}

impl Diagnostic {
    /// A message that points nowhere yet.
    pub fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            object: None,
            message: message.into(),
            help: None,
            at: None,
            path: None,
            related: Vec::new(),
        }
    }

    /// About an object, named as in [`super::Sources`].
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Pointing to a place in a file.
    #[must_use]
    pub fn at(mut self, label: Label) -> Self {
        self.at = Some(label);
        self
    }

    /// About a file as a whole.
    #[must_use]
    pub fn of_file(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Pointing to another place too.
    #[must_use]
    pub fn also(mut self, label: Label) -> Self {
        self.related.push(label);
        self
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Its kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The object that it is about, named as in [`super::Sources`].
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// What is wrong, without the object's name.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The file that it is about.
    pub fn file(&self) -> Option<&str> {
        self.at.as_ref().map(|label| label.file.name()).or(self.path.as_deref())
    }

    /// Where it points.
    pub fn location(&self) -> Option<Location> {
        self.at.as_ref().map(Label::location)
    }

    /// Line, from 1.
    pub fn line(&self) -> Option<usize> {
        self.location().map(|location| location.line)
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> Option<usize> {
        self.location().map(|location| location.column)
    }

    /// The other places that have to do with it.
    pub fn related_places(&self) -> &[Label] {
        &self.related
    }

    pub(crate) fn label(&self) -> Option<&Label> {
        self.at.as_ref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Related<'a> {
            #[serde(flatten)]
            location: Location,
            message: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Form<'a> {
            severity: Severity,
            code: Code,
            object: Option<&'a str>,
            message: &'a str,
            help: Option<&'a str>,
            file: Option<&'a str>,
            line: Option<usize>,
            column: Option<usize>,
            related: Vec<Related<'a>>,
        }
        let location = self.location();
        Form {
            severity: self.severity,
            code: self.code,
            object: self.object(),
            message: &self.message,
            help: self.advice(),
            file: self.file(),
            line: location.as_ref().map(|location| location.line),
            column: location.as_ref().map(|location| location.column),
            related: self
                .related
                .iter()
                .map(|label| Related { location: label.location(), message: label.text() })
                .collect(),
        }
        .serialize(serializer)
    }
}

/// Why an intent could not be read: every error that was found, in order of files and places, and the warnings.
///
/// Never without errors. As a `miette::Diagnostic` it has them all as related ones.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Diagnostics {
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) omitted: usize,
}

impl Diagnostics {
    /// The errors, at least one.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// The warnings.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// How many more errors there were than are kept here.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.errors.len() + self.omitted;
        write!(f, "{found} {}", if found == 1 { "error" } else { "errors" })?;
        match self.warnings.len() {
            0 => {}
            1 => f.write_str(" and 1 warning")?,
            many => write!(f, " and {many} warnings")?,
        }
        f.write_str(" in the policy files")?;
        if self.omitted > 0 {
            write!(f, " (the first {} are given, and {} more left out)", self.errors.len(), self.omitted)?;
        }
        Ok(())
    }
}
