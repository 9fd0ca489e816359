//! Changes without faults.

use outplane_rmdp_core::object::Outcome;

use crate::support::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_change_end_to_end() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let _nodes = lab.start_all().await;
    let generation = lab.apply(3).await;
    assert_eq!(generation, 1);
    let decisions = lab.converged(generation).await;
    let decision = &decisions["leaf1"];
    assert_eq!((decision.owner.as_str(), decision.attempt), ("c1", 1));
    let Outcome::Done { report, steps } = &decision.outcome else { panic!("{decision:?}") };
    assert!(report.contains("writes") && steps.claimed_us <= steps.executed_us, "{decision:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_switches_and_many_nodes() {
    let lab = Lab::new(&["leaf1", "leaf2"], 2, 3).await;
    let _nodes = lab.start_all().await;
    for rules in [3, 5, 4] {
        let generation = lab.apply(rules).await;
        for decision in lab.converged(generation).await.values() {
            assert_eq!(decision.attempt, 1, "{decision:?}");
        }
    }
}
