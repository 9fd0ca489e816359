//! Where every object and rule was said.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Label, Severity};
use super::source::{Location, Place, SourceFile, Spot, number};

/// Where every object and rule was said.
///
/// Objects are named `<Kind>/<name>` or `<Kind>/<namespace>/<name>`, rules as verdicts name them
/// (docs/policy-semantics.md, "Who decided").
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<SourceFile>>,
    parts: Vec<Part>,
    objects: BTreeMap<String, ObjectPlaces>,
}

/// Where a part of a file begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) file: u32,
    /// Its first character.
    pub(crate) character: u32,
    /// Its first byte.
    pub(crate) byte: u32,
    /// Its characters are bytes.
    pub(crate) ascii: bool,
}

/// Where an object and its rules were said.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectPlaces {
    at: Place,
    rules: BTreeMap<String, Place>,
}

impl ObjectPlaces {
    /// The first rule of a name wins.
    pub(crate) fn new(at: Place, said: impl IntoIterator<Item = (String, Place)>) -> Self {
        let mut rules = BTreeMap::new();
        for (rule, at) in said {
            rules.entry(rule).or_insert(at);
        }
        Self { at, rules }
    }
}

impl Sources {
    /// Adds a file that is one part; the number of both.
    pub(crate) fn add_file(&mut self, file: Arc<SourceFile>) -> u32 {
        self.files.push(file);
        let added = number(self.files.len() - 1);
        self.parts.push(Part { file: added, ..Part::default() });
        added
    }

    /// Takes other files, of which parts are told by [`Self::set_part`].
    pub(crate) fn set_files(&mut self, files: Vec<Arc<SourceFile>>) {
        self.files = files;
    }

    pub(crate) fn set_part(&mut self, number: u32, part: Part) {
        let at = number as usize;
        if at >= self.parts.len() {
            self.parts.resize(at + 1, Part::default());
        }
        self.parts[at] = part;
    }

    pub(crate) fn add_object(&mut self, object: String, places: ObjectPlaces) {
        self.objects.insert(object, places);
    }

    pub(crate) fn remove_object(&mut self, object: &str) -> Option<ObjectPlaces> {
        self.objects.remove(object)
    }

    /// The files that were read, in order.
    pub fn files(&self) -> &[Arc<SourceFile>] {
        &self.files
    }

    /// Every object's name, in order.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// The names of the rules that an object says, in order.
    pub fn rules(&self, object: &str) -> impl Iterator<Item = &str> {
        self.objects.get(object).into_iter().flat_map(|places| places.rules.keys().map(String::as_str))
    }

    /// Where an object was said: its name's place.
    pub fn object(&self, object: &str) -> Option<Location> {
        self.location(self.objects.get(object)?.at)
    }

    /// Where a rule of an object was said.
    pub fn rule(&self, object: &str, rule: &str) -> Option<Location> {
        self.location(*self.objects.get(object)?.rules.get(rule)?)
    }

    /// A message about an object, or a rule of it, that shows where it was said. For whoever finds fault with an
    /// intent after it has been read: the compiler, the driver.
    pub fn diagnostic(
        &self,
        severity: Severity,
        code: Code,
        object: &str,
        rule: Option<&str>,
        message: impl Into<String>,
    ) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(severity, code, message).about(object);
        let places = self.objects.get(object);
        let place =
            places.map(|places| rule.and_then(|rule| places.rules.get(rule)).copied().unwrap_or(places.at));
        if let Some(label) = place.and_then(|place| self.label(place)) {
            diagnostic = diagnostic.at(label);
        }
        diagnostic
    }

    /// The message, which also shows where an object, or a rule of it, was said.
    pub fn also(&self, diagnostic: Diagnostic, object: &str, rule: Option<&str>, text: &str) -> Diagnostic {
        let places = self.objects.get(object);
        let place =
            places.map(|places| rule.and_then(|rule| places.rules.get(rule)).copied().unwrap_or(places.at));
        match place.and_then(|place| self.label(place)) {
            Some(label) => diagnostic.also(label.saying(text)),
            None => diagnostic,
        }
    }

    /// Every object and where it was said.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, Spot)> {
        self.objects.iter().map(|(name, places)| (name.as_str(), self.spot(places.at)))
    }

    pub(crate) fn place_of(&self, object: &str) -> Option<Spot> {
        Some(self.spot(self.objects.get(object)?.at))
    }

    /// Where in its file a place is.
    pub(crate) fn spot(&self, place: Place) -> Spot {
        let Part { file, character, .. } = self.part(place);
        let Place { start, end, .. } = place;
        Spot { file, start: start.saturating_add(character), end: end.saturating_add(character) }
    }

    fn part(&self, place: Place) -> Part {
        // Where nobody has told of parts, all is in the first file.
        self.parts.get(place.part as usize).copied().unwrap_or_default()
    }

    /// The file that a place is in.
    pub(crate) fn file_of(&self, place: Place) -> Option<&Arc<SourceFile>> {
        self.files.get(self.part(place).file as usize)
    }

    /// The last object of a file.
    pub(crate) fn last_of(&self, file: u32) -> Option<(&str, Spot)> {
        self.places().filter(|(_, place)| place.file == file).max_by_key(|(_, place)| place.start)
    }

    /// The rule of an object that is said last.
    pub fn last_rule_of(&self, object: &str) -> Option<&str> {
        let rules = &self.objects.get(object)?.rules;
        // All of them are in the object's part.
        rules.iter().max_by_key(|(_, place)| place.start).map(|(rule, _)| rule.as_str())
    }

    pub(crate) fn label(&self, place: Place) -> Option<Label> {
        let file = self.file_of(place)?;
        let part = self.part(place);
        let spot = self.spot(place);
        let byte = |start: u32, of_file: u32| {
            // The index of a file's characters is not built for what is ASCII.
            if part.ascii {
                (part.byte.saturating_add(start) as usize).min(file.text().len())
            } else {
                file.byte_of(of_file)
            }
        };
        Some(Label::new(file.clone(), byte(place.start, spot.start), byte(place.end, spot.end)))
    }

    fn location(&self, place: Place) -> Option<Location> {
        Some(self.label(place)?.location())
    }
}
