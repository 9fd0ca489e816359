//! Servers that are odd, slow, full, or gone.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outplane_compiler::program::ActionKind;
use outplane_compiler::state::{Change, Desired, Installed, Plan, Step};
use outplane_driver_p4runtime::ClientProblem;
use outplane_driver_p4runtime::{
    Aftermath, Backoff, Connection, ConvergeOptions, Options, Primacy, Problem, Push, Pushed, WriteOptions,
};
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{MulticastGroupEntry, TableEntry, Update, WriteRequest};
use tonic::{Code, Status};

use crate::fake::{Fake, Fault};
use crate::states::{
    VERIFY, assert_holds, class, desired, flood, open, open_with, options, pipeline, policy, program, target,
};

/// Converges, and sees that it is so.
async fn converge(connection: &mut Connection, state: &Desired) -> outplane_driver_p4runtime::Report {
    let report = connection.apply(state, VERIFY).await.expect("converges");
    let installed = connection.read_installed(state, false).await.expect("a read").installed;
    assert_holds(&installed, state);
    report
}

/// An update of this table entry.
fn table_entry(update: &Update) -> Option<&TableEntry> {
    match update.entity.as_ref()?.entity.as_ref()? {
        Kind::TableEntry(entry) if !entry.is_default_action => Some(entry),
        _ => None,
    }
}

#[tokio::test]
async fn a_well_behaved_one() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    assert_eq!(connection.capabilities().await.expect("an answer").as_deref(), Some("1.5.0"));
    let state = policy(2500, ActionKind::AdminPermit);
    let report = converge(&mut connection, &state).await;
    assert_eq!((report.rounds, report.pipeline, report.written.repeated), (1, Pushed::Committed, 0));
    assert_eq!(report.plan.total, state.entries.len() + 3);
    assert_eq!(switch.manners().writes, [2, 1000, 1000, 1000, 1000, 1000, 2, 1]);
    let again = converge(&mut connection, &state).await;
    assert_eq!((again.plan.total, again.written.chunks, again.pipeline), (0, 0, Pushed::Kept));
    assert_eq!(switch.manners().pushes, 1);
    let read = connection.read_installed(&state, true).await.expect("a read").installed;
    assert_eq!(read.counters.len(), 2500);
    assert!(read.counters.values().all(|counter| (counter.packets, counter.bytes) == (2, 100)));
}

#[tokio::test]
async fn chunks_shrink_to_what_the_switch_takes_and_grow_back() {
    for refusal in [
        Status::resource_exhausted("grpc: received message larger than max"),
        Status::out_of_range("decoded message length too large"),
    ] {
        let switch = Fake::start().await;
        let mut connection = open(switch.address).await;
        switch.script(move |_, request: &WriteRequest| match request.updates.len() {
            301.. => Fault::Refuse(refusal.clone()),
            _ => Fault::None,
        });
        let report = converge(&mut connection, &policy(3000, ActionKind::AdminPermit)).await;
        assert_eq!(report.written.smallest_chunk, 250);
        assert!(report.written.repeated > 0);
        let writes = switch.manners().writes.clone();
        let refused = writes.iter().filter(|&&updates| updates > 300).count();
        // At first, with four under way, and when it grows back.
        assert!((8..=20).contains(&refused), "{refused} were refused: {writes:?}");
    }
}

#[tokio::test]
async fn one_update_that_is_always_too_large_is_refused_and_named() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let state = policy(40, ActionKind::AdminPermit);
    converge(&mut connection, &policy(30, ActionKind::AdminPermit)).await;
    let bad = program().schema().entry_to_proto(&class(35, 36)).r#match[0].clone();
    let has_bad = move |request: &WriteRequest| {
        let is_bad = |update| table_entry(update).is_some_and(|entry| entry.r#match.contains(&bad));
        request.updates.iter().any(is_bad)
    };
    switch.script(move |_, request| {
        if has_bad(request) { Fault::Refuse(Status::resource_exhausted("no memory")) } else { Fault::None }
    });
    let error = connection.apply(&state, VERIFY).await.expect_err("refused");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    assert_eq!((refusal.total, &refusal.aftermath), (1, &Aftermath::Undone), "{error}");
    assert!(
        error.to_string().contains("rule class-35): the table is full (RESOURCE_EXHAUSTED: no memory)"),
        "{error}"
    );
    switch.well_behaved();
    converge(&mut connection, &state).await;
}

#[tokio::test]
async fn answers_that_do_not_come_through_are_asked_for_again() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let before = policy(900, ActionKind::AdminPermit);
    converge(&mut connection, &before).await;
    // Everything is written, and the answer lost, for chunks of more than 100.
    switch.script(|_, request: &WriteRequest| match request.updates.len() {
        101.. => Fault::Lie(Status::internal("received trailing metadata size exceeds limit")),
        _ => Fault::None,
    });
    let report = converge(&mut connection, &policy(900, ActionKind::AdminDeny)).await;
    assert_eq!(report.rounds, 1);
    assert!(report.written.smallest_chunk <= 100);
    let report = converge(&mut connection, &policy(10, ActionKind::AdminDeny)).await;
    assert_eq!(report.rounds, 1);
}

/// Statuses that fill megabytes of headers: more than HTTP/2 libraries take by default.
#[tokio::test]
async fn long_errors_come_through() {
    static NOVEL: LazyLock<String> = LazyLock::new(|| WORDS.repeat(150));
    const WORDS: &str = "a rather long explanation of what is wrong with this update, as switches have it ..";
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    connection.ensure_pipeline(Push::IfDifferent).await.expect("a pipeline");
    switch.manners().refuses = Some(Box::new(|_| Some((Code::InvalidArgument, WORDS))));
    let changes = (0..1000).map(|n| Change::Insert(class(n, 1))).collect();
    let plan = Plan { steps: vec![Step { title: "wrong", changes }], ..Plan::default() };
    let error =
        connection.write(&plan, &Installed::default(), WriteOptions::default()).await.expect_err("refused");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    assert_eq!((refusal.total, refusal.failures[0].message.as_str()), (1000, WORDS));
    assert_eq!(switch.manners().writes, [1000], "at once");

    // More than even we take breaks the connection; the next round has smaller chunks.
    switch.well_behaved();
    switch.manners().refuses = Some(Box::new(|_| Some((Code::InvalidArgument, NOVEL.as_str()))));
    let state = desired((0..1000).map(|n| class(n, 1)).collect());
    let error = connection.apply(&state, VERIFY).await.expect_err("refused");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    assert_eq!((&refusal.failures[0].message, &refusal.aftermath), (&*NOVEL, &Aftermath::Undone));
    let writes = switch.manners().writes.clone();
    assert!(writes.len() > 1 && writes[0] == 1000, "{writes:?}");
}

#[tokio::test]
async fn aborted_updates_come_again() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    // Busy at first: chunks that are ABORTED as a whole.
    switch.script(|number, _| match number {
        0..3 => Fault::Refuse(Status::aborted("busy")),
        _ => Fault::None,
    });
    let report = converge(&mut connection, &policy(50, ActionKind::AdminPermit)).await;
    assert!(report.written.repeated > 0);

    // Others after the first failure, which here is only that an entry is there already.
    let schema = program().schema();
    let state = policy(300, ActionKind::AdminPermit);
    let mut early: Vec<_> =
        state.entries.iter().filter(|entry| entry.metadata.ends_with(b"class-200")).cloned().collect();
    let early = early.pop().expect("in the policy");
    let versioned = {
        let mut entry = early.clone();
        let version = outplane_p4runtime::entry::FieldMatch {
            field: 1,
            matches: outplane_p4runtime::entry::Match::Ternary { value: 2, mask: 0xff },
        };
        entry.key.matches.insert(0, version);
        schema.entry_to_proto(&entry)
    };
    let shared = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&shared);
    switch.script(move |_, request| {
        let has_it = request.updates.iter().any(|update| {
            update.r#type() == Type::Insert && table_entry(update).is_some_and(|entry| *entry == versioned)
        });
        if has_it {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        Fault::AbortRest
    });
    // Somebody wrote it between our read and our write: the write finds it there, and equal.
    let plan_from = connection.read_installed(&state, false).await.expect("a read").installed;
    let plan = outplane_compiler::plan::plan(program(), &plan_from, &state).expect("a plan");
    let there = plan.steps.iter().flat_map(|step| &step.changes).find_map(|change| match change {
        Change::Insert(entry) if entry.metadata == early.metadata => Some(schema.entry_to_proto(entry)),
        _ => None,
    });
    switch.put(there.expect("in the plan"));
    let written = connection.write(&plan, &plan_from, WriteOptions::default()).await.expect("written");
    assert!(written.repeated > 100, "{written:?}");
    assert_holds(&connection.read_installed(&state, false).await.expect("a read").installed, &state);
    assert!(shared.load(Ordering::Relaxed) <= 1);

    // ABORTED for ever is a refusal.
    switch.script(|_, _| Fault::Refuse(Status::aborted("never")));
    let error = connection.apply(&policy(301, ActionKind::AdminPermit), VERIFY).await.expect_err("never");
    assert!(matches!(*error.problem, Problem::Refused(_)), "{error}");
    assert!(error.to_string().contains("never (ABORTED)"), "{error}");
}

#[tokio::test]
async fn what_somebody_changes_in_between_is_read_again() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let state = policy(20, ActionKind::AdminPermit);
    converge(&mut connection, &state).await;
    let old = connection.read_installed(&state, false).await.expect("a read").installed;
    let next = policy(25, ActionKind::AdminPermit);
    let plan = outplane_compiler::plan::plan(program(), &old, &next).expect("a plan");
    // The same key, and another action.
    let taken = plan.steps.iter().flat_map(|step| &step.changes).find_map(|change| match change {
        Change::Insert(entry) if entry.metadata.ends_with(b"class-24") => {
            let mut entry = entry.clone();
            entry.action = class(24, 999).action;
            Some(program().schema().entry_to_proto(&entry))
        }
        _ => None,
    });
    switch.put(taken.expect("in the plan"));
    let error = connection.write(&plan, &old, WriteOptions::default()).await.expect_err("changed");
    assert!(matches!(*error.problem, Problem::Changed { .. }), "{error}");
    assert!(error.to_string().contains("insert src_v4_class priority 1"), "{error}");
    let read = connection.read_installed(&state, false).await.expect("a read").installed;
    assert_eq!(read.version, old.version, "no flip");
    converge(&mut connection, &next).await;
}

#[tokio::test]
async fn refusals_name_the_rule_and_are_taken_back() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let refuse_class = |wanted: u128| {
        let action = program().schema().entry_to_proto(&class(1, wanted)).action;
        move |update: &Update| {
            let is = update.r#type() == Type::Insert
                && table_entry(update).is_some_and(|entry| entry.action == action);
            is.then_some((Code::ResourceExhausted, ""))
        }
    };
    // Even before the first policy.
    switch.manners().refuses = Some(Box::new(refuse_class(3)));
    let error = connection.apply(&policy(10, ActionKind::AdminPermit), VERIFY).await.expect_err("full");
    assert!(error.to_string().contains("What had been written is taken back"), "{error}");
    let read = connection.read_installed(&Desired::default(), false).await.expect("a read").installed;
    assert_eq!((read.version, read.entries.len(), switch.groups().len()), (0, 0, 0));

    switch.well_behaved();
    let old = policy(10, ActionKind::AdminPermit);
    converge(&mut connection, &old).await;
    switch.manners().refuses = Some(Box::new(refuse_class(16)));
    let error = connection.apply(&policy(20, ActionKind::AdminDeny), VERIFY).await.expect_err("full");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    assert_eq!((refusal.total, &refusal.aftermath), (1, &Aftermath::Undone));
    let origin = refusal.failures[0].origin.as_ref().expect("an origin");
    assert_eq!((origin.policy.as_str(), origin.rule.as_str()), ("FilterPolicy/edge", "class-15"));
    assert!(error.to_string().contains("the table is full (RESOURCE_EXHAUSTED)"), "{error}");
    assert_holds(&connection.read_installed(&old, false).await.expect("a read").installed, &old);
    let repair = converge(&mut connection, &old).await;
    assert_eq!(repair.plan.total, 0, "nothing is left to clean up");

    // A refused clean-up leaves the new policy in force.
    switch.well_behaved();
    switch.manners().refuses = Some(Box::new(|update| {
        (update.r#type() == Type::Delete
            && table_entry(update).is_some_and(|entry| !entry.r#match.is_empty()))
        .then_some((Code::Internal, "stuck"))
    }));
    let settled = connection.read_installed(&old, false).await.expect("a read").installed.version;
    // Inserts only, and one settled entry less: its pinned copy cannot go.
    let error = connection.apply(&policy(9, ActionKind::AdminPermit), VERIFY).await.expect_err("stuck");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    // Restricting comes before the flip, so this is still the old policy; and the way back needs deletes as well.
    assert!(matches!(refusal.aftermath, Aftermath::UndoFailed(_)), "{error}");
    switch.well_behaved();
    let read = connection.read_installed(&old, false).await.expect("a read").installed;
    assert_eq!(read.version, settled);
    converge(&mut connection, &policy(9, ActionKind::AdminPermit)).await;
}

#[tokio::test]
async fn a_refused_clean_up_does_not_flip_back() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let first = policy(5, ActionKind::AdminPermit);
    let second = policy(8, ActionKind::AdminPermit);
    converge(&mut connection, &first).await;
    converge(&mut connection, &second).await;
    // Classes 6 to 8 are of this version alone, so going back deletes them after the flip.
    switch.manners().refuses =
        Some(Box::new(|update| (update.r#type() == Type::Delete).then_some((Code::Internal, "stuck"))));
    let error = connection.apply(&first, VERIFY).await.expect_err("stuck");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    assert_eq!((refusal.step, &refusal.aftermath), ("clean up", &Aftermath::Flipped));
    switch.well_behaved();
    let report = converge(&mut connection, &first).await;
    assert_eq!(report.plan.from_version, report.plan.to_version, "the flip is done");
}

#[tokio::test]
async fn slow_switches_get_smaller_chunks_and_dead_ones_are_given_up() {
    let switch = Fake::start().await;
    let deadline = Duration::from_millis(200);
    let mut connection =
        open_with(switch.address, Options { write_deadline: deadline, in_flight: 1, ..options() }).await;
    connection.ensure_pipeline(Push::IfDifferent).await.expect("a pipeline");
    // One update a millisecond (more on a busy machine), and one chunk after the other.
    switch
        .script(|_, request: &WriteRequest| Fault::Slow(Duration::from_millis(request.updates.len() as u64)));
    let report = converge(&mut connection, &policy(250, ActionKind::AdminPermit)).await;
    assert!((10..=250).contains(&report.written.smallest_chunk), "{:?}", report.written);

    switch.script(|_, _| Fault::Slow(Duration::from_hours(1)));
    let start = Instant::now();
    let error = connection.apply(&policy(2, ActionKind::AdminDeny), VERIFY).await.expect_err("dead");
    assert!(
        matches!(*error.problem, Problem::Client(ClientProblem::Deadline { call: "Write", .. })),
        "{error}"
    );
    assert!(error.to_string().contains("no answer to Write within 0.2 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    switch.well_behaved();
    converge(&mut connection, &policy(2, ActionKind::AdminDeny)).await;
}

#[tokio::test]
async fn a_broken_connection_is_opened_anew() {
    let switch = Fake::start().await;
    let mut connection = open_with(switch.address, Options { chunk: 10, ..options() }).await;
    let state = policy(100, ActionKind::AdminPermit);
    switch.script(|number, _| match number {
        6 => Fault::Drop(Status::unavailable("going down")),
        _ => Fault::None,
    });
    let report = converge(&mut connection, &state).await;
    assert_eq!((report.rounds, report.pipeline), (2, Pushed::Committed));

    // Streams that end while nothing is under way are noticed at the next write.
    switch.well_behaved();
    let mut primacy = connection.primacy().expect("a controller");
    switch.drop_streams();
    primacy.wait_for(|state| matches!(state, Primacy::Lost(_))).await.expect("the end");
    let report = converge(&mut connection, &policy(101, ActionKind::AdminPermit)).await;
    assert_eq!(report.rounds, 2);

    // For ever is too long.
    switch.script(|_, _| Fault::Drop(Status::unavailable("going down")));
    let error = connection.apply(&policy(102, ActionKind::AdminPermit), VERIFY).await.expect_err("for ever");
    assert!(error.is_disconnect(), "{error}");
}

#[tokio::test]
async fn a_new_primary_stops_our_writes() {
    let switch = Fake::start().await;
    let mut connection = open_with(switch.address, Options { chunk: 10, in_flight: 4, ..options() }).await;
    switch.script(|number, _| match number {
        5 => Fault::Depose(99),
        _ => Fault::None,
    });
    let error = connection.apply(&policy(400, ActionKind::AdminPermit), VERIFY).await.expect_err("deposed");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::PrimacyLost { .. })), "{error}");
    let writes = switch.manners().writes.len();
    assert!(writes < 20, "{writes} writes");
    // Nothing is sent any more.
    let again = connection.apply(&policy(400, ActionKind::AdminPermit), VERIFY).await.expect_err("deposed");
    assert!(
        matches!(*again.problem, Problem::Client(ClientProblem::PrimacyLost { primary: Some(99) })),
        "{again}"
    );
    assert_eq!(switch.manners().writes.len(), writes);
    let second = Options { election_id: 2, ..options() };
    let error = Connection::open(target(switch.address), pipeline(), second).await.expect_err("not primary");
    assert!(
        error.to_string().contains("our election id is 2, the primary's is 99; stop the other controller"),
        "{error}"
    );
}

#[tokio::test]
async fn servers_that_lack_half_of_the_standard() {
    let switch = Fake::start().await;
    {
        let mut manners = switch.manners();
        manners.no_capabilities = true;
        manners.no_arbitration = true;
        manners.no_groups = true;
        manners.no_meters = true;
        manners.no_reconcile = true;
        manners.part = Some(3);
    }
    let mut connection = open(switch.address).await;
    assert_eq!(connection.capabilities().await.expect("no error"), None);
    assert_eq!(*connection.primacy().expect("a controller").borrow(), Primacy::NotOffered);
    let state = policy(30, ActionKind::AdminPermit);
    let reconcile = ConvergeOptions { push: Push::Reconcile, ..VERIFY };
    let report = connection.apply(&state, reconcile).await.expect("converges");
    assert_eq!(report.pipeline, Pushed::Committed);
    assert_eq!(report.unreadable, ["multicast groups", "meters"]);
    // What cannot be read is written each time: here one group, which is there by now, and one meter cell.
    let report = connection.apply(&state, VERIFY).await.expect("converges");
    assert_eq!((report.plan.total, report.plan.from_version), (2, report.plan.to_version));
    // A group that is no longer used goes, although it cannot be read.
    let without = desired(vec![class(1, 2)]);
    connection.apply(&without, VERIFY).await.expect("converges");
    assert_eq!(switch.groups(), [0u32; 0]);
    // Now readable, everything is as it should be.
    switch.well_behaved();
    let read = connection.read_installed(&without, false).await.expect("a read").installed;
    assert_eq!(read.entries.len(), 1);
}

#[tokio::test]
async fn what_is_little_is_read_at_once_where_the_switch_lets_us() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let reads = || std::mem::take(&mut switch.manners().reads);
    let state = policy(30, ActionKind::AdminPermit);
    converge(&mut connection, &state).await;
    assert!(reads().len() > 10, "table by table, as long as nothing is known of the switch");
    let at_once = converge(&mut connection, &state).await;
    assert_eq!((at_once.plan.total, reads().len()), (0, 2), "one of them the test's own");

    // A switch that becomes fussy: once it refuses, and then it is asked part by part.
    switch.manners().no_groups = true;
    let report = connection.apply(&state, VERIFY).await.expect("converges");
    assert_eq!((report.unreadable.as_slice(), report.plan.total), (["multicast groups"].as_slice(), 1));
    assert!(reads().iter().skip(1).all(|&entities| entities == 1));

    // Much is read table by table.
    switch.well_behaved();
    let much = policy(5001, ActionKind::AdminPermit);
    converge(&mut connection, &much).await;
    reads();
    converge(&mut connection, &much).await;
    assert!(reads().iter().all(|&entities| entities == 1));
}

#[tokio::test]
async fn reconciling_keeps_entries_where_the_switch_can() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let state = policy(10, ActionKind::AdminPermit);
    converge(&mut connection, &state).await;
    assert_eq!(connection.ensure_pipeline(Push::Reconcile).await.expect("kept"), Pushed::Kept);
    assert_eq!(connection.ensure_pipeline(Push::Always).await.expect("pushed"), Pushed::Committed);
    assert_eq!(switch.cookie(), Some(connection.pipeline().cookie));
    let report = converge(&mut connection, &state).await;
    assert!(report.plan.total > state.entries.len());

    // Another program, and the switch keeps what fits: nothing but the version has to be written.
    let other = outplane_driver_p4runtime::Pipeline::new(program().clone(), b"compiled anew".to_vec());
    drop(connection);
    let mut connection =
        Connection::open(target(switch.address), other.into(), options()).await.expect("a connection");
    let options = ConvergeOptions { push: Push::Reconcile, ..VERIFY };
    let report = connection.apply(&state, options).await.expect("converges");
    assert_eq!((report.pipeline, report.plan.total), (Pushed::Reconciled, 1));
    assert_eq!((report.plan.from_version, report.plan.to_version), (0, 1));
}

#[tokio::test]
async fn sloppy_answers_are_understood() {
    let switch = Fake::start().await;
    switch.manners().sloppy = true;
    let mut connection = open(switch.address).await;
    for state in [policy(30, ActionKind::AdminPermit), policy(31, ActionKind::AdminDeny)] {
        converge(&mut connection, &state).await;
        assert_eq!(converge(&mut connection, &state).await.plan.total, 0);
    }
}

#[tokio::test]
async fn what_others_own_stays() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    connection.ensure_pipeline(Push::IfDifferent).await.expect("a pipeline");
    let schema = program().schema();
    let theirs = TableEntry { metadata: Vec::new(), ..schema.entry_to_proto(&class(7777, 1)) };
    switch.put(theirs.clone());
    switch.put_group(MulticastGroupEntry { multicast_group_id: 500, ..Default::default() });
    switch.put_group(MulticastGroupEntry {
        multicast_group_id: 501,
        metadata: b"theirs".to_vec(),
        ..Default::default()
    });
    // Left over from an update of ours that was killed between the group and its entry.
    switch.put_group(MulticastGroupEntry {
        multicast_group_id: 502,
        metadata: outplane_compiler::origin::PREFIX.to_vec(),
        ..Default::default()
    });
    for state in [policy(20, ActionKind::AdminPermit), Desired::default()] {
        connection.apply(&state, VERIFY).await.expect("converges");
    }
    assert_eq!(switch.groups(), [500, 501]);
    let read = connection.read_installed(&Desired::default(), false).await.expect("a read").installed;
    assert_eq!(read.foreign_keys, [class(7777, 1).key]);

    let needs_theirs = Desired {
        groups: vec![outplane_p4runtime::entry::MulticastGroup { id: 501, ports: vec![1] }],
        ..desired(vec![flood(1, 501)])
    };
    let error = connection.apply(&needs_theirs, VERIFY).await.expect_err("theirs");
    assert!(error.to_string().contains("multicast group 501 belongs to another owner"), "{error}");
    let error = connection.apply(&desired(vec![class(7777, 9)]), VERIFY).await.expect_err("theirs");
    assert!(error.to_string().contains("an entry of another owner is in the way"), "{error}");
}

#[tokio::test]
async fn reads_have_limits() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let state = policy(100, ActionKind::AdminPermit);
    converge(&mut connection, &state).await;
    drop(connection);
    let narrow = open_with(switch.address, Options { max_entries: 150, ..options() }).await;
    let error = narrow.read_installed(&state, false).await.expect_err("too many");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::TooMany { limit: 150 })), "{error}");
    drop(narrow);

    let hasty = Options { read_deadline: Duration::from_millis(50), ..options() };
    let connection = open_with(switch.address, hasty).await;
    switch.manners().slow_reads = Some(Duration::from_hours(1));
    let error = connection.read_installed(&state, false).await.expect_err("late");
    assert!(
        matches!(*error.problem, Problem::Client(ClientProblem::Deadline { call: "Read", .. })),
        "{error}"
    );
}

#[tokio::test]
async fn entries_of_ours_that_cannot_be_are_an_error() {
    let switch = Fake::start().await;
    let connection = open(switch.address).await;
    connection.ensure_pipeline(Push::IfDifferent).await.expect("a pipeline");
    let mut broken = program().schema().entry_to_proto(&class(1, 1));
    broken.action = None;
    switch.put(broken);
    let error = connection.read_installed(&Desired::default(), false).await.expect_err("no action");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::Entity { .. })), "{error}");
    assert!(error.to_string().contains("the entry has no action"), "{error}");
}

#[tokio::test]
async fn nobody_there() {
    let switch = Fake::start().await;
    let address = switch.address;
    drop(switch);
    let backoff = Backoff { first: Duration::from_millis(1), limit: Duration::from_millis(2), attempts: 3 };
    let error = Connection::open(target(address), pipeline(), Options { backoff, ..options() })
        .await
        .expect_err("nobody there");
    assert_eq!(error.switch(), "leaf1");
    assert!(error.to_string().starts_with(&format!("switch leaf1 ({address}): cannot connect: ")), "{error}");
    assert!(error.to_string().contains("is the switch up"), "{error}");
}
