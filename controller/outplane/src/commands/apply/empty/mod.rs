//! Nothing is no intention: whoever takes the last policy from a switch has to say that it is meant, since without any
//! everything passes. So has whoever pipes in much less than there was: a pipe that ended early looks like that.

use std::collections::BTreeMap;

use outplane_compiler::compile::{Compiled, SwitchState};
use outplane_compiler::program::Program;
use outplane_compiler::shrink::{self, Shrunk};
use outplane_compiler::state::{Desired, Installed, policies};
use outplane_driver_p4runtime::Problem;
use outplane_intent::changes::{self, Change, Changed};
use outplane_intent::deciders;
use outplane_intent::expectation::Expectations;
use outplane_intent::loosened::loosened;
use outplane_intent::model::Intent;
use outplane_intent::reader::{self, Code, Cut, End, Loaded, Missing, Sources, UNMARKED};
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::{is_placeholder, parsed, states};
use outplane_rmdp_node::objects::Objects;

use crate::commands::check::objects;
use crate::input::Input;
use crate::output::count;

/// How to say that nothing is meant.
const ALLOW: &str = "if that is what you want, say --allow-empty";

/// How to say that much less is meant.
const SHRINK: &str = "it came through a pipe, so a part may be missing; if that is all, say --allow-shrink";

/// What is said about that on the command line.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Allowed {
    /// Apply input without objects, and input that takes the last policy from a switch that has some: without policies
    /// everything passes. Says --allow-shrink, too
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Apply input from a pipe that looks as if a part were missing: it has much less than there was, or lacks Namespaces or
    /// labels that policies go by, or is YAML whose end is not marked by a line `...` and which is new, or lacks the end of
    /// what there was, a default or the conditions of a rule
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

/// What is refused unless `--allow-empty` or `--allow-shrink` is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Nothing may be meant.
    allowed: bool,
    /// Less may be missing input.
    piped: Option<Piped>,
    /// The input is refused as it is, whatever switches hold.
    refused: Option<String>,
}

/// What came through a pipe.
#[derive(Clone, Debug)]
struct Piped {
    /// How much there is, by kind.
    counts: BTreeMap<String, usize>,
    intent: Intent,
    sources: Sources,
    /// Pipes that may have been cut off, by the names of the sources, and how they end.
    open: Vec<(String, End)>,
    /// The last rule of what each of them says: policy and rule.
    last: Vec<(String, String)>,
    expectations: Expectations,
    /// Objects that policies go by are not there.
    lacks: Option<String>,
}

impl Guard {
    pub(crate) fn new(input: &Input, allowed: Allowed) -> Self {
        let Allowed { allow_empty: allowed, allow_shrink } = allowed;
        let may_be_less = !input.pipes.is_empty() && !allow_shrink && !allowed;
        let piped = may_be_less.then(|| Piped::new(input));
        let nothing = !allowed && input.intent == Intent::default();
        let no_objects = nothing.then(|| {
            format!(
                "the input has no objects{}, and without policies everything passes; {ALLOW}",
                input.skipped()
            )
        });
        let refused = no_objects.or_else(|| piped.as_ref()?.unfinished());
        Self { allowed, piped, refused }
    }

    /// How much a switch has to keep.
    pub(crate) fn keep(&self) -> Option<shrink::Input<'_>> {
        let piped = self.piped.as_ref()?;
        let cut = shrink::Input::Cut { last: &piped.last };
        Some(if piped.open.is_empty() { shrink::Input::Whole } else { cut })
    }

    /// Why the input is refused without a look at any switch.
    pub(crate) fn of_input(&self) -> Option<String> {
        self.refused.clone()
    }

    /// Why a push of the pipeline into a switch is refused, which empties it.
    pub(crate) fn of_push(&self, switch: &str, desired: &Desired) -> Option<String> {
        let bare = !self.allowed && policies(&desired.entries).is_empty();
        bare.then(|| {
            format!("--force-pipeline empties switch {switch}, and the input has no policy for it; {ALLOW}")
        })
    }

    /// Why a switch that holds this is not brought to that.
    pub(crate) fn of_switch(&self, installed: &Installed, desired: &Desired) -> Option<String> {
        let last = || {
            let has = policies(&installed.entries);
            let first = has.first().filter(|_| policies(&desired.entries).is_empty())?.clone();
            Some(said(Problem::LastPolicy { policies: has.len(), first }))
        };
        let shrinks = || {
            let found = shrink::of_switch(Program::outplane(), installed, desired, self.keep()?)?;
            Some(less(Problem::Shrinks(found)))
        };
        let nothing = if self.allowed { None } else { self.of_input().or_else(last) };
        nothing.or_else(shrinks)
    }

    /// Why the input is refused beside what the newest generation has that can be carried out: it has less.
    pub(crate) async fn of_generation(&self, objects: &Objects) -> anyhow::Result<Option<String>> {
        let Some(piped) = &self.piped else { return Ok(None) };
        for number in Chain::Generations.numbers(objects, 0).await?.into_iter().rev() {
            let found = objects.get_readable(&Chain::Generations.key(number)).await?;
            // What a recovery leaves wants nothing, and is no measure.
            let Some(Object::Generation(record)) = found else { continue };
            if is_placeholder(&record) {
                continue;
            }
            let piped = piped.clone();
            let record = record.applied();
            let compared = move || parsed(&record).map(|had| piped.beside(&had, number));
            let Ok(found) = tokio::task::spawn_blocking(compared).await? else { continue };
            return Ok(found.map(less));
        }
        Ok(piped.unknown().map(less))
    }

    /// Of each switch that would lose its last policy by the intent log: why that is refused.
    pub(crate) async fn of_log(
        &self,
        compiled: &Compiled,
        objects: &Objects,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut refused = BTreeMap::new();
        let is_bare = |state: &SwitchState| policies(&state.desired.entries).is_empty();
        let mut bare: Vec<&String> =
            compiled.switches.iter().filter(|(_, state)| is_bare(state)).map(|(name, _)| name).collect();
        if self.allowed || bare.is_empty() {
            return Ok(refused);
        }
        // A switch that generations leave out keeps what the last one has given it that named it.
        for number in Chain::Generations.numbers(objects, 0).await?.into_iter().rev() {
            if bare.is_empty() {
                break;
            }
            let Some(record) = named(objects, number, &bare).await? else { continue };
            let generation = record.generation;
            // Of one that cannot be carried out switches have nothing.
            let Ok((before, _)) = tokio::task::spawn_blocking(move || states(&record)).await? else {
                continue;
            };
            bare.retain(|name| {
                let Some(state) = before.switches.get(*name) else { return true };
                let had = policies(&state.desired.entries);
                if let Some(first) = had.first() {
                    let policies = count(had.len(), "policy", "policies");
                    let more = if had.len() == 1 { "" } else { ", .." };
                    let text = format!(
                        "switch {name} has {policies} by generation {generation} ({first}{more}), and the input leaves \
                         none, so that everything would pass"
                    );
                    refused.insert((*name).clone(), text);
                }
                false
            });
        }
        Ok(refused)
    }
}

impl Piped {
    fn new(input: &Input) -> Self {
        let (intent, sources) = (&input.intent, &input.sources);
        let pipe = |name: &String| sources.files().iter().find(|file| file.name() == name);
        let ends =
            input.pipes.iter().filter_map(pipe).map(|file| (file.name().to_owned(), reader::end(file)));
        let open: Vec<_> = ends.filter(|(_, end)| *end != End::Whole).collect();
        let last = open.iter().filter_map(|(file, _)| {
            let (policy, rule) = reader::last_rule(sources, file)?;
            Some((policy.to_owned(), rule.unwrap_or(deciders::ISOLATION).to_owned()))
        });
        let last = last.collect();
        let counts = counts(intent, &input.expectations, sources);
        let lacks = lacks(input).next();
        let (intent, expectations) = (intent.clone(), input.expectations.clone());
        Self { counts, intent, sources: sources.clone(), open, last, expectations, lacks }
    }

    /// Why the input is refused whatever there was: its end is missing, or what policies go by.
    fn unfinished(&self) -> Option<String> {
        if let Some(lacks) = &self.lacks {
            return Some(less(lacks));
        }
        self.open.iter().find_map(|(file, end)| {
            let why = match end {
                End::NoLineFeed => "the last line of",
                End::NoValue => "the last value of",
                End::Whole | End::Open => return None,
            };
            Some(less(format_args!(
                "{why} {file} is not complete: YAML ends with a line feed, and a key with a value"
            )))
        })
    }

    /// What there is less of than in a generation.
    fn beside(&self, had: &Loaded, number: u64) -> Option<String> {
        let counted = shrink::between(&counts(&had.intent, &had.expectations, &had.sources), &self.counts);
        let much = counted.map(|Shrunk { what, before, after }| {
            format!("generation {number} has {before} {what}, and the input has {after}")
        });
        if much.is_some() || self.open.is_empty() {
            return much;
        }
        let beside = |why: &dyn std::fmt::Display| format!("{why}, beside generation {number}");
        let lost = loosened(&had.intent, &self.intent).map(|lost| beside(&lost));
        let cut = || {
            let cut = |(file, _): &(String, End)| reader::cut(&had.sources, &self.sources, file);
            self.open.iter().filter_map(cut).find_map(|cut| self.ends_otherwise(had, &cut))
        };
        lost.or_else(|| cut().map(|why| beside(&why)))
    }

    /// There is nothing to compare a text with that has no end of its own.
    fn unknown(&self) -> Option<String> {
        let unknown = || format!("{UNMARKED}, and there is no generation to compare it with");
        (!self.open.is_empty()).then(unknown)
    }

    /// In words, unless what the last object says is the same, or, of a FilterPolicy, the same from its last rule on.
    fn ends_otherwise(&self, had: &Loaded, cut: &Cut) -> Option<String> {
        if cut.what != Missing::Other {
            return Some(cut.to_string());
        }
        let mut found = changes::between(&had.intent, &self.intent);
        found.extend(changes::between_expectations(&had.expectations, &self.expectations));
        found.retain(|change| change.object == cut.last);
        let last = self.sources.last_rule_of(&cut.last);
        let stayed = had.sources.last_rule_of(&cut.last) == last;
        let differs = |change: &Change| match &change.rule {
            Some(rule) => last == Some(rule.as_str()) || !stayed,
            None => change.change != Changed::Reordered || !stayed,
        };
        let change = found.iter().find(|change| differs(change))?;
        Some(match (&change.rule, change.change) {
            (Some(rule), Changed::Added) => {
                format!("{UNMARKED}, and of {}, its last object, rule {rule} is new", cut.last)
            }
            (Some(rule), Changed::Removed) => {
                format!("{UNMARKED}, and of {}, its last object, rule {rule} is gone", cut.last)
            }
            _ => cut.to_string(),
        })
    }
}

/// What policies go by that is not in the input, with the cure.
pub(super) fn lacks(input: &Input) -> impl Iterator<Item = String> {
    let missing = input.warnings.iter().filter(|warning| warning.code() == Code::MissingObject);
    missing.map(|warning| match warning.advice() {
        Some(advice) => format!("{} ({advice})", warning.message()),
        None => warning.message().to_owned(),
    })
}

/// Objects and rules by kind.
fn counts(intent: &Intent, expectations: &Expectations, sources: &Sources) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = objects(intent, expectations, sources)
        .into_iter()
        .map(|(kind, number)| (shrink::plural(kind), number))
        .collect();
    let rules = intent.filters.values().map(|policy| policy.rules.len()).sum();
    counts.insert("rules of FilterPolicies".to_owned(), rules);
    counts
}

/// The cure goes with it.
pub(super) fn less(why: impl std::fmt::Display) -> String {
    format!("{why}; {SHRINK}")
}

/// The cure goes with it.
pub(super) fn said(why: impl std::fmt::Display) -> String {
    format!("{why}; {ALLOW}")
}

/// A generation that has something for one of these switches.
async fn named(objects: &Objects, number: u64, switches: &[&String]) -> anyhow::Result<Option<Generation>> {
    let found = objects.get_readable(&Chain::Generations.key(number)).await?;
    let Some(Object::Generation(record)) = found else { return Ok(None) };
    Ok(switches.iter().any(|switch| record.desired.contains_key(*switch)).then_some(record.applied()))
}

#[cfg(test)]
mod tests;
