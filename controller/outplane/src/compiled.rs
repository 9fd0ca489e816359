//! Policies compiled, and what is said when they do not fit.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use outplane_compiler::capacity::{Overflow, ResourceUsage};
use outplane_compiler::compile::{self, CompileError, Compiled, Note, Options, SwitchState};
use outplane_compiler::numbers::Numbers;
use outplane_compiler::program::Program;
use outplane_compiler::state::Installed;
use outplane_intent::model::Intent;
use outplane_intent::reader::{Code, Diagnostic, Severity, Sources};
use outplane_p4runtime::Schema;
use serde::Serialize;

use crate::input::{Input, Refused};
use crate::output::{FAINT, HEAD, columns_and_text, count, grouped, styled};

/// The names of what is in a switch.
pub(crate) fn schema() -> &'static Schema {
    Program::outplane().schema()
}

/// Compiles what was read, all numbers anew; errors say where in the files they come from.
pub(crate) fn compile(input: &Input) -> Result<Compiled, Refused> {
    compile_after(input, &Numbers::default())
}

/// Compiles what was read; what is as it was keeps its numbers.
pub(crate) fn compile_after(input: &Input, before: &Numbers) -> Result<Compiled, Refused> {
    tracing::debug!(at = %input.at, "compiling");
    compile::compile_after(&input.intent, &Options { at: input.at }, before)
        .map_err(|error| refused(input, &error))
}

/// What one switch should hold, compiled after what it holds: what did not change keeps its numbers. As it is where nothing
/// is there, or where it does not fit with these numbers.
pub(crate) fn for_switch(
    (intent, at): (&Intent, Timestamp),
    switch: &str,
    installed: &Installed,
    state: SwitchState,
) -> SwitchState {
    if installed.version == 0 || installed.entries.is_empty() {
        return state;
    }
    let numbers = Numbers::of_installed(Program::outplane(), switch, installed);
    let mut alone = intent.clone();
    alone.switches.retain(|name, _| name == switch);
    let compiled = compile::compile_after(&alone, &Options { at }, &numbers);
    compiled.ok().and_then(|mut compiled| compiled.switches.remove(switch)).unwrap_or(state)
}

fn refused(input: &Input, error: &CompileError) -> Refused {
    let sources = &input.sources;
    let errors = match error {
        CompileError::Capacity { overflows } => {
            overflows.iter().map(|overflow| too_full(sources, overflow)).collect()
        }
        CompileError::Places { policy, .. } => {
            vec![sources.diagnostic(Severity::Error, Code::Capacity, policy, None, error.to_string())]
        }
    };
    Refused { errors, warnings: input.warnings.clone(), omitted_errors: 0 }
}

fn too_full(sources: &Sources, overflow: &Overflow) -> Diagnostic {
    let biggest = overflow
        .biggest
        .iter()
        .map(|(policy, _)| policy.as_str())
        .find(|policy| sources.object(policy).is_some());
    let object = biggest.map_or_else(|| format!("Switch/{}", overflow.switch), str::to_owned);
    let help = if overflow.biggest.is_empty() {
        "no policy takes them, but segments, ports and hosts do: describe fewer of them for this switch"
    } else {
        "simplify the policies that need most, or bind them to fewer switches with `appliesTo`"
    };
    sources.diagnostic(Severity::Error, Code::Capacity, &object, None, overflow.to_string()).help(help)
}

/// What only compiling finds: rules that come down to nothing. Others the reader has found already.
pub(crate) fn warnings(input: &Input, compiled: &Compiled) -> Vec<Diagnostic> {
    let known = |object: &str| {
        input.warnings.iter().any(|w| w.object() == Some(object) && matches!(w.code(), Code::SelectsNothing))
    };
    let warning = |note: &Note| match note {
        Note::MatchesNothing { policy, rule, empty } if !known(policy) => {
            let message = format!("rule {rule} matches nothing: {empty}");
            let (severity, code) = (Severity::Warning, Code::SelectsNothing);
            Some(input.sources.diagnostic(severity, code, policy, Some(rule), message))
        }
        _ => None,
    };
    compiled.notes.iter().filter_map(warning).collect()
}

/// A digest in hexadecimal.
pub(crate) fn digest(state: &SwitchState) -> String {
    use std::fmt::Write as _;
    state.desired.digest().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a switch would hold.
#[derive(Debug, Serialize)]
pub(crate) struct SwitchUsage {
    switch: String,
    /// SHA-256 of the desired state.
    digest: String,
    /// Entries of all tables.
    entries: usize,
    resources: Vec<ResourceUsage>,
}

impl SwitchUsage {
    /// Of every switch, by name.
    pub(crate) fn of(compiled: &Compiled) -> Vec<Self> {
        let usage = |(switch, state): (&String, &SwitchState)| Self {
            switch: switch.clone(),
            digest: digest(state),
            entries: state.desired.entries.len(),
            resources: state.usage.clone(),
        };
        compiled.switches.iter().map(usage).collect()
    }

    /// The usage for people; resources that nothing uses are left out.
    pub(crate) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} {}, {}",
            styled(HEAD, format_args!("Switch {}", self.switch)),
            count(self.entries, "entry", "entries"),
            styled(FAINT, format_args!("digest {}", &self.digest[..16])),
        )?;
        usage_table(out, &self.resources)
    }
}

/// Resources, how much of them is used, and by whom most.
pub(crate) fn usage_table(out: &mut dyn Write, resources: &[ResourceUsage]) -> io::Result<()> {
    let used: Vec<&ResourceUsage> = resources.iter().filter(|usage| usage.used > 0).collect();
    if used.is_empty() {
        return writeln!(out, "  nothing is used");
    }
    let rows = used.into_iter().map(|usage| {
        let biggest = usage.biggest(3).into_iter().filter(|(policy, _)| policy != "-");
        let biggest: Vec<String> =
            biggest.map(|(policy, used)| format!("{policy} ({})", grouped(used))).collect();
        vec![
            usage.resource.name().to_owned(),
            grouped(usage.used),
            grouped(usage.size),
            percent(usage),
            biggest.join(", "),
        ]
    });
    columns_and_text(out, &["resource", "used", "of", "%", "most by"], &[1, 2, 3], rows)
}

/// A share with one digit: `0.1`.
fn percent(usage: &ResourceUsage) -> String {
    // Rounded up, so that what is not empty never looks so.
    let permille = (u128::from(usage.used) * 1000).div_ceil(u128::from(usage.size.max(1)));
    format!("{}.{}", permille / 10, permille % 10)
}

/// Entries by table, in the order of the program.
pub(crate) fn by_table<'e, E>(
    entries: impl IntoIterator<Item = &'e E>,
    table: impl Fn(&E) -> u32,
) -> Vec<(u32, Vec<&'e E>)> {
    let mut tables: BTreeMap<u32, Vec<&E>> = BTreeMap::new();
    for entry in entries {
        tables.entry(table(entry)).or_default().push(entry);
    }
    let order: Vec<u32> = schema().tables().iter().map(|table| table.id).collect();
    let place = |id: &u32| order.iter().position(|known| known == id).unwrap_or(order.len());
    let mut tables: Vec<_> = tables.into_iter().collect();
    tables.sort_by_key(|(id, _)| place(id));
    tables
}
