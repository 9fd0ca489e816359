//! Values of a TOML table with their places, and the keys that nobody asked for.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// A table that is being read.
pub(super) struct Section<'t, 'i> {
    /// Its name and a dot; empty for the file itself.
    path: String,
    entries: Option<&'t DeTable<'i>>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

/// A value and where it is.
pub(super) struct Found<'t, 'i> {
    /// The key with its table.
    pub(super) key: String,
    pub(super) value: &'t DeValue<'i>,
    pub(super) span: Range<usize>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub(super) fn root(table: &'t Spanned<DeTable<'i>>) -> Self {
        // Problems with the file as a whole are told at its first line.
        Self { path: String::new(), entries: Some(table.get_ref()), span: 0..0, known: Vec::new() }
    }

    /// The table under a key. One that is not there reads as an empty one.
    pub(super) fn section(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Self {
        let path = format!("{}{key}.", self.path);
        let empty = Self { path: path.clone(), entries: None, span: self.span.clone(), known: Vec::new() };
        let Some(found) = self.find(key) else { return empty };
        match found.value {
            DeValue::Table(table) => Self { entries: Some(table), span: found.span, ..empty },
            other => {
                found.wrong_type(other, "a table", &format!("start it with `[{}]`", found.key), problems);
                empty
            }
        }
    }

    /// The value under a key, if there is one.
    pub(super) fn find(&mut self, key: &'static str) -> Option<Found<'t, 'i>> {
        self.known.push(key);
        let (_, value) = self.entries?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Found { key: format!("{}{key}", self.path), value: value.get_ref(), span: value.span() })
    }

    /// The value under a key; that there is none is a problem.
    pub(super) fn require(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Found<'t, 'i>> {
        let found = self.find(key);
        if found.is_none() {
            let place = self.span.clone();
            problems.add(
                &place,
                &format!("{}{key}", self.path),
                "missing",
                format!("add `{key} = {example}`"),
            );
        }
        found
    }

    /// All entries, whatever their keys.
    pub(super) fn all(self) -> Vec<(String, Range<usize>, Found<'t, 'i>)> {
        self.entries
            .into_iter()
            .flat_map(DeTable::iter)
            .map(|(name, value)| {
                let key = format!("{}{}", self.path, name.get_ref());
                let found = Found { key, value: value.get_ref(), span: value.span() };
                (name.get_ref().to_string(), name.span(), found)
            })
            .collect()
    }

    /// Tells of keys that [`Self::find`] was never asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for (name, _) in self.entries.into_iter().flat_map(DeTable::iter) {
            let text = name.get_ref().as_ref();
            if self.known.contains(&text) {
                continue;
            }
            let near = self
                .known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, text), *known))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let cure = match near {
                Some((_, known)) => format!("is `{known}` meant?"),
                None => format!("remove it; the keys here are {}", self.known.join(", ")),
            };
            problems.add(&name.span(), &format!("{}{text}", self.path), "unknown key", cure);
        }
    }
}

impl<'t> Found<'t, '_> {
    /// The text.
    pub(super) fn text(&self, problems: &mut Problems<'_>) -> Option<&'t str> {
        if let DeValue::String(text) = self.value {
            return Some(text.as_ref());
        }
        self.wrong_type(self.value, "text", "write it in quotes", problems);
        None
    }

    /// Yes or no.
    pub(super) fn boolean(&self, problems: &mut Problems<'_>) -> Option<bool> {
        if let DeValue::Boolean(value) = self.value {
            return Some(*value);
        }
        self.wrong_type(self.value, "true or false", "write it without quotes", problems);
        None
    }

    /// A whole number between two bounds.
    pub(super) fn number(
        &self,
        bounds: &std::ops::RangeInclusive<u64>,
        problems: &mut Problems<'_>,
    ) -> Option<u64> {
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let DeValue::Integer(number) = self.value else {
            self.wrong_type(self.value, &wanted, "write it without quotes", problems);
            return None;
        };
        let value =
            u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|value| bounds.contains(value));
        if value.is_none() {
            problems.add(
                &self.span,
                &self.key,
                format!("{number} is not possible"),
                format!("write {wanted}"),
            );
        }
        value
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], problems: &mut Problems<'_>) -> Option<T> {
        let text = self.text(problems)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let choice = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            problems.add(
                &self.span,
                &self.key,
                format!("`{text}` is not possible"),
                format!("write one of {choice}"),
            );
        }
        found
    }

    /// Items of a list of texts, with their places.
    pub(super) fn texts(&self, problems: &mut Problems<'_>) -> Vec<(&'t str, Range<usize>)> {
        let DeValue::Array(array) = self.value else {
            self.wrong_type(self.value, "a list", "write it in brackets: [\"..\", \"..\"]", problems);
            return Vec::new();
        };
        let items = array.iter().map(|item| Found {
            key: self.key.clone(),
            value: item.get_ref(),
            span: item.span(),
        });
        items.filter_map(|item| Some((item.text(problems)?, item.span))).collect()
    }

    pub(super) fn wrong_type(
        &self,
        value: &DeValue<'_>,
        wanted: &str,
        cure: &str,
        problems: &mut Problems<'_>,
    ) {
        let is = value.type_str();
        problems.add(&self.span, &self.key, format!("{wanted} is wanted, and this is of type {is}"), cure);
    }
}
