//! RMDP with real processes, a real store and real datagrams: 1,000 tasks while everything fails, and then the history
//! says whether any was lost, owned by two, begun too early or done twice.
//!
//! Each case has 25 switches and applies a new policy again and again; a policy makes one task a switch. What fails is
//! drawn from a seed that is printed.

mod faults;
mod load;

use std::sync::{Mutex, PoisonError};

use outplane_testbed::{
    Ceph, Cluster, ClusterOptions, History, Part, Programs, SharedConfig, StoreKind, Xdp,
};
use outplane_tests::{program, skipped};

use faults::Faults;
use load::Load;

const SWITCHES: u8 = 25;
/// Tasks of a case, at least.
const TASKS: usize = 1000;

/// One cluster at a time: they would only take the processors from each other.
static TURN: Mutex<()> = Mutex::new(());

/// Why no case can run here.
fn why_not() -> Option<String> {
    outplane_testbed::why_not().or_else(outplane_testbed::why_no_faults)
}

fn options(store: StoreKind) -> ClusterOptions {
    let mut shared = SharedConfig::default();
    // Short leases, so that a test sees many of them run out.
    (shared.claims.lease_base_ms, shared.claims.budget_ms) = (1500, 500);
    shared.claims.lease_max_ms = 10_000;
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

fn programs() -> Programs {
    Programs { outplane: program("outplane"), agent: program("outplane-lab-agent") }
}

/// Runs a load while something fails, and judges.
fn case<'a>(cluster: &'a Cluster, what: &str, load: &mut Load<'_>, fail: impl FnOnce(&Faults<'a>) + Send) {
    let seed = fastrand::u64(..);
    let start = std::time::Instant::now();
    let faults = Faults::new(cluster, seed);
    let before = load.tasks();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| fail(&faults));
        load.run(TASKS, || running.is_finished());
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let loaded = start.elapsed();
    load.settle();
    let settled = start.elapsed();
    let history = History::read(cluster).expect("store and journals can be read");
    let verdict = history.check(&load.expected(&history));
    println!(
        "{what}: seed {seed}; {} tasks in {loaded:.1?}, decided after {settled:.1?}",
        load.tasks() - before
    );
    for line in faults.told() {
        println!("  {line}");
    }
    println!("{verdict}");
    assert_eq!(verdict.faults().count(), 0, "{what}, seed {seed}:\n{verdict}");
    assert_eq!(verdict.failed, 0, "{what}: no switch refused anything:\n{verdict}");
    assert!(load.tasks() - before >= TASKS);
    load.nothing_left();
    assert_eq!(cluster.casualties().expect("processes can be looked at"), [""; 0], "nobody ends by itself");
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
    case(
        &cluster,
        "datagrams lost, doubled, late; keys rotated",
        &mut load,
        Faults::datagrams_and_keys,
    );
    case(&cluster, "every role killed and paused, the store away", &mut load, Faults::processes);
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
