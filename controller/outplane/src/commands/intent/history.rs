//! `outplane intent history`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write};

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{DesiredState, Generation, KeptSwitches, Object, Outcome, PolicyFile};
use outplane_rmdp_core::task::Event;
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use super::{generation, numbers};
use crate::exit::Exit;
use crate::node::NodeArguments;
use crate::options::Format;
use crate::output::{self, Report, columns, count};
use crate::runtime;
use crate::standing;
use crate::times;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// So many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Serialize)]
struct History {
    /// The newest first.
    generations: Vec<Line>,
    /// Older ones that are there and not listed.
    omitted: usize,
}

#[derive(Serialize)]
struct Line {
    generation: u64,
    /// RFC 3339.
    at: String,
    by: String,
    files: Vec<File>,
    /// The newest earlier one that has the same files, of those that are listed and the 100 before: this one went back to it.
    same_as: Option<u64>,
    switches: Vec<OnSwitch>,
    /// Why it cannot be told more of.
    error: Option<String>,
}

#[derive(Serialize)]
struct File {
    name: String,
    bytes: usize,
}

#[derive(Serialize)]
struct OnSwitch {
    switch: String,
    entries: u32,
    /// SHA-256 of the desired state.
    desired: String,
    /// It is another one than in the generation before; null where that is not there any more.
    changed: Option<bool>,
    /// `done`, `superseded`, `failed`, `open`, or `unknown`: its decision has been swept, or it never had one.
    outcome: &'static str,
    by: Option<String>,
    /// Who has seen since then that it holds this generation although that has failed: its keeper goes on trying. Null: it has
    /// not failed, or nobody tells of it any more.
    brought_by: Option<String>,
    /// When it was decided.
    #[serde(skip)]
    decided_ms: u64,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let history = runtime::block_on(history(&node.objects, arguments.limit.into()))??;
    output::print(format, &history)?;
    Ok(Exit::Done)
}

/// Generations before those that are listed, whose files are compared with theirs.
const COMPARED: usize = 100;

async fn history(objects: &Objects, limit: usize) -> anyhow::Result<History> {
    let numbers = numbers(objects).await?;
    let newest = numbers.last().copied();
    // More than are listed, to compare those with.
    let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
    let mut generations = Vec::new();
    let listed = numbers.len().saturating_sub(limit);
    for (place, number) in numbers.iter().enumerate().skip(listed.saturating_sub(COMPARED)) {
        let is_listed = place >= listed;
        match generation(objects, *number).await {
            Ok(record) => {
                let own = Seen::of(&record);
                if is_listed {
                    generations.push(line(objects, &record, &own, &seen, newest == Some(*number)).await?);
                }
                seen.insert(*number, own);
            }
            Err(error) if is_listed => generations.push(Line::unread(*number, format!("{error:#}"))),
            Err(_) => {}
        }
    }
    if generations.iter().flat_map(|line| &line.switches).any(|switch| switch.outcome == FAILED) {
        brought(&mut generations, &standing::keepers(objects).await?);
    }
    generations.reverse();
    Ok(History { omitted: numbers.len() - generations.len(), generations })
}

/// Notes who has brought a switch to a generation for which its task had failed.
fn brought(generations: &mut [Line], told: &[KeptSwitches]) {
    for line in generations {
        for switch in line.switches.iter_mut().filter(|switch| switch.outcome == FAILED) {
            let holds = |kept: &&KeptSwitches| {
                kept.switches.iter().any(|kept| {
                    kept.switch == switch.switch
                        && kept.generation == line.generation
                        && kept.verified_ms.is_some_and(|at| at > switch.decided_ms)
                })
            };
            switch.brought_by = told.iter().find(holds).map(|kept| kept.node.clone());
        }
    }
}

/// What is kept of a generation, which may be large, to compare others with.
struct Seen {
    files: u64,
    desired: BTreeMap<String, DesiredState>,
}

impl Seen {
    fn of(record: &Generation) -> Self {
        let mut hasher = DefaultHasher::new();
        record.files.hash(&mut hasher);
        Self { files: hasher.finish(), desired: record.desired.clone() }
    }
}

async fn line(
    objects: &Objects,
    record: &Generation,
    own: &Seen,
    seen: &BTreeMap<u64, Seen>,
    newest: bool,
) -> anyhow::Result<Line> {
    let number = record.generation;
    let same_as = seen.iter().rev().find(|(_, other)| other.files == own.files).map(|(number, _)| *number);
    let before = seen.values().next_back();
    let mut switches = Vec::new();
    for (switch, state) in &record.desired {
        let event = Event::generation(record.network, record.since(switch), switch).id()?;
        let (outcome, by, decided_ms) = match objects.get_readable(&Key::Decision(event)).await? {
            Some(Object::Decision(decision)) => {
                (word(&decision.outcome), Some(decision.owner), decision.at_ms)
            }
            _ if newest => ("open", None, 0),
            _ => ("unknown", None, 0),
        };
        switches.push(OnSwitch {
            switch: switch.clone(),
            entries: state.entries,
            desired: state.sha256.to_string(),
            changed: before
                .map(|before| before.desired.get(switch).is_none_or(|before| !before.is_same(state))),
            outcome,
            by,
            brought_by: None,
            decided_ms,
        });
    }
    let file = |file: &PolicyFile| File { name: file.name.clone(), bytes: file.text.len() };
    Ok(Line {
        generation: number,
        at: times::time(record.at_ms),
        by: record.author.clone(),
        files: record.files.iter().map(file).collect(),
        same_as,
        switches,
        error: None,
    })
}

/// The outcome of a task whose attempts have failed.
const FAILED: &str = "failed";

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Superseded { .. } => "superseded",
        Outcome::Failed { .. } => FAILED,
    }
}

impl Line {
    fn unread(generation: u64, error: String) -> Self {
        Self {
            generation,
            at: "-".to_owned(),
            by: "-".to_owned(),
            files: Vec::new(),
            same_as: None,
            switches: Vec::new(),
            error: Some(error),
        }
    }

    /// `done 3, failed 1`.
    fn outcome(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for switch in &self.switches {
            let since = switch.brought_by.as_ref().map(|_| "failed and brought there since by its keeper");
            *counts.entry(since.unwrap_or(switch.outcome)).or_default() += 1;
        }
        match (counts.len(), counts.iter().next()) {
            (1, Some((word, _))) => (*word).to_owned(),
            _ => counts.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", "),
        }
    }

    fn changes(&self) -> String {
        let changed = self.switches.iter().filter(|switch| switch.changed != Some(false));
        match (changed.count(), self.switches.len()) {
            (0, _) => "no switch".to_owned(),
            (1, 1) => self.switches[0].switch.clone(),
            (changed, all) if changed == all => format!("all {all} switches"),
            (changed, all) => format!("{changed} of {all} switches"),
        }
    }

    fn words(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let files = count(self.files.len(), "file", "files");
        match self.same_as {
            Some(earlier) => format!("{files}, as generation {earlier}"),
            None => files,
        }
    }
}

impl Report for History {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = ["generation", "when", "by", "changes", "outcome", "said by"];
        let row = |line: &Line| {
            vec![
                line.generation.to_string(),
                line.at.clone(),
                line.by.clone(),
                if line.error.is_none() { line.changes() } else { "-".to_owned() },
                if line.error.is_none() { line.outcome() } else { "cannot be read".to_owned() },
                line.words(),
            ]
        };
        columns(out, &head, &[0], self.generations.iter().map(row))?;
        if self.omitted > 0 {
            writeln!(
                out,
                "  {} not shown; --limit shows more",
                count(self.omitted, "older one is", "older ones are")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::{KeptSwitch, Standing};

    use super::*;

    #[test]
    fn what_failed_and_was_brought_there_since_says_so() {
        let kept = |switch: &str, generation, verified_ms| KeptSwitch {
            switch: switch.to_owned(),
            generation,
            standing: Standing::Kept,
            seen: String::new(),
            verified_ms,
            what: String::new(),
            repairs: 0,
            version: None,
            primary: None,
            is_fenced: None,
            counted_ms: None,
        };
        let on = |switch: &str, outcome| OnSwitch {
            switch: switch.to_owned(),
            entries: 1,
            desired: String::new(),
            changed: None,
            outcome,
            by: None,
            brought_by: None,
            decided_ms: 100,
        };
        let switches = vec![on("a", FAILED), on("b", FAILED), on("c", FAILED), on("d", "done")];
        let mut lines = [Line { switches, ..Line::unread(7, String::new()) }];
        let of = vec![
            kept("a", 7, Some(200)),
            kept("b", 7, Some(50)),
            kept("c", 6, Some(200)),
            kept("d", 7, Some(200)),
        ];
        brought(&mut lines, &[KeptSwitches { node: "c2".to_owned(), switches: of, at_ms: 300 }]);
        let by: Vec<_> = lines[0].switches.iter().map(|switch| switch.brought_by.as_deref()).collect();
        assert_eq!(by, [Some("c2"), None, None, None]);
        assert_eq!(lines[0].outcome(), "done 1, failed 2, failed and brought there since by its keeper 1");
    }
}
