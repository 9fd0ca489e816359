//! The owner of an attempt is stopped, or killed, amid its writes, with leases that last longer than the test: another one
//! finishes its task, and the switch takes nothing from it any more.

use std::time::{Duration, Instant};

use outplane_testbed::{Cluster, ClusterOptions, History, SharedConfig, StoreKind, What, Xdp};
use outplane_tests::network::{Journal, policy, started, writer};
use outplane_tests::skipped;

const SWITCH: &str = "s1";
/// Longer than anything here takes, and shorter than the leases.
const PATIENCE: Duration = Duration::from_secs(90);

/// More than can be written in one go.
const RULES: u64 = 200;

/// Who has carried out the first write since this place of the journal.
fn first_writer(cluster: &Cluster, journal: &mut Journal) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let lines = journal.lines().expect("the journal can be read");
        if let Some(line) = lines.iter().find(|line| matches!(line.what, What::Write { .. })) {
            return writer(cluster, line).expect("a controller");
        }
        assert!(Instant::now() < end, "nobody writes");
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn a_silent_owner_is_taken_over_and_refused() {
    if let Some(why) = outplane_testbed::why_not() {
        skipped("owners that fall silent", &why);
        return;
    }
    let mut shared = SharedConfig::default();
    (shared.claims.lease_base_ms, shared.claims.lease_max_ms) = (200_000, 400_000);
    shared.retention.grace_s = 1000;
    let options = ClusterOptions {
        distributors: 1,
        controllers: 3,
        switches: 1,
        ports: 0,
        store: StoreKind::Embedded,
        xdp: Xdp::Auto,
        relays: Vec::new(),
        shared,
    };
    let cluster = started(options).expect("it starts");
    let switches = [SWITCH.to_owned()];
    let settled = |open: Vec<_>| assert!(open.is_empty(), "not decided: {open:?}");
    cluster.write("policy.yaml", &policy(&cluster, RULES, 0)).expect("written");
    cluster.outplane(&["apply", "policy.yaml"]).expect("applied");
    settled(History::wait(&cluster, &switches, PATIENCE).expect("it can be asked"));
    for number in 1..=4 {
        let stops = number % 2 == 1;
        let mut journal = Journal::follow(&cluster, SWITCH).expect("a journal");
        cluster.write("policy.yaml", &policy(&cluster, RULES, number)).expect("written");
        let victim = std::thread::scope(|scope| {
            let applies = scope.spawn(|| cluster.outplane(&["apply", "policy.yaml"]));
            let victim = first_writer(&cluster, &mut journal);
            if stops { cluster.pause(&victim) } else { cluster.kill(&victim) }.expect("it obeys");
            settled(History::wait(&cluster, &switches, PATIENCE).expect("it can be asked"));
            applies.join().expect("no panic").expect("applied");
            victim
        });
        if stops {
            cluster.resume(&victim).expect("it obeys");
        } else {
            cluster.start_one(&victim).expect("it starts");
        }
        cluster.wait_ready(&victim).expect("it is back");
    }
    let history = History::read(&cluster).expect("store and journals can be read");
    let verdict = history.check(&history.events(&switches));
    println!("{verdict}");
    assert_eq!(verdict.faults().count(), 0, "{verdict}");
    assert_eq!(verdict.done, 5, "{verdict}");
    assert!(verdict.taken_over > 0, "all were through before they were stopped: {verdict}");
    assert_eq!(cluster.casualties().expect("processes can be looked at"), [""; 0]);
}
