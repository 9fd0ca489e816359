//! The log of probes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use outplane_rmdp_core::chain::may_go;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Decision, Object, Outcome, ProbeEntry};
use outplane_rmdp_core::task::Event;
use outplane_rmdp_node::Error;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::chain::PROBES_KEPT;
use outplane_rmdp_node::daemon::newest_config;
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::probes::{self, ProbeFollower};
use outplane_rmdp_wire::HintOf;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Lab, NETWORK};

async fn ask(lab: &Lab, switches: &[&str]) -> u64 {
    let switches: Vec<String> = switches.iter().map(|&name| name.to_owned()).collect();
    probes::append(&lab.objects, NETWORK, &switches, "tests").await.unwrap()
}

async fn answer(lab: &Lab, number: u64, switch: &str) -> Decision {
    let key = Key::Decision(Event::probe(NETWORK, number, switch).id().unwrap());
    match lab.object(&key, Duration::from_millis(5)).await {
        Some(Object::Decision(decision)) => decision,
        other => panic!("no answer of {switch} to probe {number}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switches_answer_beside_changes_and_after_restarts() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 2, 2).await;
    // One that nobody can reach: it refuses connections.
    let nobody = outplane_loopback::address();
    let _ = writeln!(lab.tail, "[switch.gone]\naddress = \"{nobody}\"");
    lab.set_config(&lab.config()).await;
    // Asked while no node runs: found by the first that comes.
    let first = ask(&lab, &["leaf1", "leaf2"]).await;
    let mut nodes = lab.start_all().await;
    for switch in ["leaf1", "leaf2"] {
        let decision = answer(&lab, first, switch).await;
        assert!(matches!(&decision.outcome, Outcome::Done { report, .. } if report.contains("answers in")));
        assert_eq!((decision.event.kind.as_str(), decision.event.occurrence), ("probe", first));
    }
    let (_, config) = newest_config(&lab.objects).await.unwrap().unwrap();
    let mut hinter = Hinter::new(&lab.objects, &lab.file("d1"), &config).await.unwrap();
    let number = ask(&lab, &["leaf1", "gone"]).await;
    assert_eq!(hinter.hint(HintOf::Probes, number), lab.members.len());
    let generation = lab.apply(3).await;
    let Outcome::Failed { attempts, reason } = answer(&lab, number, "gone").await.outcome else {
        panic!("it cannot answer")
    };
    assert!(attempts == 2 && reason.contains("gone"), "{attempts} attempts: {reason}");
    assert!(matches!(answer(&lab, number, "leaf1").await.outcome, Outcome::Done { .. }));
    lab.converged(generation).await;
    // A distributor that comes again asks nothing twice, whether it drained or died.
    for name in ["d1", "d2"] {
        nodes.remove(name).unwrap().kill();
    }
    let again = lab.start("d1").await;
    let last = ask(&lab, &["leaf2"]).await;
    answer(&lab, last, "leaf2").await;
    again.drain().await;
    let mut queued = BTreeSet::new();
    for (number, switch) in [(first, "leaf1"), (first, "leaf2"), (number, "leaf1"), (number, "gone")] {
        let id = Event::probe(NETWORK, number, switch).id().unwrap();
        if lab.objects.get(&Key::Queue(id)).await.unwrap().is_some() {
            queued.insert(id);
        }
        assert!(lab.objects.get(&Key::Claim(id, 4)).await.unwrap().is_none(), "no attempt more");
    }
    assert!(queued.is_empty(), "queued again: {queued:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_never_issued_twice_and_followers_see_each_entry() {
    let lab = Lab::new(&[], 1, 1).await;
    let (hint, mut hints) = watch::channel(0);
    let mut follower = ProbeFollower::new(lab.objects.clone());
    ask(&lab, &["leaf1"]).await;
    assert!(follower.next(&mut hints).await.unwrap().old);
    let mut appenders = JoinSet::new();
    for appender in 0..4 {
        let objects = lab.objects.clone();
        appenders.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..20 {
                numbers.push(
                    probes::append(&objects, NETWORK, &[format!("leaf{appender}")], "tests").await.unwrap(),
                );
            }
            numbers
        });
    }
    let numbers = appenders.join_all().await.concat();
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), (2..=81).collect());
    for number in 2..=81 {
        let found = follower.next(&mut hints).await.unwrap();
        assert_eq!((found.entry.number, found.old), (number, false));
    }
    for _ in 0..=PROBES_KEPT {
        ask(&lab, &["leaf1"]).await;
    }
    let kept = Chain::Probes.numbers(&lab.objects, 0).await.unwrap();
    assert_eq!(kept, (1..=182).filter(|number| !may_go(*number, 182, PROBES_KEPT)).collect::<Vec<_>>());
    assert!(!kept.contains(&5) && kept.contains(&82) && kept.len() < 130, "{kept:?}");
    // Whoever slept since it was number 5's turn gets it no more.
    let slept = |number| {
        let (switches, author) = (vec!["leaf1".to_owned()], "tests".to_owned());
        Object::Probe(ProbeEntry { network: NETWORK, number, switches, author, at_ms: 0 })
    };
    let late = Chain::Probes.append_after(&lab.objects, 4, slept).await;
    assert!(matches!(late, Err(Error::Overtaken { newest: 182, .. })), "{late:?}");
    hint.send_replace(182);
    // A follower that was away for long goes on with what is there, and passes what does not count.
    let found = follower.next(&mut hints).await.unwrap();
    assert_eq!((found.entry.number, found.old), (82, false));
    assert_eq!(ask(&lab, &["leaf1"]).await, 183);
    assert!(lab.objects.get(&Key::Probe(5)).await.unwrap().is_none(), "swept");
}
