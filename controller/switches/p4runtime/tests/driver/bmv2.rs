//! Against BMv2's `simple_switch_grpc`, where it is on PATH.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use outplane_compiler::program::ActionKind;
use outplane_compiler::state::{Change, Desired, Installed, Plan, Step};
use outplane_driver::Lease;
use outplane_driver_p4runtime::ClientProblem;
use outplane_driver_p4runtime::{
    Connection, ConvergeOptions, Options, Primacy, Problem, Push, Pushed, WriteOptions,
};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::states::{
    VERIFY, assert_holds, class, desired, filter, open, open_with, options, pipeline, policy, program, target,
};

/// A running switch, gone when it is dropped.
pub(crate) struct Bmv2 {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Bmv2 {
    /// None, with a word about it, where there is no BMv2.
    pub(crate) fn start() -> Option<Self> {
        let address = outplane_loopback::address();
        match Self::spawn(address) {
            Ok(process) => Some(Self { process, address }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("SKIPPED: simple_switch_grpc is not on PATH");
                None
            }
            Err(error) => panic!("simple_switch_grpc does not start: {error}"),
        }
    }

    fn spawn(address: SocketAddr) -> std::io::Result<Child> {
        Command::new("simple_switch_grpc")
            .args(["--no-p4", "--device-id", "1", "--log-level", "off", "--", "--grpc-server-addr"])
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    }

    async fn kill(&mut self) {
        self.process.kill().await.expect("it runs");
    }

    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        self.process = Self::spawn(self.address).expect("it started before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_empty_over_changes_to_empty() {
    let Some(switch) = Bmv2::start() else { return };
    let mut connection = open(switch.address).await;
    println!("BMv2 speaks P4Runtime {:?}", connection.capabilities().await.expect("an answer"));

    let states = [
        policy(300, ActionKind::AdminPermit),
        policy(300, ActionKind::AdminPermit),
        policy(320, ActionKind::AdminPermit),
        policy(320, ActionKind::AdminDeny),
        policy(10, ActionKind::AdminPermitLimited),
        Desired::default(),
        policy(20, ActionKind::AdminDeny),
    ];
    for (at, state) in states.iter().enumerate() {
        let report = connection.apply(state, VERIFY).await.expect("converges");
        assert_eq!(report.rounds, 1);
        assert_eq!(report.pipeline, if at == 0 { Pushed::Committed } else { Pushed::Kept });
        assert_eq!(report.unreadable, [""; 0]);
        assert_eq!(report.plan.total == 0, at == 1, "{:?}", report.plan);
        let read = connection.read_installed(state, true).await.expect("a read");
        assert_holds(&read.installed, state);
        assert_eq!(read.installed.version, report.plan.to_version);
        let counted = read.installed.entries.iter().filter(|entry| entry.key.table == state_table()).count();
        assert_eq!(read.installed.counters.len(), counted, "one counter for each filter entry");
    }
}

fn state_table() -> u32 {
    program().table(outplane_compiler::program::Table::FilterAdmin)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_others_stay() {
    let Some(switch) = Bmv2::start() else { return };
    let mut connection = open(switch.address).await;
    connection.ensure_pipeline(Push::IfDifferent).await.expect("a pipeline");
    let mut foreign = class(9999, 7);
    foreign.metadata = b"another controller's".to_vec();
    let theirs = Plan {
        steps: vec![Step { title: "theirs", changes: vec![Change::Insert(foreign.clone())] }],
        ..Plan::default()
    };
    let nothing = connection.read_installed(&Desired::default(), false).await.expect("a read").installed;
    connection.write(&theirs, &nothing, WriteOptions::default()).await.expect("written");

    for state in [policy(20, ActionKind::AdminPermit), policy(5, ActionKind::AdminDeny), Desired::default()] {
        connection.apply(&state, VERIFY).await.expect("converges");
        let installed = connection.read_installed(&state, false).await.expect("a read").installed;
        assert_holds(&installed, &state);
        assert_eq!(installed.foreign_keys, [foreign.key.clone()]);
        assert_eq!(installed.foreign.values().sum::<usize>(), 1);
    }
    let error = connection.apply(&desired(vec![class(9999, 1)]), VERIFY).await.expect_err("in the way");
    assert!(matches!(*error.problem, Problem::Plan(_)), "{error}");
    assert!(error.to_string().contains("entry of another owner is in the way: src_v4_class"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_anywhere_and_applied_again() {
    let Some(switch) = Bmv2::start() else { return };
    let old = policy(60, ActionKind::AdminPermit);
    let new = policy(70, ActionKind::AdminDeny);
    let slow = Options { chunk: 7, in_flight: 2, ..options() };
    let mut connection = open_with(switch.address, slow).await;
    connection.apply(&old, VERIFY).await.expect("converges");
    let mut stopped = 0;
    for stop_at in [1, 30, 60, 90, 120, 150] {
        let cancel = CancellationToken::new();
        let stop = |progress: outplane_driver_p4runtime::Progress| {
            if progress.done >= stop_at {
                cancel.cancel();
            }
        };
        let write = WriteOptions {
            progress: Some(&stop),
            lease: Lease { stop: Some(&cancel), ..Lease::OPEN },
            counts: None,
        };
        match connection.apply(&new, ConvergeOptions { write, ..VERIFY }).await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(*error.problem, Problem::Cancelled { .. }), "{error}");
                stopped += 1;
            }
        }
        let back = if stop_at % 60 == 30 { &old } else { &new };
        connection.apply(back, VERIFY).await.expect("converges");
        let installed = connection.read_installed(back, false).await.expect("a read").installed;
        assert_holds(&installed, back);
        connection.apply(&old, VERIFY).await.expect("converges");
    }
    assert!(stopped >= 4, "only {stopped} were stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_update_leaves_a_whole_policy() {
    let Some(switch) = Bmv2::start() else { return };
    let old = policy(200, ActionKind::AdminPermit);
    let new = policy(200, ActionKind::AdminDeny);
    let slow = Options { chunk: 5, in_flight: 3, ..options() };
    let mut connection = open_with(switch.address, slow).await;
    connection.apply(&old, VERIFY).await.expect("converges");
    let (sender, mut receiver) = tokio::sync::watch::channel(0);
    let tell = move |progress: outplane_driver_p4runtime::Progress| {
        sender.send_replace(progress.done);
    };
    tokio::select! {
        result = connection.apply(&new, ConvergeOptions {
            write: WriteOptions { progress: Some(&tell), ..WriteOptions::default() },
            ..VERIFY
        }) => panic!("done already: {result:?}"),
        seen = receiver.wait_for(|&done| done > 150) => { seen.expect("progress"); }
    }
    // As after a kill: another process, another connection.
    drop(connection);
    let mut connection = open(switch.address).await;
    let report = connection.apply(&new, VERIFY).await.expect("converges");
    assert!(report.plan.total > 0);
    let installed = connection.read_installed(&new, false).await.expect("a read").installed;
    assert_holds(&installed, &new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_restarts_is_restored() {
    let Some(mut switch) = Bmv2::start() else { return };
    let state = policy(50, ActionKind::AdminPermit);
    let mut connection = open(switch.address).await;
    connection.apply(&state, VERIFY).await.expect("converges");
    let mut primacy = connection.primacy().expect("a controller");
    switch.restart().await;
    let lost = primacy.wait_for(|state| matches!(state, Primacy::Lost(_)));
    tokio::time::timeout(Duration::from_secs(10), lost).await.expect("noticed").expect("the stream's end");
    let report = connection.apply(&state, VERIFY).await.expect("converges again");
    assert_eq!((report.pipeline, report.rounds), (Pushed::Committed, 2));
    let installed = connection.read_installed(&state, false).await.expect("a read").installed;
    assert_holds(&installed, &state);

    switch.kill().await;
    let error = connection.apply(&state, VERIFY).await.expect_err("nobody there");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::Unreachable { .. })), "{error}");
    let place = format!("switch leaf1 ({})", switch.address);
    assert!(error.to_string().starts_with(&place), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_higher_election_id_takes_over() {
    let Some(switch) = Bmv2::start() else { return };
    let state = policy(5, ActionKind::AdminPermit);
    let with_id = |election_id| Options { election_id, ..options() };
    let mut first = open_with(switch.address, with_id(1 << 70)).await;
    first.apply(&state, VERIFY).await.expect("converges");

    let error =
        Connection::open(target(switch.address), pipeline(), with_id(9)).await.expect_err("not primary");
    match *error.problem {
        Problem::Client(ClientProblem::NotPrimary { ours: 9, primary: Some(primary) }) => {
            assert_eq!(primary, 1 << 70);
        }
        _ => panic!("{error}"),
    }
    let error =
        Connection::open(target(switch.address), pipeline(), with_id(1 << 70)).await.expect_err("taken");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::ArbitrationRefused { .. })), "{error}");

    let mut second = open_with(switch.address, Options { take_over: true, ..with_id(3) }).await;
    assert_eq!(second.election_id(), Some((1 << 70) + 1));
    let mut primacy = first.primacy().expect("a controller");
    let deposed = primacy.wait_for(|state| matches!(state, Primacy::Backup(_)));
    tokio::time::timeout(Duration::from_secs(10), deposed).await.expect("noticed").expect("still connected");
    let other = policy(6, ActionKind::AdminDeny);
    let error = first.apply(&other, VERIFY).await.expect_err("deposed");
    assert!(
        matches!(*error.problem, Problem::Client(ClientProblem::PrimacyLost { primary: Some(id) }) if id == (1 << 70) + 1),
        "{error}"
    );
    second.apply(&other, VERIFY).await.expect("converges");
    // Reading needs no primary.
    let reader =
        Connection::open_read_only(target(switch.address), pipeline(), options()).await.expect("a reader");
    assert_holds(&reader.read_installed(&other, false).await.expect("a read").installed, &other);
    let refused = reader.write(&Plan::default(), &Installed::default(), WriteOptions::default()).await;
    assert!(matches!(*refused.expect_err("only reads").problem, Problem::Client(ClientProblem::ReadOnly)));
}

/// BMv2 tells about each update of a chunk, in headers far larger than HTTP/2 libraries take by default.
#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_rule_even_where_thousands_fail() {
    let Some(switch) = Bmv2::start() else { return };
    let big = Options { chunk: 3000, ..options() };
    let mut connection = open_with(switch.address, big).await;
    connection.ensure_pipeline(Push::IfDifferent).await.expect("a pipeline");
    // An action that is not the table's, in 2,000 of 3,000.
    let changes = (0..3000u32)
        .map(|n| {
            let mut entry = class(n, 1);
            if n % 3 != 0 {
                entry.action = filter(1, ActionKind::AdminPermit).action;
            }
            Change::Insert(entry)
        })
        .collect();
    let plan = Plan { steps: vec![Step { title: "wrong", changes }], ..Plan::default() };
    let error =
        connection.write(&plan, &Installed::default(), WriteOptions::default()).await.expect_err("refused");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    assert_eq!((refusal.total, refusal.failures.len()), (2000, 100));
    let origin = refusal.failures[0].origin.as_ref().expect("an origin");
    assert_eq!((origin.policy.as_str(), origin.rule.as_str()), ("FilterPolicy/edge", "class-1"));
    println!("{error}");
    let read = connection.read_installed(&Desired::default(), false).await.expect("a read").installed;
    assert_eq!(read.entries.len(), 1000, "the others are written");

    // A refusal before the flip is taken back.
    let mut state = policy(10, ActionKind::AdminPermit);
    connection.apply(&state, VERIFY).await.expect("converges");
    let mut wrong = class(5000, 2);
    wrong.action = filter(1, ActionKind::AdminPermit).action;
    state.entries = state.entries.iter().cloned().chain([wrong]).collect();
    let error = connection.apply(&state, VERIFY).await.expect_err("refused");
    assert!(error.to_string().contains("(for FilterPolicy/edge rule class-5000)"), "{error}");
    assert!(
        error.to_string().ends_with("What had been written is taken back, the old policy stands"),
        "{error}"
    );
    let before = policy(10, ActionKind::AdminPermit);
    assert_holds(&connection.read_installed(&before, false).await.expect("a read").installed, &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_program_there_is_a_plain_word() {
    let Some(switch) = Bmv2::start() else { return };
    let mut connection = open(switch.address).await;
    let error = connection.read_installed(&Desired::default(), false).await.expect_err("no program");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::NoPipeline)), "{error}");
    let never = ConvergeOptions { push: Push::Never, ..VERIFY };
    let error = connection.apply(&Desired::default(), never).await.expect_err("no program");
    assert!(error.to_string().ends_with("push the pipeline first"), "{error}");

    let broken = outplane_driver_p4runtime::Pipeline::new(program().clone(), b"not JSON".to_vec());
    drop(connection);
    let connection =
        Connection::open(target(switch.address), Arc::new(broken), options()).await.expect("a connection");
    let error = connection.ensure_pipeline(Push::IfDifferent).await.expect_err("no program of BMv2's");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::PipelineRefused { .. })), "{error}");
}
