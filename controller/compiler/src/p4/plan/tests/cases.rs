//! The rules one by one, and what is refused.

use std::collections::BTreeMap;

use outplane_p4runtime::Schema;

use super::model::{Switch, class, desired, flood, group, meter, program, segment};
use crate::plan::{Counts, PlanError, for_version, plan};
use crate::program::Program;
use crate::state::{Desired, Installed, Plan};

/// Step titles and numbers of writes.
fn shape(plan: &Plan) -> Vec<(&'static str, usize)> {
    plan.steps.iter().map(|step| (step.title, step.changes.len())).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_shape_of_each_kind_of_update() {
    let program = program();
    let (one, two, three) = (segment(1, 10, "a"), segment(2, 20, "a"), segment(3, 30, "a"));
    let exactly = |entry, version| for_version(program, entry, Some(version));
    let cases = [
        ("nothing at all shows a policy without entries", 0, vec![], vec![], vec![("flip", 1)]),
        ("the first policy", 0, vec![], vec![one.clone(), two.clone()], vec![("prepare", 2), ("flip", 1)]),
        ("no difference", 1, vec![one.clone(), exactly(&two, 1)], vec![one.clone(), two.clone()], vec![]),
        (
            "another entry, and no other change: written where it stands",
            1,
            vec![one.clone()],
            vec![one.clone(), two.clone()],
            vec![("prepare", 1)],
        ),
        ("one entry less", 1, vec![one.clone(), two.clone()], vec![one.clone()], vec![("clean up", 1)]),
        (
            "another action of one entry",
            1,
            vec![one.clone(), two.clone()],
            vec![segment(1, 11, "a"), two.clone()],
            vec![("prepare", 1)],
        ),
        (
            "two more entries",
            1,
            vec![one.clone()],
            vec![one.clone(), two.clone(), three.clone()],
            vec![("prepare", 2), ("flip", 1)],
        ),
        (
            "two entries less",
            1,
            vec![one.clone(), two.clone(), three.clone()],
            vec![one.clone()],
            vec![("pin", 2), ("restrict", 2), ("flip", 1), ("clean up", 2)],
        ),
        (
            "two entries less, which had not settled",
            2,
            vec![one.clone(), exactly(&two, 2), exactly(&three, 2)],
            vec![one.clone()],
            vec![("flip", 1), ("clean up", 2)],
        ),
        (
            "two other actions",
            1,
            vec![one.clone(), two.clone()],
            vec![segment(1, 11, "a"), segment(2, 21, "a")],
            vec![("pin", 2), ("restrict", 2), ("prepare", 2), ("flip", 1), ("clean up", 2)],
        ),
        (
            "two other actions, not settled",
            1,
            vec![exactly(&one, 1), exactly(&two, 1)],
            vec![segment(1, 11, "a"), segment(2, 21, "a")],
            vec![("prepare", 2), ("flip", 1), ("clean up", 2)],
        ),
        (
            "two more entries, and one settles",
            1,
            vec![exactly(&one, 1)],
            vec![one.clone(), two.clone(), three.clone()],
            vec![("prepare", 3), ("flip", 1), ("clean up", 1)],
        ),
        ("another rule asks for it", 1, vec![one.clone()], vec![segment(1, 10, "b")], vec![("clean up", 1)]),
        (
            "left by an update that was killed before its flip",
            1,
            vec![one.clone(), exactly(&two, 2)],
            vec![one.clone()],
            vec![("sweep", 1)],
        ),
        (
            "what such an update left is used",
            1,
            vec![one.clone(), exactly(&two, 2)],
            vec![one.clone(), two.clone()],
            vec![("flip", 1)],
        ),
        (
            "killed after its flip",
            2,
            vec![one.clone(), exactly(&segment(2, 21, "a"), 1), exactly(&two, 2)],
            vec![one.clone(), two.clone()],
            vec![("sweep", 1)],
        ),
        (
            "forwarding alone does not flip",
            1,
            vec![flood(1, 0)],
            vec![flood(2, 0)],
            vec![("prepare", 1), ("clean up", 1)],
        ),
    ];
    for (what, version, installed, wanted, expected) in cases {
        let mut switch = Switch::with(version, installed);
        let wanted = desired(wanted);
        let plan = plan(program, &switch.read(), &wanted).expect("a plan");
        assert_eq!(shape(&plan), expected, "{what}");
        assert_eq!(plan.flips(), shape(&plan).contains(&("flip", 1)), "{what}");
        switch.run(&plan);
        assert_eq!(switch.holds(), wanted, "{what}");
    }
}

#[test]
fn groups_come_before_the_entries_that_use_them_and_go_after() {
    let mut switch = Switch { version: 1, ..Switch::default() };
    let first =
        Desired { groups: vec![group(5, &[1, 2])], meters: vec![meter(0, 10)], ..desired(vec![flood(1, 5)]) };
    let to_first = plan(program(), &switch.read(), &first).expect("a plan");
    assert_eq!(shape(&to_first), [("pin", 2), ("prepare", 1)]);
    switch.run(&to_first);
    let second = Desired { groups: vec![group(6, &[1])], ..desired(vec![flood(1, 6)]) };
    let to_second = plan(program(), &switch.read(), &second).expect("a plan");
    assert_eq!(shape(&to_second), [("pin", 1), ("prepare", 1), ("release", 2)]);
    switch.run(&to_second);
    assert_eq!(switch.holds(), second);
    assert!(plan(program(), &switch.read(), &second).expect("a plan").is_empty());
}

#[test]
fn the_summary_counts_by_table_and_kind() {
    let installed = Switch::with(1, vec![segment(1, 10, "a"), flood(1, 0)]).read();
    let wanted = Desired {
        groups: vec![group(5, &[1])],
        meters: vec![meter(0, 10)],
        ..desired(vec![segment(1, 11, "a"), class(7, 1), flood(1, 5)])
    };
    let summary = plan(program(), &installed, &wanted).expect("a plan").summary(program());
    let counts = |inserts, modifies, deletes| Counts { inserts, modifies, deletes };
    assert_eq!((summary.from_version, summary.to_version, summary.total), (1, 2, 9));
    assert_eq!(
        summary.tables,
        BTreeMap::from([
            ("flood".to_owned(), counts(0, 1, 0)),
            ("segment_of".to_owned(), counts(2, 0, 2)),
            ("src_v4_class".to_owned(), counts(1, 0, 0)),
        ])
    );
    assert_eq!((summary.groups, summary.meters), (counts(1, 0, 0), counts(0, 1, 0)));
    assert_eq!(summary.groups.total(), 1);
}

/// The program with tables of three entries.
fn small() -> Program {
    let text = outplane_p4::P4INFO.replace("size: 4096", "size: 3");
    Program::new(Schema::from_text(&text).expect("still a P4Info")).expect("the same tables")
}

#[test]
fn a_table_that_would_overflow_is_refused_with_its_number_and_a_cure() {
    let program = &small();
    let segments =
        |range: std::ops::Range<u128>| range.map(|port| segment(port, port, "a")).collect::<Vec<_>>();
    let full = Switch::with(1, segments(0..3)).read();

    let more = plan(program, &full, &desired(segments(0..4))).expect_err("four do not fit").to_string();
    assert_eq!(
        more,
        "table segment_of has room for 3 entries and would need 4 during the update: make the policy smaller (fewer or \
         wider addresses, ports and rules), or give the switch a program with larger tables"
    );
    let changed = desired(vec![segment(0, 9, "a"), segment(1, 8, "a"), segment(2, 2, "a")]);
    let changed = plan(program, &full, &changed).expect_err("no room for a copy").to_string();
    assert_eq!(
        changed,
        "table segment_of has room for 3 entries and would need 5 during the update: old and new policy fit alone but \
         not side by side; apply the change in two smaller ones"
    );
    let foreign =
        Installed { foreign: BTreeMap::from([(segment(0, 0, "a").key.table, 2)]), ..Installed::default() };
    let crowded = plan(program, &foreign, &desired(segments(0..2))).expect_err("two are taken").to_string();
    assert!(crowded.contains("would need 4 during the update (2 of them are of other owners)"), "{crowded}");

    // A table that is too full already may become emptier.
    let too_full =
        Switch::with(1, segments(0..5).iter().map(|e| for_version(program, e, Some(1))).collect()).read();
    plan(program, &too_full, &desired(vec![])).expect("nothing is inserted");
    plan(program, &full, &desired(segments(0..3))).expect("nothing to do");
}

#[test]
fn entries_of_others_in_the_way_are_refused_whatever_their_version() {
    let ours = segment(1, 10, "a");
    for version in [None, Some(1), Some(2)] {
        let installed = Installed {
            foreign_keys: vec![for_version(program(), &ours, version).key, segment(9, 9, "").key],
            ..Installed::default()
        };
        let error =
            plan(program(), &installed, &desired(vec![ours.clone()])).expect_err("in the way").to_string();
        assert_eq!(
            error,
            "an entry of another owner is in the way: segment_of priority 1: ingress_port=1 -> \
             set_segment(segment=10); remove it, or change the policy so that it is not needed"
        );
        plan(program(), &installed, &desired(vec![segment(2, 1, "a")])).expect("elsewhere");
    }
}

#[test]
fn a_desired_state_that_is_none_is_refused() {
    let versioned = desired(vec![for_version(program(), &segment(1, 10, "a"), Some(1))]);
    let twice = desired(vec![segment(1, 10, "a"), segment(1, 11, "a")]);
    for (wrong, part) in [(versioned, "says its version itself"), (twice, "there twice")] {
        let error = plan(program(), &Installed::default(), &wrong).expect_err("refused");
        assert!(matches!(error, PlanError::Desired { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
