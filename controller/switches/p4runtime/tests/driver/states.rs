//! Desired states to write, and connections to write them by.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use outplane_compiler::entries::Entries;
use outplane_compiler::program::{ActionKind, Field, Program, Table};
use outplane_compiler::state::{Desired, Installed, Origin};
use outplane_driver::Lease;
use outplane_driver_p4runtime::{
    Backoff, Connection, ConvergeOptions, Options, Pipeline, Push, Rules, Target, WriteOptions,
};
use outplane_p4runtime::entry::{Action, Entry, Key, Match, MeterCell, MulticastGroup};

/// Converges, and reads the switch again afterwards.
pub(crate) const VERIFY: ConvergeOptions<'static> = ConvergeOptions {
    push: Push::IfDifferent,
    verify: true,
    keep_a_policy: false,
    keep: None,
    rules: Rules::Ignore,
    write: WriteOptions { progress: None, lease: Lease::OPEN, counts: None },
};

pub(crate) fn program() -> &'static Program {
    Program::outplane()
}

pub(crate) fn pipeline() -> Arc<Pipeline> {
    Arc::new(Pipeline::outplane().clone())
}

/// An entry that says who asked for it.
pub(crate) fn entry(key: Key, action: Action, rule: &str) -> Entry {
    let origin = Origin { policy: "FilterPolicy/edge".into(), rule: rule.into(), order: 1 };
    Entry { key, action, metadata: origin.encode() }
}

fn ternary(value: u128, mask: u128) -> Match {
    Match::Ternary { value, mask }
}

/// The source address 10.x.y.z with the number `n` gets a class.
pub(crate) fn class(n: u32, class: u128) -> Entry {
    let address = u128::from(0x0a00_0000 | n);
    let key = program().key(Table::SrcV4Class, 1, [(Field::Address, ternary(address, 0xffff_ffff))]);
    entry(key, program().action(ActionKind::SetSrcClass, &[class, 0]), &format!("class-{n}"))
}

/// Packets of a class are permitted, or denied.
pub(crate) fn filter(class: u128, action: ActionKind) -> Entry {
    let matches = [(Field::SrcClass, ternary(class, 0xffff)), (Field::Protocol, ternary(6, 0xff))];
    let arguments: &[u128] = if action == ActionKind::AdminPermitLimited { &[3] } else { &[] };
    let key = program().key(Table::FilterAdmin, 10, matches);
    entry(key, program().action(action, arguments), &format!("rule-{class}"))
}

/// Frames to nobody in particular go to a group.
pub(crate) fn flood(segment: u128, group: u128) -> Entry {
    let key = program().key(Table::Flood, 0, [(Field::Segment, Match::Exact(segment))]);
    entry(key, program().action(ActionKind::FloodTo, &[group]), "flood")
}

pub(crate) fn desired(entries: Vec<Entry>) -> Desired {
    Desired { entries: entries.into(), ..Desired::default() }
}

/// A policy of `classes` classes, where action says what becomes of their packets, with a bit of everything around.
pub(crate) fn policy(classes: u32, action: ActionKind) -> Desired {
    let port_range = program().key(
        Table::DportClass,
        2,
        [(Field::Protocol, ternary(6, 0xff)), (Field::Port, Match::Range { low: 80, high: 443 })],
    );
    let entries = (1..=classes)
        .flat_map(|n| [class(n, u128::from(n) % 1000 + 1), filter(u128::from(n), action)])
        .chain([flood(1, 1), entry(port_range, program().action(ActionKind::SetDportClass, &[1]), "ports")])
        .collect();
    let rate =
        MeterCell { meter: program().rate_limiter(), index: 3, cir: 100, cburst: 10, pir: 100, pburst: 10 };
    Desired { entries, groups: vec![MulticastGroup { id: 1, ports: vec![1, 2, 3] }], meters: vec![rate] }
}

/// Whether what is installed is what is desired, versions apart.
pub(crate) fn assert_holds(installed: &Installed, desired: &Desired) {
    let versionless = |entry: &Entry| {
        let mut entry = entry.clone();
        let table = program().table_of(entry.key.table).expect("a table of the program");
        let version = program().field(table, Field::Version);
        entry.key.matches.retain(|matched| Some(matched.field) != version);
        entry
    };
    let entries: Entries = installed.entries.iter().map(versionless).collect();
    assert_eq!(entries.len(), desired.entries.len());
    assert_eq!(entries, desired.entries);
    assert_eq!(installed.groups, desired.groups);
    assert_eq!(installed.meters, desired.meters);
    assert_ne!(installed.version, 0);
}

pub(crate) fn target(address: impl Display + Copy) -> Target {
    Target { name: "leaf1".into(), address: address.to_string(), device_id: 1, role: None, tls: None }
}

/// Short waits, so that what never comes is noticed soon.
pub(crate) fn options() -> Options {
    let backoff =
        Backoff { first: Duration::from_millis(20), limit: Duration::from_millis(200), attempts: 12 };
    Options { backoff, ..Options::default() }
}

pub(crate) async fn open(address: impl Display + Copy) -> Connection {
    open_with(address, options()).await
}

pub(crate) async fn open_with(address: impl Display + Copy, options: Options) -> Connection {
    Connection::open(target(address), pipeline(), options).await.expect("a connection")
}
