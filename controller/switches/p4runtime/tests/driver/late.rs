//! Switches that take effect long after nobody waits any more, and what keeps attempts from working side by side on them.

use std::net::SocketAddr;
use std::time::Duration;

use outplane_compiler::program::ActionKind;
use outplane_compiler::state::Desired;
use outplane_driver::{Ended, Fence, Lease, Loading, Session as _};
use outplane_driver_p4runtime::ClientProblem;
use outplane_driver_p4runtime::{Connection, Deadlines, Error, Options, PUSH, Problem, Report, Session};
use outplane_p4runtime::p4::v1::WriteRequest;
use tokio::time::Instant;

use crate::fake::{Fake, Fault};
use crate::states::{assert_holds, options, pipeline, policy, target};

const MS: Duration = Duration::from_millis(1);

fn session(address: SocketAddr) -> Session {
    let options = Options { write_deadline: MS * 200, ..options() };
    Session::new(target(address), pipeline(), options)
}

/// As an agent does: a push may begin and is given so long, and what is not answered in time is waited for.
async fn attempt(
    session: &mut Session,
    attempt: u32,
    state: &Desired,
    push: Option<Duration>,
) -> Result<Report, Error> {
    let now = Instant::now();
    let end = now + MS * 20_000;
    let loading = push.map_or(Loading::Never, |within| Loading::Before(end, within));
    let lease = Lease { stop: None, start_before: Some(end), loading, settle_by: Some(end) };
    session.converge(None, Fence::new(5, attempt), state, lease).await
}

async fn holds(address: SocketAddr, state: &Desired) {
    let connection =
        Connection::open_read_only(target(address), pipeline(), options()).await.expect("a connection");
    assert_holds(&connection.read_installed(state, false).await.expect("a read").installed, state);
}

/// A switch that takes longer for a push than anybody waits: it is not called over before it is, so the next attempt does
/// not push beside it, and nobody empties what somebody has written.
#[tokio::test]
async fn a_push_is_over_when_the_switch_has_answered_and_none_runs_beside_another() {
    let switch = Fake::start().await;
    switch.manners().slow_push = Some(MS * 900);
    let state = policy(40, ActionKind::AdminPermit);
    let (mut first, start) = (session(switch.address), Instant::now());
    let error = attempt(&mut first, 1, &state, Some(MS * 200)).await.expect_err("it takes longer");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::Deadline { call: PUSH, .. })), "{error}");
    assert!(start.elapsed() >= MS * 900, "it is under way until then");
    let mut second = session(switch.address);
    attempt(&mut second, 2, &state, Some(MS * 5000)).await.expect("converges");
    {
        let manners = switch.manners();
        assert_eq!((manners.pushes, manners.pushing), (1, (0, 1)));
    }
    tokio::time::sleep(MS * 1000).await;
    holds(switch.address, &state).await;
}

#[tokio::test]
async fn nothing_is_pushed_where_there_is_no_time_for_it() {
    let switch = Fake::start().await;
    let state = policy(40, ActionKind::AdminPermit);
    let mut session = session(switch.address);
    let error = attempt(&mut session, 1, &state, None).await.expect_err("it needs a push");
    assert_eq!(error.ended(), Ended::Lacking, "{error}");
    let late = Lease { loading: Loading::Before(Instant::now(), MS * 200), ..Lease::OPEN };
    let error = session.converge(None, Fence::new(5, 2), &state, late).await.expect_err("too late");
    assert_eq!(error.ended(), Ended::Lacking, "{error}");
    {
        let manners = switch.manners();
        assert_eq!((manners.pushes, manners.writes.len()), (0, 0));
    }
    let report = attempt(&mut session, 3, &state, Some(MS * 5000)).await.expect("converges");
    assert!(report.pushing.is_some());
}

/// A write whose answer comes long after its deadline: nobody says that all is done before it is.
#[tokio::test]
async fn a_late_write_is_waited_for_before_anybody_says_how_it_went() {
    let switch = Fake::start().await;
    let mut session = session(switch.address);
    attempt(&mut session, 1, &policy(40, ActionKind::AdminPermit), Some(MS * 5000)).await.expect("converges");
    let state = policy(60, ActionKind::AdminPermit);
    switch.script(|number, _: &WriteRequest| if number == 0 { Fault::Late(MS * 700) } else { Fault::None });
    let start = Instant::now();
    attempt(&mut session, 2, &state, None).await.expect("converges");
    assert!(start.elapsed() >= MS * 700);
    holds(switch.address, &state).await;
    // The switch hangs, and that is what is said.
    switch.script(|_, _: &WriteRequest| Fault::Late(MS * 60_000));
    let now = Instant::now();
    let lease = Lease {
        start_before: Some(now + MS * 300),
        loading: Loading::Never,
        settle_by: Some(now + MS * 900),
        ..Lease::OPEN
    };
    let state = policy(20, ActionKind::AdminPermit);
    let error = session.converge(None, Fence::new(5, 3), &state, lease).await.expect_err("no answer");
    // Which of them it is depends on what was under way last.
    assert!(matches!(error.ended(), Ended::Unanswered { .. } | Ended::TooLate { .. }), "{error}");
    assert!(now.elapsed() >= MS * 900, "others may begin by then");
}

/// A lax switch: what one has sent runs on when another is primary. That one finds it, by looking twice.
#[tokio::test]
async fn what_an_overtaken_one_still_writes_is_found() {
    let switch = Fake::start().await;
    let (old, new) = (policy(60, ActionKind::AdminPermit), policy(40, ActionKind::AdminPermit));
    let mut first = session(switch.address);
    attempt(&mut first, 1, &policy(5, ActionKind::AdminPermit), Some(MS * 5000)).await.expect("converges");
    // The first one's write comes after the second one has read, and before it has written.
    switch.script(|number, _: &WriteRequest| match number {
        0 => Fault::Late(MS * 300),
        1 => Fault::Slow(MS * 600),
        _ => Fault::None,
    });
    let overtaken = tokio::spawn(async move { attempt(&mut first, 2, &old, None).await });
    while switch.manners().writes.is_empty() {
        tokio::time::sleep(MS).await;
    }
    let mut second = Session::new(target(switch.address), pipeline(), options());
    attempt(&mut second, 3, &new, None).await.expect("converges");
    assert!(overtaken.await.expect("no panic").is_err());
    switch.well_behaved();
    holds(switch.address, &new).await;
    // From now on nobody else can have written, and it is known what the switch holds; whoever doubts it looks once.
    for looks in [0, 1] {
        switch.manners().reads.clear();
        attempt(&mut second, 4, &new, None).await.expect("converges");
        assert_eq!(switch.manners().reads.len(), looks);
        second.doubt();
    }
}

/// A switch that takes longer for every write than was allowed for: whoever knows it gives it more, on the connection that
/// stands.
#[tokio::test]
async fn a_slow_switch_is_given_more_time_on_the_same_connection() {
    let switch = Fake::start().await;
    let mut session = session(switch.address);
    attempt(&mut session, 1, &policy(5, ActionKind::AdminPermit), Some(MS * 5000)).await.expect("converges");
    let state = policy(40, ActionKind::AdminPermit);
    switch.script(|_, _: &WriteRequest| Fault::Slow(MS * 500));
    let error = attempt(&mut session, 2, &state, None).await.expect_err("it takes longer");
    assert!(
        matches!(*error.problem, Problem::Client(ClientProblem::Deadline { call: "Write", .. })),
        "{error}"
    );
    session.set_deadlines(Deadlines { connect: MS * 500, call: MS * 500, write: MS * 5000 });
    let report = attempt(&mut session, 3, &state, None).await.expect("converges");
    assert_eq!((report.written.repeated, session.connects()), (0, 1));
    switch.well_behaved();
    holds(switch.address, &state).await;
}

/// Where there is much to read, the answer to the small question beside it may come late, too.
#[tokio::test]
async fn the_cookie_may_take_as_long_as_the_read_beside_it() {
    let switch = Fake::start().await;
    let mut session = session(switch.address);
    let state = policy(40, ActionKind::AdminPermit);
    attempt(&mut session, 1, &state, Some(MS * 5000)).await.expect("converges");
    session.set_deadlines(Deadlines { connect: MS * 200, call: MS * 200, write: MS * 200 });
    switch.manners().slow_cookie = Some(MS * 500);
    attempt(&mut session, 2, &state, None).await.expect("converges");
    assert!(session.audit(&state).await.expect("an audit").difference.is_none());
}
