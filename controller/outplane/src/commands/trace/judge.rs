//! Who says what happens to a packet: the compiled entries, the intent itself, or both.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use outplane_compiler::compile::Compiled;
use outplane_compiler::lookup::{Lookup, Trace};
use outplane_compiler::program::Program;
use outplane_intent::evaluate::{Entrance, Evaluator, Step, Verdict};
use outplane_intent::packet::Packet;
use outplane_intent::reader::Sources;
use serde::Serialize;

use crate::compiled::schema;
use crate::entries::{EntryForm, matches_text, origin_text};
use crate::input::Input;
use crate::output::{BAD, FAINT, HEAD, styled};

/// A verdict and who decided: what a batch line answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    /// `allow` or `deny`.
    verdict: &'static str,
    policy: Option<String>,
    rule: Option<String>,
}

impl Answer {
    fn new(allow: bool, policy: Option<String>, rule: Option<String>) -> Self {
        Self { verdict: if allow { "allow" } else { "deny" }, policy, rule }
    }

    fn of_verdict(verdict: Verdict) -> Self {
        Self::new(verdict.allow, verdict.policy, verdict.rule)
    }

    fn of_trace(trace: Trace<'_>) -> Self {
        Self::new(trace.allow, trace.policy, trace.rule)
    }

    /// Whether the packet passes.
    pub(super) fn allow(&self) -> bool {
        self.verdict == "allow"
    }

    /// Who decided, for people.
    pub(super) fn by(&self) -> String {
        match (&self.policy, &self.rule) {
            (Some(policy), Some(rule)) => format!("{policy}, rule {rule}"),
            (Some(policy), None) => policy.clone(),
            (None, _) => "no policy decides".to_owned(),
        }
    }

    /// Where the rule was said, or else the policy.
    pub(super) fn location(&self, sources: &Sources) -> Option<String> {
        let policy = self.policy.as_deref()?;
        let rule = self.rule.as_deref().and_then(|rule| sources.rule(policy, rule));
        rule.or_else(|| sources.object(policy)).map(|location| location.to_string())
    }
}

/// How an answer came about.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explained {
    #[serde(skip)]
    pub(super) answer: Answer,
    /// The segment that the packet enters in.
    segment: Option<String>,
    /// Whether the drop is reported to the controller.
    log: bool,
    /// Whether a rate limit lets only so many through.
    limited: bool,
    /// The entries that the packet hits, in the order of the tables; not with --intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryForm>>,
    #[serde(skip)]
    lines: Vec<String>,
    /// What the intent says, stage by stage; with --intent and --both.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Step>>,
    /// What the intent says where that is something else; with --both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disagreement: Option<Answer>,
}

impl Explained {
    fn of_verdict(verdict: Verdict) -> Self {
        let Verdict { allow, policy, rule, log, rate_limit, segment, steps } = verdict;
        Self {
            answer: Answer::new(allow, policy, rule),
            segment,
            log,
            limited: rate_limit.is_some(),
            entries: None,
            lines: Vec::new(),
            steps: Some(steps),
            disagreement: None,
        }
    }

    fn of_trace(trace: Trace<'_>, segment: Option<String>) -> Self {
        let line = |entry: &outplane_p4runtime::entry::Entry| {
            let table = crate::entries::table_name(schema(), entry.key.table);
            let action = schema().describe_action(&entry.action);
            let origin = styled(FAINT, origin_text(&entry.metadata));
            format!("{table}: {} -> {action}  {origin}", matches_text(schema(), &entry.key))
        };
        Self {
            segment,
            log: trace.log,
            limited: trace.limiter.is_some(),
            entries: Some(trace.hits.iter().map(|hit| EntryForm::new(schema(), hit.entry)).collect()),
            lines: trace.hits.iter().map(|hit| line(hit.entry)).collect(),
            steps: None,
            disagreement: None,
            answer: Answer::of_trace(trace),
        }
    }

    /// What follows the verdict.
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let segment =
            self.segment.as_ref().map_or_else(|| "no segment".to_owned(), |name| format!("segment {name}"));
        write!(out, "  enters in {segment}")?;
        if self.limited {
            write!(out, "; passes up to a rate limit")?;
        }
        if self.log {
            write!(out, "; the drop is reported to the controller")?;
        }
        writeln!(out)?;
        if self.entries.is_some() {
            writeln!(out, "  {}", styled(HEAD, "entries that it hits"))?;
            for line in &self.lines {
                writeln!(out, "    {line}")?;
            }
            if self.lines.is_empty() {
                writeln!(out, "    none")?;
            }
        }
        if let Some(steps) = &self.steps {
            writeln!(out, "  {}", styled(HEAD, "what the intent says"))?;
            for step in steps {
                writeln!(out, "    {}", step.text)?;
            }
        }
        if let Some(other) = &self.disagreement {
            let other = format!("{} by {}", other.verdict, other.by());
            writeln!(out, "  {} the intent says {other}; please report this", styled(BAD, "they disagree:"))?;
        }
        Ok(())
    }
}

/// Whom to ask, about which switches.
pub(super) struct Judge<'a> {
    evaluator: Evaluator<'a>,
    at: Timestamp,
    segments: BTreeMap<String, u16>,
    switches: Vec<(String, Option<Lookup<'a>>)>,
    /// Ask the intent.
    intent: bool,
}

impl<'a> Judge<'a> {
    /// Asks the intent if `intent` says so, and the entries if there are any.
    pub(super) fn new(
        input: &'a Input,
        compiled: Option<&'a Compiled>,
        switches: Vec<String>,
        intent: bool,
    ) -> Self {
        let lookup = |switch: &String| {
            let state = compiled.and_then(|compiled| compiled.switches.get(switch))?;
            Some(Lookup::new(Program::outplane(), &state.desired.entries, None))
        };
        Self {
            evaluator: Evaluator::new(&input.intent),
            at: input.at,
            segments: compiled.map(|compiled| compiled.segments.clone()).unwrap_or_default(),
            switches: switches.into_iter().map(|switch| (switch.clone(), lookup(&switch))).collect(),
            intent: intent || compiled.is_none(),
        }
    }

    fn verdict(&self, switch: &str, packet: &Packet) -> Option<Verdict> {
        self.intent.then(|| self.evaluator.evaluate(Some(switch), self.at, packet))
    }

    fn trace(&self, switch: &str, lookup: &Lookup<'a>, packet: &Packet) -> (Trace<'a>, Entrance) {
        let entrance = self.evaluator.entrance(Some(switch), packet);
        (lookup.trace(packet, &entrance, &self.segments), entrance)
    }

    /// The answers alone, by switch.
    pub(super) fn answers(&self, packet: &Packet) -> Result<Vec<(&str, Answer)>, String> {
        let answer = |(switch, lookup): &'_ (String, Option<Lookup<'a>>)| {
            let intent = self.verdict(switch, packet).map(Answer::of_verdict);
            let entries =
                lookup.as_ref().map(|lookup| Answer::of_trace(self.trace(switch, lookup, packet).0));
            match (entries, intent) {
                (Some(entries), Some(intent)) if entries != intent => Err(format!(
                    "on switch {switch} the entries say {} by {}, the intent {} by {}; please report this",
                    entries.verdict,
                    entries.by(),
                    intent.verdict,
                    intent.by()
                )),
                (Some(answer), _) | (None, Some(answer)) => Ok(answer),
                (None, None) => Err(format!("there is no switch {switch}")),
            }
        };
        self.switches.iter().map(|pair| Ok((pair.0.as_str(), answer(pair)?))).collect()
    }

    /// The answers and how they came about, by switch.
    pub(super) fn explain(&self, packet: &Packet) -> Vec<(&str, Explained)> {
        let explain = |(switch, lookup): &'_ (String, Option<Lookup<'a>>)| {
            let intent = self.verdict(switch, packet).map(Explained::of_verdict);
            let entries = lookup.as_ref().map(|lookup| {
                let (trace, entrance) = self.trace(switch, lookup, packet);
                Explained::of_trace(trace, entrance.segment)
            });
            match (entries, intent) {
                (Some(mut entries), Some(intent)) => {
                    entries.disagreement = (entries.answer != intent.answer).then_some(intent.answer);
                    entries.steps = intent.steps;
                    Some(entries)
                }
                (entries, intent) => entries.or(intent),
            }
        };
        self.switches.iter().filter_map(|pair| Some((pair.0.as_str(), explain(pair)?))).collect()
    }
}
