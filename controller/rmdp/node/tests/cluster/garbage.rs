//! One bad object, one refusal: nothing stops by it, and somebody is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outplane_rmdp_core::chain;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::blob;
use outplane_rmdp_node::blobs::Blobs;
use outplane_rmdp_node::chain::{Chain, Follower};
use outplane_rmdp_node::daemon::newest_readable;
use outplane_rmdp_node::intents::Intents;
use outplane_rmdp_node::log::{Tasks, append};
use outplane_rmdp_node::recovery;
use tokio::time::{sleep, timeout};

use crate::faults::follow;
use crate::proxy::{Pass, Piece, Proxy, last_response, response};
use crate::support::{Lab, PATIENCE, id, policy, record, told_of};

const GARBAGE: Bytes = Bytes::from_static(b"{\"schema\": 1, garbage");

/// Through a client without bounds.
async fn put(lab: &Lab, key: &Key, bytes: Bytes) {
    let mut settings = outplane_rmdp_node::daemon::store_settings(&lab.file("c1").store);
    settings.bound = |_| usize::MAX;
    let store = outplane_rmdp_store::Store::new(settings).unwrap();
    store.put(&key.path(), bytes).await.unwrap();
}

/// Waits for an alert in a node's status that has these words.
async fn alerted(lab: &Lab, node: &str, words: &str) {
    let key = Key::Status(node.to_owned());
    let told = async {
        loop {
            if let Ok(Some(Object::Status(status))) = lab.objects.get(&key).await
                && told_of(&status, words)
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{node} raises no alert with: {words}"));
}

/// Who runs goes on with what it knows, and says what is wrong with the store: a network that nobody can read, and a bucket
/// that was given versions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_the_store_is_told_by_who_goes_on() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let versioned = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&versioned);
    let proxy = Proxy::new(&lab, move || {
        let versioned = Arc::clone(&seen);
        move |piece: Piece<'_>| match piece {
            Piece::FromClient(request)
                if versioned.load(Ordering::Relaxed)
                    && request[..request.len().min(100)].windows(11).any(|part| part == b"?versioning") =>
            {
                let status = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
                Pass::Answer(response("200 OK", status))
            }
            _ => Pass::On,
        }
    })
    .await;
    let mut file = lab.file("c1");
    file.store.endpoints = vec![proxy.endpoint()];
    let _distributor = lab.start("d1").await;
    let controller = lab.start_with_file("c1", file).await;
    versioned.store(true, Ordering::Relaxed);
    let network = lab.objects.get(&Key::Network).await.unwrap().unwrap().encode();
    put(&lab, &Key::Network, Bytes::from_static(b"{\"schema\":1,\"network\":\"zz\"}")).await;
    for node in ["d1", "c1"] {
        alerted(&lab, node, "the store's network cannot be read").await;
    }
    alerted(&lab, "c1", "has versioning (Enabled)").await;
    let generation = lab.apply(3).await;
    lab.converged(generation).await;
    put(&lab, &Key::Network, network.into()).await;
    let over = async {
        loop {
            if let Ok(Some(Object::Status(status))) = lab.objects.get(&Key::Status("c1".to_owned())).await
                && !status.alerts.iter().any(|alert| alert.contains("cannot be read"))
            {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, over).await.expect("it can be read again");
    controller.drain().await;
}

/// Somebody else's bytes under the names of desired states, short and long: they are made again, and written over, by
/// whoever has compiled nothing yet; the others do not look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_under_a_blobs_name_counts_as_nothing() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let _nodes = lab.start_all().await;
    for (rules, garbage) in [(3, Bytes::new()), (4, GARBAGE), (5, Bytes::from(vec![7; 40_000]))] {
        let wanted = lab.wanted(rules).await.states;
        for digest in wanted.keys() {
            put(&lab, &Key::Blob(*digest), garbage.clone()).await;
        }
        let generation = lab.apply(rules).await;
        lab.converged(generation).await;
        for (digest, state) in &wanted {
            put(&lab, &Key::Blob(*digest), garbage.clone()).await;
            assert_eq!(Blobs::new(lab.objects.clone()).get(*digest, generation).await.unwrap(), *state);
            let there = lab.objects.blob(*digest).await.unwrap().unwrap();
            assert_eq!(blob::decode_named(*digest, &there).unwrap(), **state);
        }
    }
}

/// The newest version of the shared configuration is garbage, is too long, makes no sense: nodes start with the one
/// before and say so, and the next that is set is followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_configuration_is_passed_over() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    put(&lab, &Key::Config(2), GARBAGE).await;
    put(&lab, &Key::Config(3), Bytes::from(vec![b' '; (4 << 20) + 1])).await;
    assert_eq!(lab.set_config("nonsense").await, 4);
    put(&lab, &Key::Config(5), GARBAGE).await;
    let found = newest_readable(&lab.objects).await.unwrap();
    assert_eq!(found.config.map(|(version, _)| version), Some(1));
    assert_eq!(found.passed.len(), 4, "{:?}", found.passed);
    let nodes = lab.start_all().await;
    assert!(nodes.values().all(|node| node.up.config == 1));
    alerted(&lab, "c1", "stays at version 1").await;
    let version = lab.set_config(&lab.config()).await;
    assert_eq!(version, 6);
    let generation = lab.apply(3).await;
    lab.converged(generation).await;
    let Some(Object::Status(status)) =
        lab.object(&Key::Status("c1".to_owned()), Duration::from_millis(5)).await
    else {
        panic!("a status")
    };
    assert!(status.config >= 1);
    // And one that comes while they run.
    put(&lab, &Key::Config(7), GARBAGE).await;
    alerted(&lab, "c1", "stays at version 6").await;
    assert_eq!(lab.set_config(&lab.config()).await, 8);
}

/// Garbage behind the newest generation hides nothing, before distributors start and while they run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_generation_is_passed_over() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    assert_eq!(lab.apply(2).await, 1);
    put(&lab, &Key::Generation(2), GARBAGE).await;
    let mut follower = Follower::new(lab.objects.clone(), Chain::Generations, 0);
    assert_eq!(follower.newer(0).await.unwrap().map(|(number, _)| number), Some(1));
    assert!(follower.newer(0).await.unwrap_err().to_string().contains("i/00000000000000000002"));
    assert_eq!(follower.newer(0).await.unwrap(), None);
    assert!(Intents::new(lab.objects.clone()).newest().await.unwrap().contains_key("leaf1"));
    let _nodes = lab.start_all().await;
    lab.converged(1).await;
    alerted(&lab, "d1", "i/00000000000000000002").await;
    assert_eq!(lab.apply(3).await, 3);
    lab.converged(3).await;
    put(&lab, &Key::Generation(4), Bytes::from_static(b"")).await;
    alerted(&lab, "d1", "i/00000000000000000004").await;
    assert_eq!(lab.apply(4).await, 5);
    lab.converged(5).await;
}

/// The newest that could not be read is followed all the same once somebody has put it right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_right_is_read_again() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    put(&lab, &Key::Config(2), GARBAGE).await;
    let mut follower = Follower::new(lab.objects.clone(), Chain::Configs, 0);
    let found = follower.newer(0).await.unwrap();
    assert!(follower.newer(0).await.unwrap_err().to_string().contains("config/00000000000000000002"));
    for _ in 0..8 {
        assert_eq!(follower.newer(0).await.unwrap(), None);
    }
    let Some((1, Object::Config(mut config))) = found else { panic!("version 1, not {found:?}") };
    config.version = 2;
    put(&lab, &Key::Config(2), Object::Config(config.clone()).encode().into()).await;
    let mut again = None;
    for _ in 0..4 {
        again = again.or(follower.newer(0).await.unwrap());
    }
    assert_eq!(again, Some((2, Object::Config(config))));
    assert_eq!(follower.newer(0).await.unwrap(), None);
}

/// Garbage under a number far above all that were issued hides none of those that are, and is nobody's next number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_stands_alone_is_not_the_newest() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    assert_eq!(lab.apply(2).await, 1);
    for key in [
        Key::Generation(u64::MAX),
        Key::Generation(1_000_003),
        // Where a search looks.
        Key::Generation(256),
        Key::Generation(1 << 17),
        Key::Config(64),
        // Led to by the one before it alone.
        Key::Generation((1 << 40) - 1),
        Key::Generation(1 << 40),
        Key::Config(u64::MAX),
        Key::Config(70),
        Key::Probe(u64::MAX),
        Key::Epoch("d1".to_owned(), u64::MAX),
        Key::Epoch("c1".to_owned(), 5_000_001),
    ] {
        put(&lab, &key, GARBAGE).await;
    }
    let nodes = lab.start_all().await;
    assert!(nodes.values().all(|node| node.up.epoch == 1), "epochs go on where they were");
    lab.converged(1).await;
    assert_eq!(lab.apply(3).await, 2);
    lab.converged(2).await;
    let version = lab.set_config(&lab.config()).await;
    assert!(version < 5, "{version}");
    // Recovery names what is to be deleted.
    let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
    assert_eq!(store.generation, 2);
    for key in [Key::Generation(256), Key::Generation(1 << 40), Key::Config(64)] {
        assert!(store.strays.contains(&key), "{key}: {:?}", store.strays);
    }
}

/// Garbage under the name of a queued task is written over by whoever queues that task: nobody else could say what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_under_a_tasks_name_is_written_over() {
    // Nobody hears of the task but by the queue.
    let mut lab = Lab::new(&["leaf1"], 2, 1).await;
    let distributors = [lab.start("d1").await, lab.start("d2").await];
    for member in &mut lab.members {
        member.address.set_port(member.address.port() ^ 1);
    }
    let version = lab.set_config(&lab.config()).await;
    follow(&lab, ["d1", "d2"].into_iter(), version).await;
    let key = Key::Queue(id(1, "leaf1"));
    put(&lab, &key, GARBAGE).await;
    assert_eq!(lab.apply(3).await, 1);
    let found = lab.object(&key, Duration::from_millis(20)).await;
    assert!(matches!(found, Some(Object::Task(_))), "{found:?}");
    let controller = lab.start("c1").await;
    lab.converged(1).await;
    drop((distributors, controller));
}

/// Objects that are longer than anything of their kind are garbage, and are not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_are_too_long_are_unreadable() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let key = Key::Status("c9".to_owned());
    put(&lab, &key, Bytes::from(vec![b' '; 20 << 20])).await;
    let error = lab.objects.get(&key).await.unwrap_err();
    assert!(matches!(error, outplane_rmdp_node::Error::Object(_)), "{error}");
    assert!(error.to_string().contains("20971520 bytes, at most 65536"), "{error}");
    assert_eq!(lab.objects.get_readable(&key).await.unwrap(), None);
    // Somebody else's, and so not ours.
    let mut object = lab.objects.get(&Key::Config(1)).await.unwrap().unwrap();
    put(&lab, &Key::Config(9), Bytes::from(vec![b' '; 5 << 20])).await;
    assert!(!lab.objects.create(&Key::Config(9), &mut object).await.unwrap());
}

/// A store that is full, or a clock that is wrong, when a node starts: it waits and says so, and works when it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_at_start_is_waited_for() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let refuses = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&refuses);
    let proxy = Proxy::new(&lab, move || {
        let refuses = Arc::clone(&told);
        move |piece: Piece<'_>| match piece {
            Piece::FromClient(_) if refuses.load(Ordering::Relaxed) => {
                let body = "<Error><Code>QuotaExceeded</Code><Message>full</Message></Error>";
                Pass::LastAnswer(last_response("403 Forbidden", body))
            }
            _ => Pass::On,
        }
    })
    .await;
    lab.access.endpoints = vec![proxy.endpoint()];
    let later = tokio::spawn({
        let refuses = Arc::clone(&refuses);
        async move {
            sleep(Duration::from_secs(2)).await;
            refuses.store(false, Ordering::Relaxed);
        }
    });
    let _nodes = lab.start_all().await;
    assert!(later.is_finished());
    lab.converged(lab.apply(2).await).await;
}

/// All that leads to the last number is there: nothing can be appended behind it, and that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_numbers_is_named() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    for number in chain::path(chain::HIGHEST).into_iter().chain([chain::HIGHEST - 1]) {
        put(&lab, &Key::Generation(number), GARBAGE).await;
    }
    let record = record(0, policy(lab.switches.keys(), 1));
    let error =
        append(&lab.objects, &record, None, BTreeMap::new(), Tasks::All).await.unwrap_err().to_string();
    assert!(error.contains(&Key::Generation(chain::HIGHEST).path()), "{error}");
}

/// A generation that was copied from another store is neither carried out nor what switches are kept at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_of_another_network_is_left_out() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let _nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    let record = record(2, policy(lab.switches.keys(), 5));
    let foreign = Generation { network: NetworkId::new(0xf), ..record };
    assert!(lab.objects.create(&Key::Generation(2), &mut Object::Generation(foreign)).await.unwrap());
    for node in ["d1", "c1"] {
        alerted(&lab, node, "is of network 000000000000000f").await;
    }
    lab.assert_holds(1).await;
    assert_eq!(lab.apply(4).await, 3);
    lab.converged(3).await;
}
