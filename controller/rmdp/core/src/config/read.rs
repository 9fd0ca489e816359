//! From text to a configuration. All faults are told, each with its line: what a fault is about is taken out, so that the
//! rest can be read and checked.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::SharedConfig;
use super::check::{ConfigError, ConfigProblem};

/// Faults that are told; who has more has given another file.
const MOST: usize = 100;

pub(super) fn read(text: &str) -> Result<SharedConfig, ConfigError> {
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let (mut table, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        // What is missing for want of a quote is no fault of its own.
        let problem = |error: toml::de::Error| ConfigProblem {
            line: error.span().map_or(1, |span| line(span.start)),
            key: String::new(),
            what: format!("{}; correct the TOML (toml.io)", error.message()),
        };
        return Err(ConfigError::Faults(syntax.into_iter().take(MOST).map(problem).collect()));
    }
    let origin = members(table.get_ref());
    let mut problems = Vec::new();
    let mut members_whole = true;
    // Of members, by where they begin: what was taken out is not missing.
    let mut taken: BTreeSet<(usize, String)> = BTreeSet::new();
    let config = loop {
        let error = match SharedConfig::deserialize(Deserializer::from(table.clone())) {
            Ok(config) => break config,
            Err(error) => error,
        };
        let span = error.span();
        let place = span.as_ref().and_then(|span| nearest(table.get_ref(), span)).map(|(_, place)| place);
        let key = place.as_deref().map(|place| name(table.get_ref(), place)).unwrap_or_default();
        let member = place.as_deref().and_then(|place| member(table.get_ref(), place));
        let what = error.message().to_owned();
        let missing = what.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let is_known = member
            .is_some_and(|start| missing.is_some_and(|field| taken.contains(&(start, field.to_owned()))));
        if let (Some(start), None) = (member, missing) {
            taken.insert((start, key.rsplit(": ").next().unwrap_or_default().to_owned()));
        }
        if !is_known {
            let line = span.map_or(0, |span| line(span.start));
            let key = renumbered(&key, member, &origin);
            problems.push(ConfigProblem { line, key, what });
        }
        let Some(place) = place.filter(|_| problems.len() < MOST) else {
            return Err(ConfigError::Faults(problems));
        };
        members_whole &= name(table.get_ref(), &place[..1]) != "member";
        remove(table.get_mut(), &place);
    };
    if let Err(ConfigError::Faults(more)) = config.check() {
        // Of members that were taken out nothing is known.
        let more = more.into_iter().filter(|problem| members_whole || problem.key != "member");
        problems.extend(more.map(|problem| {
            let at = find(table.get_ref(), &problem.key);
            let start = at
                .filter(|_| problem.key.starts_with("member "))
                .map(|at| origin.iter().rev().find(|start| **start <= at).copied().unwrap_or(at));
            let key = renumbered(&problem.key, start, &origin);
            ConfigProblem { line: at.map_or(0, line), key, ..problem }
        }));
    }
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(ConfigError::Faults(problems))
}

/// Where each member begins.
fn members(table: &DeTable<'_>) -> Vec<usize> {
    match table.get("member").map(Spanned::get_ref) {
        Some(DeValue::Array(members)) => members.iter().map(|member| member.span().start).collect(),
        _ => Vec::new(),
    }
}

/// Where the member begins that a place is in.
fn member(table: &DeTable<'_>, place: &[usize]) -> Option<usize> {
    let (key, _) = table.iter().nth(*place.first()?)?;
    if key.get_ref() != "member" {
        return None;
    }
    members(table).get(*place.get(1)?).copied()
}

/// A key of a member with the number that the member has in the file, whoever was taken out before it.
fn renumbered(key: &str, member: Option<usize>, origin: &[usize]) -> String {
    let number = member.and_then(|start| origin.iter().position(|begins| *begins == start));
    let rest = key.strip_prefix("member ").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    match (number, rest) {
        (Some(number), Some(rest)) => format!("member {}{rest}", number + 1),
        _ => key.to_owned(),
    }
}

/// Places of a table's entries, or of an array's elements, from the outermost inwards.
type Place = Vec<usize>;

/// The entry whose key or value is the smallest that has these bytes.
fn nearest(table: &DeTable<'_>, span: &Range<usize>) -> Option<(usize, Place)> {
    smallest(table.iter().map(|(key, value)| (Some(key.span()), value)).collect(), span)
}

fn smallest(
    entries: Vec<(Option<Range<usize>>, &Spanned<DeValue<'_>>)>,
    span: &Range<usize>,
) -> Option<(usize, Place)> {
    let mut found: Option<(usize, Place)> = None;
    for (at, (key, value)) in entries.into_iter().enumerate() {
        let inner = match value.get_ref() {
            DeValue::Table(table) => nearest(table, span),
            DeValue::Array(array) => smallest(array.iter().map(|value| (None, value)).collect(), span),
            _ => None,
        };
        let inner = inner.map(|(length, mut place)| {
            place.insert(0, at);
            (length, place)
        });
        let own = key
            .into_iter()
            .chain([value.span()])
            .filter(|own| own.start <= span.start && span.end <= own.end);
        let own = own.map(|own| (own.len(), vec![at])).min();
        let best = inner.into_iter().chain(own).min_by_key(|(length, _)| *length);
        if let Some(best) = best
            && found.as_ref().is_none_or(|found| best.0 < found.0)
        {
            found = Some(best);
        }
    }
    found
}

/// As `claims.budget_ms`, `member 2: sender`.
fn name(table: &DeTable<'_>, place: &[usize]) -> String {
    let Some((key, value)) = place.first().and_then(|at| table.iter().nth(*at)) else { return String::new() };
    let (key, rest) = (key.get_ref().to_string(), &place[1..]);
    match value.get_ref() {
        DeValue::Table(table) if !rest.is_empty() => format!("{key}.{}", name(table, rest)),
        DeValue::Array(array) if !rest.is_empty() => {
            let element = format!("{key} {}", rest[0] + 1);
            match array.get(rest[0]).map(Spanned::get_ref) {
                Some(DeValue::Table(table)) if rest.len() > 1 => {
                    format!("{element}: {}", name(table, &rest[1..]))
                }
                _ => element,
            }
        }
        _ => key,
    }
}

fn remove(table: &mut DeTable<'_>, place: &[usize]) {
    let Some((first, rest)) = place.split_first() else { return };
    let Some(key) = table.keys().nth(*first).cloned() else { return };
    if rest.is_empty() {
        table.remove(&key);
        return;
    }
    let Some(value) = table.get_mut(&key) else { return };
    match value.get_mut() {
        DeValue::Table(inner) => remove(inner, rest),
        DeValue::Array(array) => remove_element(array, rest),
        _ => drop(table.remove(&key)),
    }
}

fn remove_element(array: &mut DeArray<'_>, place: &[usize]) {
    let Some((first, rest)) = place.split_first() else { return };
    if !rest.is_empty()
        && let Some(DeValue::Table(inner)) = array.get_mut(*first).map(Spanned::get_mut)
    {
        remove(inner, rest);
        return;
    }
    let mut left = DeArray::new();
    for (at, value) in std::mem::replace(array, DeArray::new()).into_iter().enumerate() {
        if at != *first {
            left.push(value);
        }
    }
    *array = left;
}

/// Where the key of a fault stands, as the check writes it, or the table that it would stand in.
fn find(table: &DeTable<'_>, key: &str) -> Option<usize> {
    if let Some(rest) = key.strip_prefix("member ") {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: usize = rest[..digits].parse().ok()?;
        let DeValue::Array(members) = table.get("member")?.get_ref() else { return None };
        let member = members.get(number.checked_sub(1)?)?;
        let DeValue::Table(own) = member.get_ref() else { return Some(member.span().start) };
        let field = rest.rsplit(": ").next().unwrap_or_default();
        let place = own.keys().find(|key| key.get_ref() == field);
        return Some(place.map_or(member.span().start, |key| key.span().start));
    }
    // Names of switches may have dots.
    let (mut table, mut rest, mut at) = (table, key, None);
    while !rest.is_empty() {
        let next = table.iter().filter_map(|(name, value)| {
            let name_text: &str = name.get_ref();
            let left = rest.strip_prefix(name_text)?;
            let left = if left.is_empty() { left } else { left.strip_prefix('.')? };
            Some((name_text.len(), name.span().start, value, left))
        });
        let Some((_, start, value, left)) = next.max_by_key(|(length, ..)| *length) else { return at };
        at = Some(start);
        let DeValue::Table(inner) = value.get_ref() else { return at };
        (table, rest) = (inner, left);
    }
    at
}
