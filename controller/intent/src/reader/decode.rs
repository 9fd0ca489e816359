//! From nodes to values: fields of mappings, and the checks that every field needs.
//!
//! A method that returns `None` has reported why. Whoever calls goes on with the next field, so that all faults of
//! an object are found in one pass.

use std::ops::RangeInclusive;

use super::cure;
use super::diagnostic::{Code, Diagnostic, Severity};
use super::hints::{self, similar};
use super::render::{is_hidden, quoted};
use super::scalar::{Old, Plain};
use super::sink::{Report, Sink};
use super::source::{Place, Placed};
use super::sources::Sources;
use super::tree::{Cursor, Items, Said};

/// What decoding an object needs: where faults go, and which object it is.
pub(crate) struct Decoder<'r> {
    pub(crate) sink: &'r mut Sink,
    pub(crate) sources: &'r Sources,
    /// Name of the object, as in [`Sources`]; empty while it is not known.
    pub(crate) object: String,
}

/// A fault that has a place; it is reported when dropped into [`Decoder::report`].
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    severity: Severity,
    code: Code,
    at: Place,
    message: String,
    help: Option<String>,
    also: Vec<(Place, String)>,
}

impl Problem {
    pub(crate) fn error(code: Code, at: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, at, message: message.into(), help: None, also: Vec::new() }
    }

    pub(crate) fn warning(code: Code, at: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, at, message) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn also(mut self, at: Place, text: impl Into<String>) -> Self {
        self.also.push((at, text.into()));
        self
    }

    pub(crate) fn severity(&self) -> Severity {
        self.severity
    }

    /// Of an object, as it is named in [`Sources`]; empty: of none.
    pub(crate) fn of(self, object: &str) -> Report {
        Report::Placed(object.to_owned(), self)
    }

    /// As people and programs get it.
    pub(crate) fn diagnostic(&self, sources: &Sources, object: &str) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(self.severity, self.code, self.message.as_str());
        if !object.is_empty() {
            diagnostic = diagnostic.about(object);
        }
        let label = sources.label(self.at);
        let unrendered = label.as_ref().is_some_and(|label| cure::is_unrendered(label.stretch()));
        if let Some(label) = label {
            diagnostic = diagnostic.at(label);
        }
        if self.severity == Severity::Error && unrendered {
            diagnostic = diagnostic.help(cure::RENDER);
        } else if let Some(help) = &self.help {
            diagnostic = diagnostic.help(help.as_str());
        }
        for (at, text) in &self.also {
            if let Some(label) = sources.label(*at) {
                diagnostic = diagnostic.also(label.saying(text.as_str()));
            }
        }
        diagnostic
    }
}

impl Decoder<'_> {
    pub(crate) fn report(&mut self, problem: Problem) {
        self.sink.push(problem.of(&self.object));
    }

    /// Reports an error.
    pub(crate) fn error(&mut self, code: Code, at: Place, message: impl Into<String>, help: &str) {
        let problem = Problem::error(code, at, message);
        self.report(if help.is_empty() { problem } else { problem.help(help) });
    }

    /// The fields of `spec`, which must be there.
    pub(crate) fn spec<'d>(&mut self, spec: Option<Cursor<'d>>, at: Place) -> Option<Fields<'d>> {
        let Some(spec) = spec else {
            self.error(Code::MissingField, at, "this object has no `spec`", "add `spec: {...}`");
            return None;
        };
        self.fields(spec, "`spec`")
    }

    pub(crate) fn wrong_type(&mut self, at: Cursor<'_>, what: &str, expected: &str) {
        if let Said::Twofold(core, old) = at.said() {
            self.twofold(at, what, core, old);
            return;
        }
        let message = format!("{what} must be {expected}, not {}", describe(at));
        let problem = Problem::error(Code::WrongType, at.place(), message);
        let raw = at.raw().filter(|raw| raw.len() <= 40).unwrap_or_default();
        self.report(match at.said() {
            Said::Boolean(_) | Said::Integer(_) | Said::Float if expected.starts_with("text") => {
                problem.help(format!("put it in quotes: \"{raw}\""))
            }
            _ => match hints::form(at, what, expected, &self.object) {
                Some(help) => problem.help(help),
                None => problem,
            },
        });
    }

    /// What the versions of YAML read differently.
    fn twofold(&mut self, at: Cursor<'_>, what: &str, core: Plain, old: Old) {
        let raw = quoted(at.raw().unwrap_or_default());
        let bare = raw.replace('"', "");
        let new = match core {
            Plain::Integer(Some(number)) => number.to_string(),
            _ => format!("the text {raw}"),
        };
        let (old, readers) = match old {
            Old::Text => (format!("the text {raw}"), "YAML 1.1"),
            Old::Integer(_) | Old::Float(_) if bare.contains(':') => (old.to_string(), "YAML 1.1"),
            _ => (old.to_string(), "YAML 1.1 (kubectl, Helm)"),
        };
        let message = format!("{what} {bare} is {old} in {readers} and {new} in YAML 1.2");
        let help = match core {
            Plain::Integer(_) => {
                "write the number without leading zeros or `0o`; in quotes it is text".to_owned()
            }
            _ => format!("put it in quotes if text is meant: {raw}; if not, write {old}"),
        };
        self.report(Problem::error(Code::Ambiguous, at.place(), message).help(help));
    }

    /// A mapping's fields.
    pub(crate) fn fields<'d>(&mut self, at: Cursor<'d>, what: &str) -> Option<Fields<'d>> {
        let Said::Mapping(items) = at.said() else {
            self.wrong_type(at, what, "a mapping");
            return None;
        };
        Some(Fields { at, items, what: what.to_owned(), known: Vec::new() })
    }

    /// A list's items.
    pub(crate) fn list<'d>(&mut self, at: Cursor<'d>, what: &str) -> Option<Items<'d>> {
        let Said::Sequence(items) = at.said() else {
            self.wrong_type(at, what, "a list");
            return None;
        };
        Some(items)
    }

    /// A name that is shown as it is: without characters that would show something else.
    pub(crate) fn plain_name<'d>(&mut self, at: Cursor<'d>, what: &str) -> Option<&'d str> {
        let name = self.text(at, what)?;
        if !name.chars().any(is_hidden) {
            return Some(name);
        }
        let message = format!("{} is no name: it has characters that do not show", quoted(name));
        let help =
            "write it without control characters, those that turn the direction of text, and line breaks";
        self.error(Code::InvalidValue, at.place(), message, help);
        None
    }

    /// Text that is not empty.
    pub(crate) fn text<'d>(&mut self, at: Cursor<'d>, what: &str) -> Option<&'d str> {
        match at.said() {
            Said::Text("") => {
                self.error(Code::InvalidValue, at.place(), format!("{what} is empty"), "");
                None
            }
            Said::Text(text) => Some(text),
            _ => {
                self.wrong_type(at, what, "text");
                None
            }
        }
    }

    /// Whether two ends of a range of ports are in order; a fault at the higher one if not.
    pub(crate) fn in_order(&mut self, low: (&str, u16), high: (&str, u16), at: Place) -> bool {
        let in_order = low.1 <= high.1;
        if !in_order {
            let message = format!("`{}` {} is below `{}` {}", high.0, high.1, low.0, low.1);
            self.error(Code::InvalidValue, at, message, "a range runs from its lower to its higher port");
        }
        in_order
    }

    /// Text with its place.
    pub(crate) fn placed_text(&mut self, at: Cursor<'_>, what: &str) -> Option<Placed<String>> {
        self.text(at, what).map(|text| Placed { value: text.to_owned(), at: at.place() })
    }

    pub(crate) fn boolean(&mut self, at: Cursor<'_>, what: &str) -> Option<bool> {
        let Said::Boolean(value) = at.said() else {
            self.wrong_type(at, what, "true or false");
            return None;
        };
        Some(value)
    }

    /// A whole number in a range.
    pub(crate) fn number<N: TryFrom<i64>>(
        &mut self,
        at: Cursor<'_>,
        what: &str,
        range: RangeInclusive<i64>,
    ) -> Option<N> {
        let Said::Integer(number) = at.said() else {
            self.wrong_type(at, what, "a whole number");
            return None;
        };
        let fits = number.filter(|number| range.contains(number)).and_then(|number| N::try_from(number).ok());
        if fits.is_none() {
            let (low, high) = range.into_inner();
            let said = at.raw().unwrap_or_default();
            let message =
                format!("{what} must be from {low} to {high}, not {}", quoted(said).replace('"', ""));
            self.error(Code::InvalidValue, at.place(), message, "");
        }
        fits
    }

    /// One of some words, in any case.
    pub(crate) fn choice<T: Copy>(&mut self, at: Cursor<'_>, what: &str, choices: &[(&str, T)]) -> Option<T> {
        self.one_of(at, what, choices, str::eq_ignore_ascii_case)
    }

    /// One of some words as they are written here: those of Kubernetes' kinds, whose API server knows no others.
    pub(crate) fn word<T: Copy>(&mut self, at: Cursor<'_>, what: &str, choices: &[(&str, T)]) -> Option<T> {
        self.one_of(at, what, choices, str::eq)
    }

    fn one_of<T: Copy>(
        &mut self,
        at: Cursor<'_>,
        what: &str,
        choices: &[(&str, T)],
        same: fn(&str, &str) -> bool,
    ) -> Option<T> {
        if let Said::Boolean(_) | Said::Twofold(..) = at.said() {
            self.no_word(at, what, choices.iter().map(|(word, _)| *word));
            return None;
        }
        let text = self.text(at, what)?;
        let found = choices.iter().find(|(word, _)| same(word, text));
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let words = choices.iter().map(|(word, _)| *word);
        let message = format!("{what} must be {}, not {}", one_of(words.clone()), quoted(text));
        let help = self.suggest(text, words).map(|word| format!("did you mean {word}?")).unwrap_or_default();
        self.error(Code::InvalidValue, at.place(), message, &help);
        None
    }

    /// `no` or `true` where one of some words is wanted: quotes are no cure.
    fn no_word<'w>(&mut self, at: Cursor<'_>, what: &str, words: impl Iterator<Item = &'w str> + Clone) {
        let said = at.raw().unwrap_or_default();
        let code = if matches!(at.said(), Said::Twofold(..)) { Code::Ambiguous } else { Code::WrongType };
        let message = format!("{what} must be {}, not {said}", one_of(words));
        self.error(code, at.place(), message, "");
    }

    /// The word that was probably meant. Not looked for when nobody will see it: input can be nothing but typos.
    pub(crate) fn suggest<'a>(
        &self,
        name: &str,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.sink.is_full() { None } else { similar(name, words) }
    }
}

/// The fields of a mapping. Fields that nobody asks for are unknown, which [`Fields::finish`] reports.
pub(crate) struct Fields<'d> {
    at: Cursor<'d>,
    items: Items<'d>,
    what: String,
    known: Vec<&'static str>,
}

impl<'d> Fields<'d> {
    /// A field, if it is there and not null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<Cursor<'d>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let found = self.items.pairs().find(|(key, _)| key.raw() == Some(name));
        found.map(|(_, value)| value).filter(|value| !matches!(value.said(), Said::Null))
    }

    /// A field that must be there.
    pub(crate) fn require(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        example: &str,
    ) -> Option<Cursor<'d>> {
        let found = self.get(name);
        if found.is_none() {
            let message = format!("{} has no `{name}`", self.what);
            decoder.error(Code::MissingField, self.place(), message, &format!("add `{name}: {example}`"));
        }
        found
    }

    /// The place of a field's key.
    pub(crate) fn key(&self, name: &str) -> Option<Place> {
        self.items.pairs().find(|(key, _)| key.raw() == Some(name)).map(|(key, _)| key.place())
    }

    /// Where the mapping is: its first key.
    pub(crate) fn place(&self) -> Place {
        self.items.pairs().next().map_or_else(|| self.at.place(), |(key, _)| key.place())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    /// Reports fields that nobody asked for.
    pub(crate) fn finish(self, decoder: &mut Decoder<'_>) {
        for (key, value) in self.items.pairs() {
            let name = key.raw().unwrap_or_default();
            if self.known.contains(&name) {
                continue;
            }
            if decoder.sink.is_full() {
                decoder.sink.omit_error();
                continue;
            }
            let message = format!("{} has no field {}", self.what, quoted(name));
            let similar = similar(name, self.known.iter().copied());
            let help = match (hints::misplaced(name, value, &self.known), similar) {
                (Some(help), _) => help,
                (None, Some(meant)) => format!("did you mean `{meant}`?"),
                (None, None) if self.known.is_empty() => "it has no fields".to_owned(),
                (None, None) => format!("its fields are {}", self.known.join(", ")),
            };
            decoder.error(Code::UnknownField, key.place(), message, &help);
        }
    }
}

/// What a node is, in words.
fn describe(at: Cursor<'_>) -> String {
    match at.said() {
        Said::Null => "empty".to_owned(),
        Said::Boolean(value) => format!("{value}"),
        Said::Integer(_) | Said::Float => {
            format!("the number {}", at.raw().filter(|raw| raw.len() < 30).unwrap_or("that is there"))
        }
        Said::Text(text) => quoted(text),
        Said::Twofold(..) => quoted(at.raw().unwrap_or_default()),
        Said::Sequence(_) => "a list".to_owned(),
        Said::Mapping(_) => "a mapping".to_owned(),
    }
}

/// `a, b or c`.
pub(crate) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}
