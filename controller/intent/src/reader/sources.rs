//! Where every object and rule was said.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Label, Severity};
use super::source::{Location, Place, SourceFile};

/// Where every object and rule was said.
///
/// Objects are named `<Kind>/<name>` or `<Kind>/<namespace>/<name>`, rules as verdicts name them
/// (docs/policy-semantics.md, "Who decided").
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<SourceFile>>,
    objects: BTreeMap<String, ObjectPlaces>,
}

#[derive(Clone, Debug, Default)]
struct ObjectPlaces {
    at: Place,
    rules: BTreeMap<String, Place>,
}

impl Sources {
    pub(crate) fn add_file(&mut self, file: Arc<SourceFile>) -> u32 {
        self.files.push(file);
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn add_object(&mut self, object: String, at: Place) {
        self.objects.entry(object).or_default().at = at;
    }

    /// The first rule of a name wins.
    pub(crate) fn add_rule(&mut self, object: &str, rule: String, at: Place) {
        if let Some(places) = self.objects.get_mut(object) {
            places.rules.entry(rule).or_insert(at);
        }
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
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        self.objects.iter().map(|(name, places)| (name.as_str(), places.at))
    }

    pub(crate) fn place_of(&self, object: &str) -> Option<Place> {
        Some(self.objects.get(object)?.at)
    }

    /// The last object of a file.
    pub(crate) fn last_of(&self, file: u32) -> Option<(&str, Place)> {
        self.places().filter(|(_, place)| place.file == file).max_by_key(|(_, place)| place.start)
    }

    /// The rule of an object that is said last.
    pub fn last_rule_of(&self, object: &str) -> Option<&str> {
        let rules = &self.objects.get(object)?.rules;
        rules.iter().max_by_key(|(_, place)| place.start).map(|(rule, _)| rule.as_str())
    }

    pub(crate) fn label(&self, place: Place) -> Option<Label> {
        let file = self.files.get(place.file as usize)?;
        Some(Label::new(file.clone(), file.byte_of(place.start), file.byte_of(place.end)))
    }

    fn location(&self, place: Place) -> Option<Location> {
        Some(self.label(place)?.location())
    }
}
