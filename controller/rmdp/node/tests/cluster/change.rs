//! Changes without faults.

use std::collections::BTreeSet;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Generation, Object, Outcome, PolicyFile};
use outplane_rmdp_node::Error;
use outplane_rmdp_node::chain::{Chain, Follower};
use outplane_rmdp_node::daemon::newest_config;
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::log::Tasks;
use outplane_rmdp_wire::HintOf;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Lab, id, policy, record};

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
            // A machine that stands still for long costs one.
            assert!(decision.attempt <= 2, "{decision:?}");
        }
    }
}

/// Who is not changed has no task, and is kept at the newest generation all the same, also by nodes that have started since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_has_changed_has_a_task() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 2, 2).await;
    let nodes = lab.start_all().await;
    let mut files = policy(lab.switches.keys(), 3);
    lab.append(files.clone()).await;
    lab.converged(1).await;
    // Where the shared configuration says where a switch is, this changes nothing but that.
    for (generation, port) in [(2, "2"), (3, "3")] {
        files[0].text = files[0].text.replace("leaf2.invalid:1", &format!("leaf2.invalid:{port}"));
        assert_eq!(lab.append_as(files.clone(), Tasks::Changed).await, generation);
        files[0].text = files[0].text.replace(&format!("leaf2.invalid:{port}"), "leaf2.invalid:1");
        let decision = lab.decision(generation, "leaf2").await;
        assert!(matches!(decision.outcome, Outcome::Done { .. }), "{decision:?}");
    }
    let since = async |generation| match lab.objects.get(&Key::Generation(generation)).await {
        Ok(Some(Object::Generation(record))) => ["leaf1", "leaf2"].map(|switch| record.since(switch)),
        other => panic!("{other:?}"),
    };
    assert_eq!((since(2).await, since(3).await), ([1, 2], [1, 3]));
    drop(nodes);
    let _nodes = lab.start_all().await;
    lab.restart("leaf1").await;
    lab.comes_to_hold(3).await;
    for generation in [2, 3] {
        for key in [Key::Decision(id(generation, "leaf1")), Key::Claim(id(generation, "leaf1"), 1)] {
            assert_eq!(lab.objects.get(&key).await.unwrap(), None);
        }
    }
    // `apply --anyway` has all of them brought there.
    assert_eq!(lab.append_as(files, Tasks::All).await, 4);
    lab.converged(4).await;
}

/// Commands have stream epochs of their own, so that hints of several of them are taken, and nobody's stream suffers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_are_taken_from_every_command() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let _nodes = lab.start_all().await;
    let (_, config) = newest_config(&lab.objects).await.unwrap().unwrap();
    for rules in 1..=4 {
        let mut hinter = Hinter::new(&lab.objects, &lab.file("d1"), &config).await.unwrap();
        let generation = lab.apply(rules).await;
        assert_eq!(hinter.hint(HintOf::Intent, generation), lab.members.len());
        lab.converged(generation).await;
        // The announce came by datagram: the distributor's own stream goes on.
        assert_eq!(lab.claim(generation, "leaf1", 1).await.received, "d1");
    }
}

/// Where the shared configuration says nothing of a switch, the intent's Switch object tells where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_found_by_the_intent() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let config = lab.config();
    let (members, _) = config.split_once("[switch.").unwrap();
    lab.set_config(members).await;
    let _nodes = lab.start_all().await;
    let address = lab.switches["leaf1"].server().address().to_string();
    let text = policy(lab.switches.keys(), 3).remove(0).text.replace("leaf1.invalid:1", &address);
    let files = vec![PolicyFile { name: "policy.yaml".to_owned(), text }];
    let make = |generation| Object::Generation(record(generation, files.clone()));
    let generation = Chain::Generations.append(&lab.objects, make).await.unwrap();
    lab.converged(generation).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appenders_never_have_the_same_number_and_followers_miss_none_of_the_newest() {
    let lab = Lab::new(&[], 1, 1).await;
    let mut appenders = JoinSet::new();
    for appender in 0..8 {
        let objects = lab.objects.clone();
        appenders.spawn(async move {
            let author = format!("appender {appender}");
            let make = |generation| {
                Object::Generation(Generation { author: author.clone(), ..record(generation, Vec::new()) })
            };
            let mut numbers = Vec::new();
            for _ in 0..5 {
                numbers.push(match Chain::Generations.append(&objects, make).await {
                    // Others were so quick that it cannot tell whether this number was another's before: here it was not.
                    Ok(number) | Err(Error::Overtaken { key: Key::Generation(number), .. }) => number,
                    Err(error) => panic!("{error}"),
                });
            }
            numbers
        });
    }
    let numbers: Vec<u64> = appenders.join_all().await.concat();
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), (1..=40).collect());
    // Swept numbers are no obstacle.
    let swept: Vec<String> = (1..=30).map(|number| Chain::Generations.key(number).path()).collect();
    lab.objects.store().delete(&swept).await.unwrap();
    let (_hints, mut hints) = watch::channel(0);
    let mut follower = Follower::new(lab.objects.clone(), Chain::Generations, 0);
    let (newest, object) = follower.next(&mut hints).await.unwrap();
    assert!(newest == 40 && matches!(object, Object::Generation(_)), "{newest}");
}

/// The shared configuration says where it is, and nothing else: how to talk to it is what the policy says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_configuration_leaves_open_is_the_switch_objects() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let _nodes = lab.start_all().await;
    for (more, why) in [(", deviceId: 2}", "no device 2"), (", tls: {ca: switch-ca.pem}}", "switch-ca.pem")] {
        let mut files = policy(lab.switches.keys(), 3);
        let plain = "ports: [1, 2]}";
        assert!(files[0].text.contains(plain));
        files[0].text = files[0].text.replace(plain, &format!("ports: [1, 2]{more}"));
        let decision = lab.decision(lab.append(files).await, "leaf1").await;
        let Outcome::Failed { reason, .. } = &decision.outcome else { panic!("{decision:?}") };
        assert!(reason.contains(why), "{reason}");
    }
    lab.converged(lab.apply(3).await).await;
}
