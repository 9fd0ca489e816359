//! Golden files: what a handful of intents compile to, for people to read. `UPDATE_GOLDEN=1` writes them anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use outplane_compiler::compile::{Compiled, Options, compile};
use outplane_compiler::program::{Program, Table};
use outplane_compiler::state::Origin;
use outplane_intent::reader;
use outplane_intent::testing::universe;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All of a compiled intent, tables in the order in which packets meet them.
fn text(compiled: &Compiled) -> String {
    let program = Program::outplane();
    let schema = program.schema();
    let mut text = String::new();
    for (name, id) in &compiled.segments {
        let _ = writeln!(text, "segment {name}: {id}");
    }
    for note in &compiled.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for opening in &compiled.openings {
        let _ = writeln!(text, "opens: {opening}");
    }
    for (switch, state) in &compiled.switches {
        let digest =
            state.desired.digest().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let _ = writeln!(text, "\nswitch {switch}, digest {digest}");
        for table in Table::ALL {
            let mut entries: Vec<_> = state
                .desired
                .entries
                .iter()
                .filter(|entry| entry.key.table == program.table(*table))
                .collect();
            // As packets see them: the highest priority first.
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.key.priority));
            for entry in entries {
                let Origin { policy, rule, order } =
                    Origin::decode(&entry.metadata).expect("every entry is ours");
                let _ = writeln!(text, "  {}  # {policy} {rule} ({order})", schema.describe(entry));
            }
        }
        for group in &state.desired.groups {
            let _ = writeln!(text, "  group {}: ports {:?}", group.id, group.ports);
        }
        for cell in &state.desired.meters {
            let (index, rate, burst) = (cell.index, cell.cir, cell.cburst);
            let _ = writeln!(text, "  meter cell {index}: {rate} packets/s, burst {burst}");
        }
        for usage in state.usage.iter().filter(|usage| usage.used > 0) {
            let policies: Vec<String> =
                usage.policies.iter().map(|(policy, used)| format!("{policy} {used}")).collect();
            let (name, used, size) = (usage.resource.name(), usage.used, usage.size);
            let _ = writeln!(text, "  {name}: {used} of {size}; {}", policies.join(", "));
        }
    }
    text
}

fn check(name: &str) {
    let source = folder().join(name).with_extension("yaml");
    let yaml = std::fs::read_to_string(&source).expect("a golden intent");
    let loaded =
        reader::parse([(name, yaml)]).unwrap_or_else(|errors| panic!("{name}: {}", errors.render(false)));
    let compiled = compile(&loaded.intent, &Options { at: universe::now() }).expect("it fits");
    let found = text(&compiled);
    let golden = source.with_extension("expected");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).expect("the golden folder can be written");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        found == expected,
        "{name} compiles to something else; UPDATE_GOLDEN=1 if that is meant:\n{}",
        difference(&expected, &found)
    );
}

fn difference(expected: &str, found: &str) -> String {
    let lines = |one: &str, other: &str, mark: &str| {
        let gone = one.lines().filter(|line| !other.lines().any(|same| same == *line));
        gone.fold(String::new(), |text, line| text + mark + line + "\n")
    };
    lines(expected, found, "- ") + &lines(found, expected, "+ ")
}

#[test]
fn addresses() {
    check("addresses");
}

#[test]
fn traffic() {
    check("traffic");
}

#[test]
fn segments() {
    check("segments");
}

#[test]
fn kubernetes() {
    check("kubernetes");
}
