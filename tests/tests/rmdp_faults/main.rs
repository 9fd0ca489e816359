//! RMDP with real processes, a real store and real datagrams: 1,000 tasks while everything fails, and then the history
//! says whether any was lost, owned by two, begun too early or done twice.
//!
//! Of these half come while datagrams and keys suffer, and half while processes, a node and the store do;
//! `OUTPLANE_FAULT_TASKS=1000` says how many of each. Each case has 25 switches and applies a new policy again and again; a policy makes one task a switch. What fails is
//! drawn from a seed that is printed.

mod faults;
mod load;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outplane_testbed::{
    Ceph, Cluster, ClusterOptions, History, Part, Programs, SharedConfig, StoreKind, Totals, Verdict, Xdp,
};
use outplane_tests::{program, skipped};

use faults::Faults;
use load::Load;

const SWITCHES: u8 = 25;
/// Tasks of a case, at least: two cases are 1,000.
const TASKS: usize = 500;

/// Between two looks at what rules have counted.
const LOOK: Duration = Duration::from_secs(1);

/// One cluster at a time: they would only take the processors from each other.
static TURN: Mutex<()> = Mutex::new(());

/// Why no case can run here.
fn why_not() -> Option<String> {
    outplane_testbed::why_not().or_else(outplane_testbed::why_no_faults)
}

fn options(store: StoreKind) -> ClusterOptions {
    let mut shared = SharedConfig::default();
    // Short leases, so that a test sees many of them run out.
    (shared.claims.lease_base_ms, shared.claims.budget_ms) = (2000, 500);
    (shared.claims.lease_max_ms, shared.claims.push_ms) = (10_000, 8000);
    shared.claims.watch_ms = 1000;
    // A switch is always there in the end: no task may give up.
    shared.attempts.max = 50;
    // Everything has to be there for the checker.
    shared.retention.generations = 10_000;
    ClusterOptions {
        distributors: 3,
        controllers: 3,
        switches: SWITCHES,
        ports: 0,
        store,
        xdp: Xdp::Auto,
        relays: vec!["c1".to_owned()],
        shared,
    }
}

/// How many tasks a case has, at least.
fn tasks() -> usize {
    std::env::var("OUTPLANE_FAULT_TASKS").ok().and_then(|tasks| tasks.parse().ok()).unwrap_or(TASKS)
}

fn programs() -> Programs {
    Programs { outplane: program("outplane"), agent: program("outplane-lab-agent") }
}

/// Makes something fail, at least until it is told that it is enough.
type Fail<'a> = fn(&Faults<'a>, &dyn Fn() -> bool);

/// Runs a load while something fails, and judges.
fn case<'a>(cluster: &'a Cluster, what: &str, load: &mut Load<'a>, fail: Fail<'a>) -> Verdict {
    let seed = fastrand::u64(..);
    let start = std::time::Instant::now();
    let faults = Faults::new(cluster, seed);
    let before = load.tasks();
    let enough = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        scope.spawn(|| look_at_totals(cluster, &totals, &enough));
        let failing = scope.spawn(|| fail(&faults, &|| enough.load(Ordering::Relaxed)));
        // Whatever comes of the load: the other thread must end.
        let _end = OnDrop(&enough);
        load.run(tasks(), &enough, || failing.is_finished());
        failing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    // What the switches hold in the end.
    assert!(load.apply(true), "nothing fails any more");
    let loaded = start.elapsed();
    load.settle();
    let settled = start.elapsed();
    let mut history = History::read(cluster).expect("store and journals can be read");
    history.totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    History::read_totals(cluster, &mut history.totals).expect("totals can be read");
    let verdict = history.check(&load.expected(&history));
    println!(
        "{what}: seed {seed}; {} tasks in {loaded:.1?}, decided after {settled:.1?}",
        load.tasks() - before
    );
    println!("{verdict}");
    if history.unlisted > 0 {
        println!("  {} objects were there, and in no listing", history.unlisted);
    }
    for name in cluster.names(Part::Controller) {
        println!("  {name}: {}", received(cluster, &name));
    }
    assert_eq!(verdict.faults().count(), 0, "{what}, seed {seed}:\n{verdict}");
    assert_eq!(verdict.failed, 0, "{what}: no switch refused anything:\n{verdict}");
    assert!(load.tasks() - before >= tasks());
    load.nothing_left();
    for task in &verdict.hardest {
        load.told_alike(*task, &history);
    }
    assert_eq!(cluster.casualties().expect("processes can be looked at"), [""; 0], "nobody ends by itself");
    verdict
}

/// Now and then, until it is enough: what they were in between is seen by nobody else.
fn look_at_totals(cluster: &Cluster, seen: &Mutex<Totals>, enough: &AtomicBool) {
    while !enough.load(Ordering::Relaxed) {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        // The store may be away: that is one of the faults.
        let _ = History::read_totals(cluster, &mut seen);
        std::thread::sleep(LOOK);
    }
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a controller gets its datagrams, and how many since it was started.
fn received(cluster: &Cluster, name: &str) -> String {
    let metrics = cluster.metrics(name).expect("it serves metrics");
    let mode =
        metrics.iter().find(|(series, value)| series.starts_with("outplane_receiver_mode") && *value > 0.0);
    let count = |verdict: &str| metrics.sum("outplane_datagrams_total", &["type=\"task\"", verdict]);
    format!(
        "{}; tasks: {} first copies, {} duplicates, {} replays; claims: {} won, {} lost",
        mode.map_or("no receiver", |(series, _)| series),
        count("verdict=\"first\""),
        count("verdict=\"duplicate\""),
        count("verdict=\"replay\""),
        metrics.sum("outplane_claims_total", &["outcome=\"won\""]),
        metrics.sum("outplane_claims_total", &["outcome=\"lost\""])
    )
}

fn in_turn(what: &str, test: impl FnOnce()) {
    if let Some(why) = why_not() {
        skipped(what, &why);
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    test();
}

fn cases(store: StoreKind) {
    let cluster = Cluster::new(options(store), programs()).expect("a cluster");
    cluster.start().expect("everything starts");
    let mut load = Load::new(&cluster);
    let verdict =
        case(&cluster, "datagrams lost, doubled, late; keys rotated", &mut load, Faults::datagrams_and_keys);
    assert!(
        verdict.received.get("queue").is_some_and(|count| *count > 0),
        "tasks are found without any datagram"
    );
    let verdict =
        case(&cluster, "every role killed and paused, the store away", &mut load, Faults::processes);
    assert!(verdict.retried > 0, "somebody was in the middle of something");
    for name in cluster.names(Part::Controller).into_iter().chain(cluster.names(Part::Distributor)) {
        cluster.stop(&name).expect("SIGTERM drains");
    }
}

#[test]
fn nothing_is_lost_or_doubled_on_the_embedded_store() {
    in_turn("1,000 tasks on the embedded store while everything fails", || cases(StoreKind::Embedded));
}

#[test]
fn nothing_is_lost_or_doubled_on_ceph() {
    let what = "1,000 tasks on Ceph while everything fails";
    if let Some(why) = Ceph::why_not() {
        skipped(what, &why);
        return;
    }
    in_turn(what, || cases(StoreKind::Ceph { gateways: 2 }));
}
