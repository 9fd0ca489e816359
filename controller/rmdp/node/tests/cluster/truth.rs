//! What is authentic and wrong, and a store that is another one all of a sudden.

use std::time::Duration;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Network, Object, Outcome, ProbeEntry};
use outplane_rmdp_core::task::{Digest, Event, NetworkId, Task, Work};
use outplane_rmdp_node::network;
use outplane_rmdp_transport::{Destinations, Sender, SenderSettings};
use outplane_rmdp_wire::{Beat, Key as Secret, Role};
use tokio::time::{sleep, timeout};

use crate::faults::{follow, page};
use crate::support::{Lab, NETWORK, PATIENCE};

/// Somebody who has the key, and says that he is d2, which does not run.
fn forger(lab: &Lab, network: NetworkId) -> Sender {
    let unicast = lab.members.iter().map(|member| member.address).collect();
    let destinations = Destinations { unicast, ttl: 1, ..Destinations::default() };
    let key = Secret { id: 1, secret: [1; 16] };
    Sender::open(SenderSettings { network, sender: 2, epoch: 7, key, interface: None, destinations }).unwrap()
}

fn converge(network: NetworkId, generation: u64, byte: u8) -> Task {
    let work = Work::Converge { generation, desired: Digest([byte; 32]), entries: 1 };
    Task::new(Event::generation(network, generation, "leaf1"), work).unwrap()
}

/// Nobody has claimed or decided these.
async fn untouched(lab: &Lab, tasks: &[&Task]) {
    for task in tasks {
        for key in [Key::Claim(task.id(), 1), Key::Decision(task.id())] {
            assert_eq!(lab.objects.get(&key).await.unwrap(), None, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_key_can_neither_overtake_nor_forestall_nor_replace_a_generation() {
    let lab = Lab::new(&["leaf1"], 2, 2).await;
    let mut nodes = std::collections::BTreeMap::new();
    for name in ["d1", "c1", "c2"] {
        nodes.insert(name, lab.start(name).await);
    }
    let mut forger = forger(&lab, NETWORK);
    let absurd = converge(NETWORK, u64::MAX, 1);
    // The next one, before it is there, and with another desired state.
    let early = converge(NETWORK, 1, 2);
    for task in [&absurd, &early] {
        forger.announce(&task.announce(), 2).unwrap();
    }
    for generation in [u64::MAX, 1] {
        let beat = Beat { role: Role::Distributor, interval_ms: 200, generation };
        forger.heartbeat(&beat, &[], &[], &[]).unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    untouched(&lab, &[&absurd, &early]).await;
    for rules in [3, 5] {
        let generation = lab.apply(rules).await;
        let decision = lab.decision(generation, "leaf1").await;
        assert!(matches!(decision.outcome, Outcome::Done { .. }), "{decision:?}");
        lab.assert_holds(generation).await;
    }
    untouched(&lab, &[&absurd]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_networks_with_one_key_have_nothing_to_do_with_each_other() {
    let lab = Lab::new(&["leaf1"], 2, 2).await;
    let mut nodes = std::collections::BTreeMap::new();
    for name in ["d1", "c1", "c2"] {
        nodes.insert(name, lab.start(name).await);
    }
    let first = lab.apply(3).await;
    lab.converged(first).await;
    // The other network has the same members at the same addresses, and is far ahead.
    let other = NetworkId::new(0x0074_6869_7264);
    let mut stranger = forger(&lab, other);
    let theirs = converge(other, first + 1, 9);
    for _ in 0..5 {
        stranger.announce(&theirs.announce(), 2).unwrap();
        let beat = Beat { role: Role::Distributor, interval_ms: 200, generation: first + 100 };
        stranger.heartbeat(&beat, &[], &[], &[]).unwrap();
    }
    let second = lab.apply(4).await;
    assert_eq!(second, first + 1);
    lab.converged(second).await;
    untouched(&lab, &[&theirs]).await;
    for controller in ["c1", "c2"] {
        // Told in the status, by reason.
        let told = timeout(PATIENCE, async {
            loop {
                let key = Key::Status(controller.to_owned());
                if let Ok(Some(Object::Status(status))) = lab.objects.get(&key).await
                    && status
                        .counters
                        .get("receiver.dropped.foreign_network")
                        .is_some_and(|count| *count >= 10)
                {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        told.await.expect("datagrams of the other network are counted");
    }
}

/// The bucket is put back to what it was before the last generation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_put_back_is_left_alone() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    let last = lab.apply(4).await;
    lab.converged(last).await;
    let key = Key::Generation(last);
    let before = lab.objects.store().get(&key.path()).await.unwrap().expect("the generation");
    lab.objects.delete(std::slice::from_ref(&key)).await.unwrap();
    // Five seconds to the next look, one more to the second.
    sleep(Duration::from_millis(7500)).await;
    let probe = Object::Probe(ProbeEntry {
        network: NETWORK,
        number: 1,
        switches: vec!["leaf1".to_owned()],
        author: "ops".to_owned(),
        at_ms: 0,
    });
    lab.objects.create(&Key::Probe(1), &mut probe.clone()).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let id = Event::probe(NETWORK, 1, "leaf1").id().unwrap();
    for key in [Key::Queue(id), Key::Claim(id, 1), Key::Decision(id)] {
        assert_eq!(lab.objects.get(&key).await.unwrap(), None, "{key}: nobody acts");
    }
    // It is there again: they go on by themselves.
    lab.objects.store().put(&key.path(), before).await.unwrap();
    lab.object(&Key::Decision(id), Duration::from_millis(50)).await.expect("a decision");
    drop(nodes);
}

/// As the last version of the configuration, which nodes would go on following while nobody can set another under that
/// number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_lost_the_configuration_is_left_alone() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = [lab.start("d1").await, lab.start_with_pages("c1").await];
    let version = lab.set_config(&lab.config().replace("[queue]", "[audit]\ninterval_s = 30\n[queue]")).await;
    let says = async |code: &str, words: &str| {
        let says = async {
            while !{
                let page = page(&nodes[1], "/ready").await;
                page.starts_with(&format!("HTTP/1.1 {code}")) && page.contains(words)
            } {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, says).await.unwrap_or_else(|_| panic!("c1 never says {code}"));
    };
    follow(&lab, ["d1", "c1"].into_iter(), version).await;
    says("200", "ready").await;
    let key = Key::Config(version);
    let lost = lab.objects.store().get(&key.path()).await.unwrap().expect("the version");
    lab.objects.delete(std::slice::from_ref(&key)).await.unwrap();
    says("503", &format!("the store had {key}")).await;
    lab.objects.store().put(&key.path(), lost).await.unwrap();
    says("200", "ready").await;
}

/// Without its id, or with garbage in its place, the store of a network with generations is nobody else's: nodes that start
/// wait, and commands give it no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_has_lost_its_id_gets_no_other_one() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let generation = lab.apply(3).await;
    let id = lab.objects.store().get("network").await.unwrap().expect("it is there");
    lab.objects.delete(&[Key::Network]).await.unwrap();
    let error = network::ensure(&lab.objects, "tests").await.unwrap_err().to_string();
    assert!(error.contains(&format!("generations of network {NETWORK}")), "{error}");
    let mended = async {
        sleep(Duration::from_secs(2)).await;
        assert_eq!(lab.objects.get(&Key::Network).await.unwrap(), None);
        lab.objects.store().put("network", b"{".as_slice().into()).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        lab.objects.store().put("network", id).await.unwrap();
    };
    let (distributor, controller, ()) = tokio::join!(lab.start("d1"), lab.start("c1"), mended);
    lab.converged(generation).await;
    drop((distributor, controller));
}

/// Whoever finds garbage behind the newest object of a log may take it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_that_is_taken_away_was_no_generation() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = lab.start_all().await;
    let generation = lab.apply(3).await;
    lab.converged(generation).await;
    let key = Key::Generation(generation + 1);
    lab.objects.store().put(&key.path(), b"{garbage".as_slice().into()).await.unwrap();
    // Everybody has seen it by then.
    sleep(Duration::from_secs(6)).await;
    lab.objects.delete(std::slice::from_ref(&key)).await.unwrap();
    sleep(Duration::from_millis(7500)).await;
    let probe = ProbeEntry {
        network: NETWORK,
        number: 1,
        switches: vec!["leaf1".to_owned()],
        author: "ops".to_owned(),
        at_ms: 0,
    };
    lab.objects.create(&Key::Probe(1), &mut Object::Probe(probe)).await.unwrap();
    let id = Event::probe(NETWORK, 1, "leaf1").id().unwrap();
    lab.object(&Key::Decision(id), Duration::from_millis(50)).await.expect("a decision: they go on");
    drop(nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_network_is_left_alone_until_it_is_ours_again() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    let write = async |network: NetworkId| {
        let object = Network { network, by: "somebody".to_owned(), at_ms: 0 };
        lab.objects.put(&Key::Network, &mut Object::Network(object)).await.unwrap();
    };
    write(NetworkId::new(5)).await;
    // Five seconds to the next look, one more to the second.
    sleep(Duration::from_millis(7500)).await;
    let left = lab.apply(4).await;
    sleep(Duration::from_secs(2)).await;
    let id = crate::support::id(left, "leaf1");
    for key in [Key::Queue(id), Key::Claim(id, 1), Key::Decision(id)] {
        assert_eq!(lab.objects.get(&key).await.unwrap(), None, "{key}: nobody acts");
    }
    write(NETWORK).await;
    lab.converged(left).await;
    drop(nodes);
}
