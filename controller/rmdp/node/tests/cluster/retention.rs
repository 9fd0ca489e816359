//! What retention keeps vanishes in time, and changes go on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{NodeStatus, Object, QueuedTask};
use outplane_rmdp_core::task::{Digest, Work};
use outplane_rmdp_node::blobs::Blobs;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::{Compiled, compiled};
use outplane_rmdp_node::{Error, daemon};
use tokio::time::{sleep, timeout};

use crate::support::{Lab, PATIENCE, QUICK, policy, record};

/// As short as leases allow.
fn short() -> String {
    let quick = QUICK.replace("lease_max_ms = 5000", "lease_max_ms = 2400");
    format!("{quick}[retention]\nhorizon_s = 6\ngrace_s = 6\ngenerations = 2\nconfigs = 2\n")
}

async fn keys(lab: &Lab, prefix: Prefix) -> Vec<Key> {
    let (keys, whole) = lab.objects.list_all(&prefix, 1000).await.unwrap();
    assert!(whole);
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_vanishes_and_changes_go_on() {
    let lab = Lab::with(&["leaf1"], 1, 2, &short()).await;
    // Two blocks of generations, which nobody has carried out: the first of each has a snapshot.
    for number in 1..=130 {
        assert_eq!(lab.apply(300 + number % 2).await, number as u64);
    }
    let is_snapshot = |key: &&Key| matches!(key, Key::Snapshot(..));
    let snapshots = keys(&lab, Prefix::Generations).await.iter().filter(is_snapshot).count();
    assert!(snapshots >= 3, "{snapshots}");
    let mut nodes = lab.start_all().await;
    for _ in 0..2 {
        nodes.remove("c2").unwrap().drain().await;
        nodes.insert("c2", lab.start("c2").await);
    }
    for rules in 1..=6 {
        lab.converged(lab.apply(rules).await).await;
    }
    for _ in 0..5 {
        lab.set_config(&lab.config()).await;
    }
    // Of a node that is no member any more.
    let left = NodeStatus {
        node: "gone".to_owned(),
        role: outplane_rmdp_core::config::Role::Controller,
        epoch: 1,
        version: "0".to_owned(),
        config: 1,
        generation: 0,
        receiver: daemon::LEFT.to_owned(),
        draining: true,
        counters: std::collections::BTreeMap::new(),
        tasks: vec![],
        alerts: vec![],
        heard: std::collections::BTreeMap::new(),
        keys: None,
        estranged: None,
        since_ms: Vec::new(),
        past: Vec::new(),
        at_ms: 0,
    };
    lab.objects.put(&Key::Status("gone".to_owned()), &mut Object::Status(left)).await.unwrap();
    // On a slow machine the first ones have gone by now.
    let blobs = keys(&lab, Prefix::Blobs).await;
    assert!((1..=8).contains(&blobs.len()), "{blobs:?}");
    let epoch = |epoch| Key::Epoch("c2".to_owned(), epoch);
    assert_eq!(keys(&lab, Prefix::EpochsOf("c2".to_owned())).await, [epoch(1), epoch(2), epoch(3)]);
    let swept = timeout(PATIENCE, async {
        loop {
            let (generations, configs) =
                (keys(&lab, Prefix::Generations).await, keys(&lab, Prefix::Configs).await);
            let blobs = keys(&lab, Prefix::Blobs).await;
            // By powers of two the newest is found, and what is newest rests on the first of its block.
            let stay: Vec<Key> =
                [1, 2, 4, 8, 16, 32, 64].into_iter().chain(128..=136).map(Key::Generation).collect();
            let stays = |key: &Key| match key {
                Key::Snapshot(number, _) => stay.contains(&Key::Generation(*number)),
                _ => stay.contains(key),
            };
            if stay.iter().all(|key| generations.contains(key))
                && generations.iter().all(stays)
                && configs == [1, 2, 4, 5, 6].map(Key::Config)
                && blobs.is_empty()
                && lab.objects.get(&Key::Status("gone".to_owned())).await.unwrap().is_none()
            {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    let late = swept.await;
    let mut left = Vec::new();
    for prefix in [Prefix::Generations, Prefix::Configs, Prefix::Epochs, Prefix::Blobs, Prefix::Statuses] {
        left.extend(keys(&lab, prefix).await);
    }
    assert!(late.is_ok(), "still there: {left:?}");
    // What stays can be read.
    for key in left.iter().filter(|key| matches!(key, Key::Generation(_))) {
        assert!(matches!(lab.objects.get(key).await, Ok(Some(Object::Generation(_)))), "{key}");
    }
    // Members' own are there, and numbers go on.
    for member in &lab.members {
        assert!(left.contains(&Key::Status(member.name.to_owned())), "{left:?}");
        assert!(left.iter().any(|key| matches!(key, Key::Epoch(node, _) if node == member.name)), "{left:?}");
    }
    let again = lab.apply(1).await;
    assert_eq!(again, 137);
    lab.converged(again).await;
    assert_eq!(lab.set_config(&lab.config()).await, 7);
    nodes.remove("c2").unwrap().drain().await;
    assert_eq!(lab.start("c2").await.up.epoch, 4);
    lab.converged(lab.apply(3).await).await;
}

/// Appends a generation, and none of its desired states.
async fn generation(lab: &Lab, rules: usize) -> Compiled {
    let files = policy(lab.switches.keys(), rules);
    let make = |generation| Object::Generation(record(generation, files.clone()));
    let number = Chain::Generations.append(&lab.objects, make).await.unwrap();
    compiled(&record(number, files)).unwrap()
}

/// As if a distributor had found the blob there, and it was swept before the task was queued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desired_state_that_was_swept_is_made_again() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let mut nodes = lab.start_all().await;
    nodes.remove("d1").unwrap().kill();
    let Compiled { generation, tasks, states, .. } = generation(&lab, 3).await;
    for task in &tasks {
        let mut queued = Object::Task(QueuedTask::new(task, "d1"));
        assert!(lab.objects.create(&Key::Queue(task.id()), &mut queued).await.unwrap());
    }
    lab.converged(generation).await;
    let digests: Vec<_> = states.keys().map(|digest| Key::Blob(*digest)).collect();
    assert_eq!(keys(&lab, Prefix::Blobs).await, digests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_again_says_why() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let compiled = generation(&lab, 3).await;
    let Work::Converge { desired, generation, .. } = *compiled.tasks[0].work() else {
        panic!("{compiled:?}")
    };
    let blobs = Blobs::new(lab.objects.clone());
    let made = blobs.get(desired, generation).await.unwrap();
    assert_eq!(made, compiled.states[&desired]);
    assert_eq!(blobs.counters().remade.load(Ordering::Relaxed), 1);
    let other = blobs.get(Digest([7; 32]), generation).await.unwrap_err();
    assert!(other.contains("another version of outplane"), "{other}");
    let none = blobs.get(Digest([7; 32]), 9).await.unwrap_err();
    assert!(none.contains("i/00000000000000000009"), "{none}");
}

/// An appender that was held up after its listing, while others appended and old numbers were swept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_is_issued_twice() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    for rules in 1..=5 {
        lab.apply(rules).await;
    }
    let swept: Vec<String> = (1..=3).map(|number| Key::Generation(number).path()).collect();
    lab.objects.store().delete(&swept).await.unwrap();
    let files = policy(lab.switches.keys(), 9);
    let make = |generation| Object::Generation(record(generation, files.clone()));
    for held_up_at in 0..=2 {
        let appended = Chain::Generations.append_after(&lab.objects, held_up_at, make).await;
        let Err(Error::Overtaken { key, newest: 5 }) = appended else { panic!("{appended:?}") };
        assert_eq!(key, Key::Generation(held_up_at + 1));
    }
    // Not behind what was ever there.
    assert_eq!(Chain::Generations.append_after(&lab.objects, 3, make).await.unwrap(), 6);
    assert_eq!(lab.apply(1).await, 7);
}
