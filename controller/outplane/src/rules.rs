//! What becomes of rules, as `plan`, `apply` and `intent diff` print it.

use std::io::{self, Write};

use outplane_compiler::rules::{RuleChange, RuleChanged, RuleChanges};
use outplane_intent::changes::{Change, Changed};

use crate::output::{BAD, FAINT, GOOD, WARN, count, styled, wrapped};

/// Lines that are printed for people.
const MOST: usize = 200;
/// Guards of source addresses that are named.
const MOST_GUARDS: usize = 12;
/// What the names of those begin with.
const GUARD: &str = "anti-spoofing of ";

/// A line for each rule that is added, removed, changed or moved; those that mean what they did are counted.
pub(crate) fn rules(changes: &RuleChanges, out: &mut dyn Write) -> io::Result<()> {
    let rewritten = changes.rules.iter().filter(|rule| rule.change == RuleChanged::Rewritten).count();
    let lines = changes.rules.iter().filter_map(|RuleChange { policy, rule, change }| {
        let (sign, more) = match change {
            RuleChanged::Added => (styled(GOOD, "+"), ""),
            RuleChanged::Removed => (styled(BAD, "-"), ""),
            RuleChanged::Changed => (styled(WARN, "~"), ""),
            RuleChanged::Reordered => (styled(WARN, "~"), ", the place of its rules"),
            RuleChanged::Rewritten => return None,
        };
        Some(line(&sign, policy, rule.as_deref(), more))
    });
    some(lines, out)?;
    if rewritten > 0 {
        let rules = count(rewritten, "rule means what it did", "rules mean what they did");
        let why = "addresses or ports have other class numbers, or rules other places";
        wrapped(out, 2, 4, &styled(FAINT, format_args!("= {rules}, with other entries: {why}")))?;
    }
    if !changes.shared.is_empty() {
        let shared = shared(&changes.shared);
        wrapped(out, 2, 4, &styled(FAINT, format_args!("~ for all policies: {shared}")))?;
    }
    Ok(())
}

/// Names of what serves all policies. Of guards of source addresses whose they are, a few.
fn shared(names: &[String]) -> String {
    let (guards, others): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.starts_with(GUARD));
    let mut whose: Vec<&str> = guards.iter().filter_map(|name| name.strip_prefix(GUARD)).collect();
    // Ports and segments say more than the hosts there.
    whose.sort_by_key(|whose| whose.starts_with("Host "));
    let more = whose.len().saturating_sub(MOST_GUARDS);
    whose.truncate(MOST_GUARDS);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let guards = (!whose.is_empty()).then(|| format!("anti-spoofing ({}{more})", whose.join(", ")));
    others.into_iter().map(str::to_owned).chain(guards).collect::<Vec<_>>().join(", ")
}

/// A line for each difference between two intents.
pub(crate) fn changes(changes: &[Change], out: &mut dyn Write) -> io::Result<()> {
    let lines = changes.iter().map(|Change { object, rule, change }| {
        let (sign, more) = match change {
            Changed::Added => (styled(GOOD, "+"), ""),
            Changed::Removed => (styled(BAD, "-"), ""),
            Changed::Changed => (styled(WARN, "~"), ""),
            Changed::Reordered => (styled(WARN, "~"), ", the order of its rules"),
        };
        line(&sign, object, rule.as_deref(), more)
    });
    some(lines, out)
}

fn line(sign: &str, object: &str, rule: Option<&str>, more: &str) -> String {
    let rule = rule.map(|rule| format!(", rule {rule}")).unwrap_or_default();
    format!("  {sign} {object}{rule}{more}")
}

fn some(lines: impl Iterator<Item = String>, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = lines.fuse();
    for line in lines.by_ref().take(MOST) {
        writeln!(out, "{line}")?;
    }
    match lines.count() {
        0 => Ok(()),
        more => writeln!(out, "  and {}", count(more, "more change", "more changes")),
    }
}
