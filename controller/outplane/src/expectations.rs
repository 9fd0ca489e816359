//! Whether what is expected of packets holds (`Expectation` objects): for `check`, and before anything is applied.

use std::collections::BTreeMap;

use outplane_compiler::compile::Compiled;
use outplane_intent::described::sentence;
use outplane_intent::expectation::ExpectedPacket;
use outplane_intent::reader::{Code, Diagnostic, Severity};

use crate::commands::trace::judge::{Judge, Said};
use crate::input::{Input, Refused};
use crate::output::count;

/// So many that fail are told.
const TOLD: usize = 200;

/// What is said about expectations on the command line.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Ignoring {
    /// Go on although something else becomes of a packet than an Expectation of the files says
    #[arg(long)]
    ignore_expectations: bool,
}

/// Those that do not hold.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    /// Why, each with its place.
    pub(crate) errors: Vec<Diagnostic>,
    /// More than are told.
    pub(crate) omitted: usize,
}

/// Judges every packet on the switches that it is about, by what they should hold.
pub(crate) fn failed(input: &Input, compiled: &Compiled) -> Failed {
    let mut failed = Failed {
        errors: input.unjudged.iter().take(TOLD).cloned().collect(),
        omitted: input.unjudged.len().saturating_sub(TOLD),
    };
    if input.expectations.is_empty() {
        return failed;
    }
    let live = BTreeMap::new();
    let switches = compiled.switches.keys().cloned().collect();
    let judge = Judge::new(input, Some(compiled), &live, switches, false);
    for (name, expectation) in &input.expectations {
        let object = format!("Expectation/{name}");
        for expected in &expectation.packets {
            match one(input, &judge, &object, expected) {
                Some(error) if failed.errors.len() < TOLD => failed.errors.push(error),
                Some(_) => failed.omitted += 1,
                None => {}
            }
        }
    }
    failed
}

/// Refuses the input if something is not as expected, unless that is to be ignored: then it is only told.
pub(crate) fn require(input: &Input, compiled: &Compiled, ignoring: Ignoring) -> Result<(), Refused> {
    let Failed { errors, omitted } = failed(input, compiled);
    let Some(first) = errors.first() else { return Ok(()) };
    if !ignoring.ignore_expectations {
        return Err(Refused { errors, warnings: input.warnings.clone(), omitted_errors: omitted });
    }
    let number = count(errors.len() + omitted, "expectation does", "expectations do");
    let place = first.location().map(|place| format!(" ({place})")).unwrap_or_default();
    tracing::warn!(
        "{number} not hold or cannot be judged, which is ignored, as asked for; the first: {first}{place}"
    );
    Ok(())
}

/// What is wrong, if anything.
fn one(input: &Input, judge: &Judge<'_>, object: &str, expected: &ExpectedPacket) -> Option<Diagnostic> {
    let about = |switch: &&str| expected.switch.as_deref().is_none_or(|only| only == *switch);
    let fault = |message: String| {
        let (severity, code) = (Severity::Error, Code::ExpectationFailed);
        input.sources.diagnostic(severity, code, object, Some(&expected.name), message)
    };
    // The reader has made sure that it is a packet, or one for each pair of pods.
    let packets = match expected.packet.packets(&input.intent, judge.switches().filter(about)) {
        Ok(packets) => packets,
        Err(message) => return Some(fault(message)),
    };
    let mut wrong = Vec::new();
    for packet in packets {
        let answers = match judge.outcomes(&packet, expected.packet.dst_mac) {
            Ok(answers) => answers,
            Err(message) => return Some(fault(message)),
        };
        let other = answers.into_iter().filter(|(switch, said)| about(switch) && !holds(expected, said));
        wrong.extend(other.map(|(switch, said)| (sentence(&packet), switch, said)));
    }
    let ((packet, switch, said), others) = wrong.split_first()?;
    let likewise = match (others.len(), others.iter().any(|(other, ..)| other != packet)) {
        (0, _) => String::new(),
        (more, false) => format!(", and on {more} more otherwise than expected"),
        (_, true) => format!(", and {} otherwise than expected", count(others.len(), "more is", "more are")),
    };
    let mut error = fault(format!(
        "{packet}: expected {}; on switch {switch} it is {}{likewise}",
        wanted(expected),
        said.text()
    ));
    let (_, answer) = said.outcome();
    if let Some(policy) = answer.policy() {
        error = input.sources.also(error, policy, answer.rule(), "this decides");
    }
    Some(
        error
            .help("correct the policies or the expectation; --ignore-expectations applies them all the same"),
    )
}

fn holds(expected: &ExpectedPacket, said: &Said) -> bool {
    let same =
        |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|one| Some(one) == found);
    let (fate, answer) = said.outcome();
    fate == expected.expect && same(&expected.policy, answer.policy()) && same(&expected.rule, answer.rule())
}

/// `allow by FilterPolicy/servers, rule web`.
fn wanted(expected: &ExpectedPacket) -> String {
    let by = expected.policy.iter().map(|policy| format!(" by {policy}"));
    let rule = expected.rule.iter().map(|rule| format!(", rule {rule}"));
    std::iter::once(expected.expect.word().to_owned()).chain(by).chain(rule).collect()
}
