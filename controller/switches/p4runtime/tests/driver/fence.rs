//! Executors with fences: who has been overtaken, or wakes up late, writes nothing any more.

use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outplane_compiler::program::ActionKind;
use outplane_compiler::state::{Desired, Installed, Plan, Step};
use outplane_driver::{Ended, Fence, Lease, Session as _};
use outplane_driver_p4runtime::ClientProblem;
use outplane_driver_p4runtime::{
    Aftermath, Backoff, Connection, ConvergeOptions, Error, Options, Problem, Progress, Pushed, Session,
    WriteOptions, election_id, fences,
};
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use crate::bmv2::Bmv2;
use crate::fake::{Fake, Fault};
use crate::states::{VERIFY, assert_holds, options, pipeline, policy, target};

/// A switch of one kind or the other.
pub(crate) enum Any {
    Soft(Switch),
    Bmv2(Bmv2),
}

impl Any {
    /// The soft switch, and BMv2 where it is on PATH.
    pub(crate) async fn all() -> Vec<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let config =
            SwitchConfig { listener, server: Config::new(1), ports: Vec::new(), limits: Limits::default() };
        let soft = Self::Soft(Switch::start(config).expect("starts"));
        [soft].into_iter().chain(Bmv2::start().map(Self::Bmv2)).collect()
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Soft(switch) => switch.server().address().to_string(),
            Self::Bmv2(switch) => switch.address.to_string(),
        }
    }

    /// Whether it keeps the highest election id when its stream ends, as the standard says.
    fn remembers(&self) -> bool {
        matches!(self, Self::Soft(_))
    }

    pub(crate) fn session(&self, options: Options) -> Session {
        Session::new(target(self.address().as_str()), pipeline(), options)
    }
}

/// A stream of somebody who only watches, under the lowest election id there is.
pub(crate) struct Watcher {
    client: P4RuntimeClient<tonic::transport::Channel>,
    _requests: mpsc::Sender<proto::StreamMessageRequest>,
    stream: Streaming<proto::StreamMessageResponse>,
}

pub(crate) fn fence(generation: u64, attempt: u32) -> Fence {
    Fence::new(generation, attempt)
}

pub(crate) fn wire(fence: Fence) -> proto::Uint128 {
    proto::Uint128 { high: fence.generation, low: fence.attempt.into() }
}

fn until(limit: Instant, stop: &CancellationToken) -> Lease<'_> {
    Lease { stop: Some(stop), start_before: Some(limit), ..Lease::OPEN }
}

impl Watcher {
    pub(crate) async fn new(address: &str) -> Self {
        let mut client = P4RuntimeClient::connect(format!("http://{address}")).await.expect("connects");
        let (requests, receiver) = mpsc::channel(4);
        let arbitration = proto::MasterArbitrationUpdate {
            device_id: 1,
            election_id: Some(wire(fence(0, 1))),
            ..proto::MasterArbitrationUpdate::default()
        };
        let update = Some(proto::stream_message_request::Update::Arbitration(arbitration));
        requests.send(proto::StreamMessageRequest { update }).await.expect("room");
        let stream = client.stream_channel(ReceiverStream::new(receiver)).await.expect("a stream");
        Self { client, _requests: requests, stream: stream.into_inner() }
    }

    /// Waits until this fence, which is the primary's, is not any more.
    pub(crate) async fn wait_for_the_end_of(&mut self, fence: Fence) {
        use proto::stream_message_response::Update;
        loop {
            let message = self.stream.message().await.expect("no error").expect("no end");
            let Some(Update::Arbitration(update)) = message.update else { continue };
            let status = update.status.map_or(0, |status| status.code);
            if status == i32::from(Code::NotFound) || update.election_id != Some(wire(fence)) {
                return;
            }
        }
    }

    /// Whether the switch takes a write under this fence: an empty one.
    async fn may_write(&mut self, fence: Fence) -> bool {
        let request = proto::WriteRequest {
            device_id: 1,
            election_id: Some(wire(fence)),
            ..proto::WriteRequest::default()
        };
        match self.client.write(request).await {
            Ok(_) => true,
            Err(status) if status.code() == Code::PermissionDenied => false,
            Err(status) => panic!("{status}"),
        }
    }
}

/// One small chunk after the other.
fn slowly() -> Options {
    Options { chunk: 5, in_flight: 1, ..options() }
}

pub(crate) async fn assert_switch_holds(session: &Session, state: &Desired) {
    let connection = session.connection().expect("connected");
    assert_holds(&connection.read_installed(state, false).await.expect("a read").installed, state);
}

fn is_overtaken(error: &Error, by: Fence) {
    let unnamed = matches!(
        *error.problem,
        Problem::Client(
            ClientProblem::NotPrimary { primary: None, .. } | ClientProblem::PrimacyLost { primary: None }
        )
    );
    if !unnamed {
        let named = format!("election id {}", election_id(by));
        assert_eq!(error.ended(), Ended::Overtaken { by, named }, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_overtaken_in_the_middle_writes_nothing_any_more() {
    for switch in Any::all().await {
        let (mut a, mut b) = (switch.session(slowly()), switch.session(options()));
        a.converge_with(None, fence(5, 0), &policy(60, ActionKind::AdminPermit), VERIFY)
            .await
            .expect("converges");

        // B gets its fence between two writes of A.
        let theirs = policy(61, ActionKind::AdminDeny);
        let runtime = tokio::runtime::Handle::current();
        let (overtaking, done_at) = (Mutex::new(Some(&mut b)), Mutex::new(0));
        let overtake = |progress: Progress| {
            *done_at.lock().expect("no panic") = progress.done;
            if progress.done < 40 {
                return;
            }
            let Some(b) = overtaking.lock().expect("no panic").take() else { return };
            tokio::task::block_in_place(|| {
                runtime.block_on(b.converge_with(None, fence(5, 2), &theirs, VERIFY)).expect("converges");
            });
        };
        let write = WriteOptions { progress: Some(&overtake), ..WriteOptions::default() };
        let ours = policy(62, ActionKind::AdminDeny);
        let error = a.converge_with(None, fence(5, 1), &ours, ConvergeOptions { write, ..VERIFY }).await;
        let error = error.expect_err("overtaken");
        assert!(matches!(*error.problem, Problem::Client(ClientProblem::PrimacyLost { .. })), "{error}");
        is_overtaken(&error, fence(5, 2));
        assert!((40..60).contains(&*done_at.lock().expect("no panic")));
        assert_switch_holds(&b, &theirs).await;

        // B goes away. BMv2 takes A for the primary now, and would take its writes.
        let mut watcher = Watcher::new(&switch.address()).await;
        watcher.wait_for_the_end_of(Fence::default()).await;
        b.close();
        watcher.wait_for_the_end_of(fence(5, 2)).await;
        assert_eq!(watcher.may_write(fence(5, 1)).await, !switch.remembers());
        // A itself does not, neither on what it has nor when it begins anew.
        let connection = a.connection().expect("still connected");
        let plan = Plan { steps: vec![Step { title: "none", changes: Vec::new() }], ..Plan::default() };
        let refused = connection.write(&plan, &Installed::default(), WriteOptions::default()).await;
        is_overtaken(&refused.expect_err("overtaken"), fence(5, 2));
        is_overtaken(
            &a.converge_with(None, fence(5, 1), &ours, VERIFY).await.expect_err("too low"),
            fence(5, 2),
        );
        a.close();
        is_overtaken(
            &a.converge_with(None, fence(5, 1), &ours, VERIFY).await.expect_err("too low"),
            fence(5, 2),
        );
        assert_eq!((a.connects(), a.connection().is_none()), (1, true), "not even connected");

        // One that never heard of B depends on the switch.
        let mut stranger = switch.session(options());
        match stranger.converge_with(None, fence(5, 1), &theirs, VERIFY).await {
            Err(error) => is_overtaken(&error, fence(5, 2)),
            Ok(report) => assert!(!switch.remembers(), "{report:?}"),
        }
        drop(stranger);

        // The next attempt is the next owner's, and A may have it.
        a.converge_with(None, fence(5, 3), &ours, VERIFY).await.expect("converges");
        assert_switch_holds(&a, &ours).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_costs_no_new_connection() {
    for switch in Any::all().await {
        let mut session = switch.session(options());
        assert_eq!((session.connects(), session.is_fenced()), (0, None));
        for attempt in 1..=20 {
            let state = policy(10 + attempt % 2, ActionKind::AdminPermit);
            let limit = Instant::now() + Duration::from_mins(1);
            let cancel = CancellationToken::new();
            let report = session.converge(None, fence(1, attempt), &state, until(limit, &cancel)).await;
            let report = report.expect("converges");
            assert_eq!((report.rounds, session.connects()), (1, 1));
            assert_eq!(report.pipeline, if attempt == 1 { Pushed::Committed } else { Pushed::Kept });
            assert!(report.written.acknowledged.is_some());
            assert!(!report.read_ahead);
            assert!(report.elapsed >= report.connecting + report.reading + report.written.elapsed);
        }
        // The same again: nothing to write.
        let state = policy(10, ActionKind::AdminPermit);
        let report = session.converge_with(None, fence(1, 20), &state, VERIFY).await.expect("converges");
        assert_eq!((report.plan.total, report.written.acknowledged), (0, None));
        assert_eq!((session.connects(), session.is_fenced()), (1, Some(true)));
        assert_switch_holds(&session, &state).await;
        is_overtaken(
            &session.converge_with(None, fence(0, 1), &state, VERIFY).await.expect_err("too low"),
            fence(1, 20),
        );
    }
}

/// An audit that finds something else than it looks for: the session knows the switch no more.
async fn forget(session: &mut Session) {
    let audited = session.audit(&policy(99, ActionKind::AdminDeny)).await.expect("an audit");
    assert!(audited.difference.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_ahead_counts_only_if_nobody_else_was_primary_since() {
    for switch in Any::all().await {
        let (mut a, mut b) = (switch.session(options()), switch.session(options()));
        assert!(a.read_ahead().await.is_none(), "there is no connection yet");
        let state = |rules| policy(rules, ActionKind::AdminPermit);
        a.converge_with(None, fence(1, 1), &state(10), VERIFY).await.expect("converges");
        assert!(a.read_ahead().await.is_none(), "it knows what the switch holds");
        forget(&mut a).await;
        let ahead = a.read_ahead().await.expect("a read");
        let report = a.converge_with(Some(ahead), fence(2, 1), &state(11), VERIFY).await.expect("converges");
        assert!(report.read_ahead);
        assert_switch_holds(&a, &state(11)).await;

        // What another session has read is none of its business.
        forget(&mut a).await;
        let foreign = a.read_ahead().await.expect("a read");
        let report =
            b.converge_with(Some(foreign), fence(3, 1), &state(20), VERIFY).await.expect("converges");
        assert!(!report.read_ahead);
        assert!(a.read_ahead().await.is_none(), "it is primary no more");

        // Somebody comes in between, and stays or goes: where the switch forgets, A is primary again.
        for (round, goes) in [(4, false), (7, true)] {
            a.converge_with(None, fence(round, 1), &state(12), VERIFY).await.expect("converges");
            forget(&mut a).await;
            let ahead = a.read_ahead().await.expect("a read");
            b.converge_with(None, fence(round + 1, 1), &state(20), VERIFY).await.expect("converges");
            if goes {
                let mut watcher = Watcher::new(&switch.address()).await;
                watcher.wait_for_the_end_of(Fence::default()).await;
                b.close();
                watcher.wait_for_the_end_of(fence(round + 1, 1)).await;
            }
            let report = a.converge_with(Some(ahead), fence(round + 2, 1), &state(13), VERIFY).await;
            let report = report.expect("converges");
            assert!(!report.read_ahead && !report.remembered);
            assert_switch_holds(&a, &state(13)).await;
        }

        // A write of a task that failed may still be under way.
        a.converge_with(None, fence(9, 0), &state(14), VERIFY).await.expect_err("too low");
        assert!(a.read_ahead().await.is_none());
    }
}

/// An update of the election id on an open stream would be the end of BMv2 here.
#[tokio::test(flavor = "multi_thread")]
async fn one_fence_is_for_one_executor() {
    for switch in Any::all().await {
        let backoff = Backoff { attempts: 2, ..Backoff::default() };
        let mut first = switch.session(options());
        let mut second = switch.session(Options { backoff, ..options() });
        let state = policy(10, ActionKind::AdminPermit);
        second.converge_with(None, fence(1, 1), &state, VERIFY).await.expect("converges");
        first.converge_with(None, fence(1, 2), &state, VERIFY).await.expect("converges");
        let error = second.converge_with(None, fence(1, 2), &state, VERIFY).await.expect_err("it is taken");
        assert!(
            matches!(*error.problem, Problem::Client(ClientProblem::ArbitrationRefused { .. })),
            "{error}"
        );
        first.converge_with(None, fence(1, 2), &state, VERIFY).await.expect("converges");
        // When that one has gone, the second is as good.
        let mut watcher = Watcher::new(&switch.address()).await;
        watcher.wait_for_the_end_of(Fence::default()).await;
        first.close();
        watcher.wait_for_the_end_of(fence(1, 2)).await;
        second.converge_with(None, fence(1, 2), &state, VERIFY).await.expect("converges");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_in_nobodys_way() {
    for switch in Any::all().await {
        let mut owner = switch.session(options());
        let prober = switch.session(options());
        let probe = prober.ask().await.expect("an answer");
        assert!(!probe.is_loaded && probe.speaks.is_some_and(|speaks| speaks.starts_with("P4Runtime 1.")));
        let state = policy(10, ActionKind::AdminPermit);
        owner.converge_with(None, fence(1, 1), &state, VERIFY).await.expect("converges");
        for session in [&prober, &owner] {
            let probe = session.ask().await.expect("an answer");
            assert!(probe.is_loaded);
        }
        assert_eq!((prober.connects(), prober.connection().is_none()), (0, true));
        owner.converge_with(None, fence(1, 1), &state, VERIFY).await.expect("still primary");
    }
}

/// Refused as a stranger although the switch told nobody why.
#[tokio::test]
async fn a_refused_writer_stays_refused_until_it_has_a_higher_fence() {
    let switch = Fake::start().await;
    let mut session = Session::new(target(switch.address), pipeline(), options());
    let state = policy(10, ActionKind::AdminPermit);
    session
        .converge_with(None, fence(0, 7), &policy(9, ActionKind::AdminPermit), VERIFY)
        .await
        .expect("converges");
    switch.script(|number, _| match number {
        0 => Fault::Refuse(Status::permission_denied("not the primary")),
        _ => Fault::None,
    });
    let error = session.converge_with(None, fence(0, 8), &state, VERIFY).await.expect_err("refused");
    assert!(
        matches!(*error.problem, Problem::Client(ClientProblem::PrimacyLost { primary: None })),
        "{error}"
    );
    let error = session.converge_with(None, fence(0, 8), &state, VERIFY).await.expect_err("refused");
    assert!(
        matches!(*error.problem, Problem::Client(ClientProblem::NotPrimary { ours: 8, primary: None })),
        "{error}"
    );
    assert_eq!(switch.manners().writes.len(), 1);
    session.converge_with(None, fence(0, 9), &state, VERIFY).await.expect("converges");
    assert_switch_holds(&session, &state).await;
}

#[tokio::test]
async fn a_broken_session_connects_anew_and_stays_fenced() {
    let switch = Fake::start().await;
    let mut session = Session::new(target(switch.address), pipeline(), options());
    for attempt in 1..=3 {
        let state = policy(10 + attempt, ActionKind::AdminPermit);
        let report = session.converge_with(None, fence(0, attempt), &state, VERIFY).await.expect("converges");
        // A new stream is all that it takes.
        assert_eq!((report.rounds, session.connects()), (1, 1));
        switch.drop_streams();
    }
    is_overtaken(
        &session.converge_with(None, fence(0, 2), &Desired::default(), VERIFY).await.expect_err("too low"),
        fence(0, 3),
    );

    // Nobody there: not longer than there is time.
    drop(switch);
    session.close();
    let limit = Instant::now() + Duration::from_millis(100);
    let cancel = CancellationToken::new();
    let error = session
        .converge(None, fence(0, 4), &Desired::default(), until(limit, &cancel))
        .await
        .expect_err("nobody there");
    assert!(matches!(*error.problem, Problem::LeaseOver { done: 0, total: 0 }), "{error}");
    assert!(Instant::now() >= limit);
    cancel.cancel();
    let error = session
        .converge(None, fence(0, 4), &Desired::default(), until(limit, &cancel))
        .await
        .expect_err("cancelled");
    assert!(matches!(*error.problem, Problem::Cancelled { done: 0, total: 0 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_restarts_is_restored() {
    let Some(mut switch) = Bmv2::start() else { return };
    let mut session = Session::new(target(switch.address), pipeline(), options());
    let state = policy(10, ActionKind::AdminPermit);
    for attempt in 1..=3 {
        let report = session.converge_with(None, fence(1, attempt), &state, VERIFY).await.expect("converges");
        assert_eq!(report.pipeline, Pushed::Committed);
        assert_switch_holds(&session, &state).await;
        switch.restart().await;
    }
}

#[tokio::test]
async fn no_write_starts_when_the_time_is_over() {
    let switch = Fake::start().await;
    let mut session = Session::new(target(switch.address), pipeline(), slowly());
    let old = policy(60, ActionKind::AdminPermit);
    let cancel = CancellationToken::new();
    let limit = Instant::now();
    let error = session.converge(None, fence(1, 1), &old, until(limit, &cancel)).await.expect_err("too late");
    assert!(matches!(*error.problem, Problem::LeaseOver { done: 0, total: 0 }), "{error}");
    assert_eq!((switch.cookie(), switch.manners().writes.len()), (None, 0));
    session.converge_with(None, fence(1, 1), &old, VERIFY).await.expect("converges");

    // The process stands still from one chunk to the next, and its time is over when it goes on.
    switch.script(|_, _| Fault::None);
    let new = policy(60, ActionKind::AdminDeny);
    let limit = Instant::now() + Duration::from_secs(2);
    let stand_still = |progress: Progress| {
        while progress.done >= 40 && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let lease = Lease { start_before: Some(limit), ..Lease::OPEN };
    let write = WriteOptions { progress: Some(&stand_still), lease, ..WriteOptions::default() };
    let error = session.converge_with(None, fence(1, 1), &new, ConvergeOptions { write, ..VERIFY }).await;
    let error = error.expect_err("too late");
    let Problem::LeaseOver { done, total } = *error.problem else { panic!("{error}") };
    assert!((40..50).contains(&done) && total > 100, "{error}");
    assert_eq!(switch.manners().writes.iter().sum::<usize>(), done);
    assert!(
        error.to_string().contains(&format!("was over after {done} of {total} of them, and no more were")),
        "{error}"
    );
    // Packets see the old policy, and the next attempt finishes.
    let report = session.converge_with(None, fence(1, 2), &new, VERIFY).await.expect("converges");
    assert!(report.plan.total > 0);
    assert_switch_holds(&session, &new).await;
}

#[tokio::test]
async fn nothing_is_taken_back_when_the_time_is_over() {
    let switch = Fake::start().await;
    let mut session = Session::new(target(switch.address), pipeline(), slowly());
    let old = policy(20, ActionKind::AdminPermit);
    session.converge_with(None, fence(1, 1), &old, VERIFY).await.expect("converges");
    let limit = Instant::now() + Duration::from_secs(1);
    let refusals = AtomicBool::new(false);
    switch.manners().refuses = Some(Box::new(move |_| {
        // Time passes while the switch thinks about it.
        while Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
        (!refusals.swap(true, Ordering::Relaxed)).then_some((Code::ResourceExhausted, "full"))
    }));
    let lease = Lease { start_before: Some(limit), ..Lease::OPEN };
    let write = WriteOptions { lease, ..WriteOptions::default() };
    let new = policy(30, ActionKind::AdminDeny);
    let error = session.converge_with(None, fence(1, 1), &new, ConvergeOptions { write, ..VERIFY }).await;
    let error = error.expect_err("refused");
    let Problem::Refused(refusal) = &*error.problem else { panic!("{error}") };
    let Aftermath::UndoFailed(why) = &refusal.aftermath else { panic!("{error}") };
    assert!(why.contains("the time to start writes was over"), "{error}");
    switch.well_behaved();
    session.converge_with(None, fence(1, 2), &new, VERIFY).await.expect("converges");
}

/// Another process that executes, slowly; see [`an_executor_that_was_stopped_writes_nothing_when_it_wakes`].
struct Executor {
    process: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

const EXECUTOR: &str = "OUTPLANE_TEST_EXECUTOR";

impl Executor {
    async fn start(address: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("a test knows where it lies"))
            .args(["--ignored", "--exact", "--nocapture", "fence::executor"])
            .env(EXECUTOR, address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut executor = Self { process, lines };
        executor.said("executor: in the middle").await;
        executor
    }

    /// Waits for a line that begins so.
    async fn said(&mut self, beginning: &str) -> String {
        while let Some(line) = self.lines.next_line().await.expect("UTF-8") {
            // The harness writes the test's name in front of its first line.
            if let Some(at) = line.find(beginning) {
                return line[at..].to_owned();
            }
        }
        panic!("it has ended without {beginning:?}");
    }

    fn send(&self, signal: Signal) {
        let id = self.process.id().expect("it runs").cast_signed();
        kill(Pid::from_raw(id), signal).expect("it runs");
    }
}

/// Time that the executor has to start writes.
const LEASE: Duration = Duration::from_secs(3);

/// Not a test but the program of [`Executor`].
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run as another process by the test below"]
async fn executor() {
    let Ok(address) = std::env::var(EXECUTOR) else { return };
    let mut session = Session::new(target(address.as_str()), pipeline(), slowly());
    let tell = |progress: Progress| {
        if progress.done > 20 {
            println!("executor: in the middle");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let limit = Instant::now() + LEASE;
    let lease = Lease { start_before: Some(limit), ..Lease::OPEN };
    let write = WriteOptions { progress: Some(&tell), lease, ..WriteOptions::default() };
    let state = policy(800, ActionKind::AdminPermit);
    let result = session.converge_with(None, fence(5, 1), &state, ConvergeOptions { write, ..VERIFY }).await;
    println!("executor: {}", result.expect_err("stopped").problem);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_was_stopped_writes_nothing_when_it_wakes() {
    for late in [false, true] {
        for switch in Any::all().await {
            let mut executor = Executor::start(&switch.address()).await;
            executor.send(Signal::SIGSTOP);
            let stopped = Instant::now();
            let mut b = switch.session(options());
            let state = policy(30, ActionKind::AdminDeny);
            b.converge_with(None, fence(5, 2), &state, VERIFY).await.expect("converges");
            if late {
                // Nothing but the time holds it back where the switch forgets.
                let mut watcher = Watcher::new(&switch.address()).await;
                watcher.wait_for_the_end_of(Fence::default()).await;
                b.close();
                watcher.wait_for_the_end_of(fence(5, 2)).await;
                assert_eq!(watcher.may_write(fence(5, 1)).await, !switch.remembers());
                tokio::time::sleep_until(stopped + LEASE).await;
            }
            executor.send(Signal::SIGCONT);
            let said = executor.said("executor: ").await;
            let said = if said.contains("middle") { executor.said("executor: ").await } else { said };
            println!("{said}");
            let overtaken = said.contains("another controller took over");
            assert!(overtaken || late && said.contains("the time to start writes was over"), "{said}");
            executor.process.wait().await.expect("it ends");
            let reader = Connection::open_read_only(target(switch.address().as_str()), pipeline(), options());
            let reader = reader.await.expect("a reader");
            assert_holds(&reader.read_installed(&state, false).await.expect("a read").installed, &state);
        }
    }
}

/// A switch shows whether it refuses whoever was overtaken, and nobody is in the way of anybody for it.
#[tokio::test]
async fn a_switch_shows_whether_it_fences() {
    let asked = |address: &str| {
        let (target, options) = (target(address), options());
        async move { fences(&target, &options, &[7]).await }
    };
    for switch in Any::all().await {
        let address = switch.address();
        assert!(asked(&address).await.expect("it answers"), "nobody is primary");
        let mut session = Session::new(target(&address), pipeline(), options());
        let state = policy(5, ActionKind::AdminPermit);
        session.converge_with(None, fence(3, 1), &state, VERIFY).await.expect("converges");
        assert!(asked(&address).await.expect("it answers"));
        // Its stream is the primary's still.
        session
            .converge_with(None, fence(3, 1), &policy(6, ActionKind::AdminPermit), VERIFY)
            .await
            .expect("converges");
        assert_eq!(session.connects(), 1);
    }
    let switch = Fake::start().await;
    switch.manners().no_arbitration = true;
    assert!(!asked(&switch.address.to_string()).await.expect("it answers"), "everybody may write");
}
