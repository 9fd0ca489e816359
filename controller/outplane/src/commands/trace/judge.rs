//! Who says what happens to a packet: the compiled entries, or the intent itself.

use std::io::{self, Write};

use jiff::Timestamp;
use outplane_intent::evaluate::{Evaluator, Step, Verdict};
use outplane_intent::packet::Packet;
use outplane_intent::reader::Sources;
use serde::Serialize;

use crate::input::Input;
use crate::output::{FAINT, styled};

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
    /// What the intent said, stage by stage; with --intent and --both.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Step>>,
    /// Whether intent and entries say the same; with --both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agree: Option<bool>,
}

impl Explained {
    /// What follows the verdict.
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for step in self.steps.iter().flatten() {
            writeln!(out, "  {}", step.text)?;
        }
        if self.log {
            writeln!(out, "  {}", styled(FAINT, "reported to the controller"))?;
        }
        Ok(())
    }
}

/// Whom to ask.
pub(super) enum Judge<'a> {
    /// The intent.
    Intent { evaluator: Evaluator<'a>, at: Timestamp, switches: Vec<String> },
}

impl<'a> Judge<'a> {
    pub(super) fn intent(input: &'a Input, switches: Vec<String>) -> Self {
        Self::Intent { evaluator: Evaluator::new(&input.intent), at: input.at, switches }
    }

    /// The answers alone, by switch.
    pub(super) fn answers(&self, packet: &Packet) -> Result<Vec<(&str, Answer)>, String> {
        match self {
            Self::Intent { evaluator, at, switches } => Ok(switches
                .iter()
                .map(|switch| (switch.as_str(), of_verdict(evaluator.evaluate(Some(switch), *at, packet))))
                .collect()),
        }
    }

    /// The answers and how they came about, by switch.
    pub(super) fn explain(&self, packet: &Packet) -> Vec<(&str, Explained)> {
        match self {
            Self::Intent { evaluator, at, switches } => switches
                .iter()
                .map(|switch| (switch.as_str(), explained(evaluator.evaluate(Some(switch), *at, packet))))
                .collect(),
        }
    }
}

fn of_verdict(verdict: Verdict) -> Answer {
    Answer::new(verdict.allow, verdict.policy, verdict.rule)
}

fn explained(verdict: Verdict) -> Explained {
    let Verdict { allow, policy, rule, log, segment, steps, .. } = verdict;
    Explained { answer: Answer::new(allow, policy, rule), segment, log, steps: Some(steps), agree: None }
}
