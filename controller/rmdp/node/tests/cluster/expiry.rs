//! Rules that expire.

use std::time::Duration;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Generation, Object, PolicyFile};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::clock::unix_millis;
use outplane_rmdp_node::generation::bound;

use crate::support::{Lab, policy, record};

/// A policy of five rules, of which these expire at these moments.
fn expiring(lab: &Lab, rules: &[(&str, i64)]) -> Vec<PolicyFile> {
    let mut files = policy(lab.switches.keys(), 5);
    for (rule, at_ms) in rules {
        let at = jiff::Timestamp::from_millisecond(*at_ms).unwrap();
        let text =
            files[0].text.replace(&format!("{{name: {rule},"), &format!("{{name: {rule}, expires: '{at}',"));
        assert_ne!(text, files[0].text);
        files[0].text = text;
    }
    files
}

fn in_ms(ms: i64) -> i64 {
    i64::try_from(unix_millis()).unwrap() + ms
}

/// A generation, once it is there.
async fn generation(lab: &Lab, number: u64) -> Generation {
    match lab.object(&Key::Generation(number), Duration::from_millis(20)).await {
        Some(Object::Generation(generation)) => generation,
        other => panic!("generation {number}: {other:?}"),
    }
}

async fn numbers(lab: &Lab) -> Vec<u64> {
    Chain::Generations.numbers(&lab.objects, 0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_expires_by_itself_once() {
    let lab = Lab::new(&["leaf1", "leaf2"], 3, 2).await;
    let _nodes = lab.start_all().await;
    let (first, second) = (in_ms(1000), in_ms(3000));
    let files = expiring(&lab, &[("r1", first), ("r3", second)]);
    let applied = lab.append(files.clone()).await;
    for (number, moment) in [(applied + 1, first), (applied + 2, second)] {
        let generation = generation(&lab, number).await;
        assert_eq!((generation.as_of_ms, &generation.files), (moment, &files));
        assert!(in_ms(0) >= moment, "not before its time");
    }
    lab.converged(applied + 2).await;
    assert_eq!(numbers(&lab).await, [applied, applied + 1, applied + 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_while_nobody_was_there_expires_at_once() {
    let lab = Lab::new(&["leaf1"], 2, 1).await;
    let (first, second) = (in_ms(-2000), in_ms(-1000));
    let files = expiring(&lab, &[("r1", first), ("r3", second), ("r4", in_ms(3_600_000))]);
    let record = bound(Generation { as_of_ms: first - 1, ..record(1, files) }).unwrap();
    Chain::Generations.append_at(&lab.objects, 1, &mut Object::Generation(record)).await.unwrap();
    let _nodes = lab.start_all().await;
    lab.converged(2).await;
    assert_eq!(generation(&lab, 2).await.as_of_ms, second, "the last moment that has passed");
    assert_eq!(numbers(&lab).await, [1, 2]);
}
