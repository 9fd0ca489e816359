//! The sweep, two that write at once, and what cannot be read, against a store.

use outplane_embedded_store::{Keys, Server, Settings};
use outplane_rmdp_store as store;
use tokio::net::TcpListener;

use super::*;

async fn store(folder: &std::path::Path) -> (Server, Objects) {
    let (keys, _) = Keys::in_folder(folder).unwrap();
    let (access, secret) = (keys.access.clone(), store::Secret::new(keys.secret.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { buckets: vec!["outplane".to_owned()], ..Settings::new(folder, keys) };
    let server = Server::start(listener, settings).await.unwrap();
    let endpoints = vec![format!("http://{}", server.address())];
    let settings = store::Settings::new(endpoints, "outplane", access, secret);
    (server, Objects::new(store::Store::new(settings).unwrap()))
}

/// Totals of switches that are gone go, and only those: not while nobody knows which there are, not before their time.
#[tokio::test]
async fn totals_of_switches_that_are_gone_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let (server, objects) = store(folder.path()).await;
    let key = |switch: &str| Key::Totals(switch_id(switch).unwrap());
    for switch in ["leaf1", "leaf2", "gone"] {
        let totals = SwitchTotals { number: 1, by: "c1".to_owned(), ..SwitchTotals::new(switch) };
        assert!(objects.create(&key(switch), &mut Object::Totals(totals)).await.unwrap());
    }
    let (totals, _accounts) =
        Totals::new(objects.clone(), "c1".to_owned(), watch::channel(Wanted::default()).1);
    let there = async || {
        let mut there = Vec::new();
        for switch in ["leaf1", "leaf2", "gone"] {
            if objects.has(&key(switch)).await.unwrap() {
                there.push(switch);
            }
        }
        there
    };
    totals.sweep(&Wanted::default()).await.unwrap();
    totals.sweep(&Wanted::new(std::iter::empty(), Duration::from_nanos(1))).await.unwrap();
    let known = || ["leaf1", "leaf2"].into_iter();
    totals.sweep(&Wanted::new(known(), Duration::from_hours(1))).await.unwrap();
    totals.sweep(&Wanted::new(known(), Duration::ZERO)).await.unwrap();
    assert_eq!(there().await, ["leaf1", "leaf2", "gone"]);
    // A listing says when they were written in seconds, or finer.
    let old = async {
        while there().await.contains(&"gone") {
            totals.sweep(&Wanted::new(known(), Duration::from_millis(1))).await.unwrap();
        }
    };
    timeout(Duration::from_secs(10), old).await.expect("it goes");
    assert_eq!(there().await, ["leaf1", "leaf2"]);
    server.shutdown().await.unwrap();
}

/// An entry that has counted so many packets.
fn reading(packets: u64) -> Reading {
    use outplane_compiler::state::Origin;
    use outplane_p4runtime::entry::Counter;

    let key = EntryKey { table: 1, matches: Vec::new(), priority: 0 };
    let origin = Origin { policy: "FilterPolicy/edge".to_owned(), rule: "web".to_owned(), order: 0 };
    Reading::Whole(vec![CountedEntry { key, origin, counter: Counter { packets, bytes: packets * 100 } }])
}

/// A controller's totals, which are accounted.
fn controller(objects: &Objects, name: &str) -> Totals {
    let (totals, accounts) =
        Totals::new(objects.clone(), name.to_owned(), watch::channel(Wanted::default()).1);
    tokio::spawn(accounts.run());
    totals
}

/// What the store has of leaf1, once it is as of this write.
async fn written(objects: &Objects, number: u64) -> SwitchTotals {
    let key = Key::Totals(switch_id("leaf1").unwrap());
    let written = async {
        loop {
            if let Some(Object::Totals(totals)) = objects.get(&key).await.unwrap()
                && totals.number >= number
            {
                return totals;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), written).await.expect("it is written")
}

/// Both have read the switch on top of the same totals: one is counted. Whoever lost asks what there is before it reads
/// again, and nothing is counted twice, nor lost.
#[tokio::test]
async fn of_two_controllers_that_count_at_once_one_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (server, objects) = store(folder.path()).await;
    let (c1, c2) = (controller(&objects, "c1"), controller(&objects, "c2"));
    // The first write of all is one of two, too.
    for (number, packets) in [(1, 60), (2, 90), (3, 100)] {
        let (one, other) = tokio::join!(c1.begin("leaf1"), c2.begin("leaf1"));
        assert!(one.is_some() && other.is_some());
        let before = c1.unused() + c2.unused();
        c1.account("leaf1", one, vec![reading(packets)]);
        c2.account("leaf1", other, vec![reading(packets)]);
        let totals = written(&objects, number).await;
        let lost = async {
            while c1.unused() + c2.unused() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), lost).await.expect("one is not used");
        assert_eq!((totals.number, totals.rules[0].packets), (number, packets), "{totals:?}");
        let loser = if totals.by == "c1" { &c2 } else { &c1 };
        assert!(loser.begin("leaf1").await.unwrap().anew, "it asks again");
    }
    server.shutdown().await.unwrap();
}

/// It is named with the cure, and that is over when it is gone.
#[tokio::test]
async fn totals_that_cannot_be_read_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (server, objects) = store(folder.path()).await;
    let key = Key::Totals(switch_id("leaf1").unwrap());
    objects.store().put(&key.path(), "{\"schema\":9}".into()).await.unwrap();
    let totals = controller(&objects, "c1");
    assert_eq!(totals.begin("leaf1").await, None);
    let why = totals.unreadable("leaf1").unwrap();
    assert!(why.contains(&key.path()) && why.contains("delete the object"), "{why}");
    objects.delete(&[key]).await.unwrap();
    assert!(totals.begin("leaf1").await.is_some());
    assert_eq!(totals.unreadable("leaf1"), None);
    server.shutdown().await.unwrap();
}

/// A controller whose clock was a day ahead has read it last: the next reading is put down, though nothing has counted.
#[test]
fn a_reading_of_the_future_is_put_right() {
    let (now, day) = (1_800_000_000_000, 86_400_000);
    let Outcome::Totals(ahead) = added(&SwitchTotals::new("leaf1"), "c1", vec![reading(5)], now + day) else {
        panic!("the first reading is written")
    };
    assert!(matches!(added(&ahead, "c2", vec![reading(5)], now + day + 1000), Outcome::Same));
    let Outcome::Totals(right) = added(&ahead, "c2", vec![reading(5)], now) else {
        panic!("it stays a day ahead")
    };
    assert_eq!((right.read_ms, right.since_ms, right.rules[0].packets), (now, now, 5));
    // Clocks differ.
    assert!(matches!(added(&right, "c1", vec![reading(5)], now - 5000), Outcome::Same));
}
