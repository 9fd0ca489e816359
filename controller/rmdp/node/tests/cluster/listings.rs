//! Listings that lack what is there, and buckets that others write to, too.

use bytes::Bytes;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::Object;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::daemon::{newest_config, store_settings};
use outplane_rmdp_node::epoch::Epoch;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_node::probes::{self, ProbeFollower};
use outplane_rmdp_store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::proxy::{Pass, Piece, Proxy, response};
use crate::support::{Lab, NETWORK, policy, record};

/// A client for which every listing is empty.
struct Blind {
    objects: Objects,
    _proxy: Proxy,
}

impl Blind {
    async fn new(lab: &Lab) -> Self {
        let proxy = Proxy::new(lab, || {
            |piece: Piece<'_>| match piece {
                Piece::FromClient(request) if lists(request) => Pass::Answer(response("200 OK", NOTHING)),
                _ => Pass::On,
            }
        })
        .await;
        let mut settings = store_settings(&lab.file("d1").store);
        settings.endpoints = vec![proxy.endpoint()];
        Self { objects: Objects::new(Store::new(settings).unwrap()), _proxy: proxy }
    }
}

fn lists(request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(request);
    head.starts_with("GET ") && head.contains("list-type=2")
}

const NOTHING: &str =
    "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";

/// What every appender and follower needs to know is asked for by its key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_listing_hides_no_newest_number() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let blind = Blind::new(&lab).await;
    let objects = &blind.objects;
    assert!(objects.list_all(&Prefix::Configs, 10).await.unwrap().0.is_empty(), "it is blind");
    let (version, _) = newest_config(objects).await.unwrap().expect("there is one");
    assert_eq!(Some(version), Chain::Configs.newest(&lab.objects, 0).await.unwrap());
    for rules in 1..=5 {
        lab.apply(rules).await;
    }
    // As sweeping would leave it.
    lab.objects.store().delete(&[Key::Generation(3).path()]).await.unwrap();
    let files = policy(lab.switches.keys(), 9);
    let make = |generation| Object::Generation(record(generation, files.clone()));
    assert_eq!(Chain::Generations.append(objects, make).await.unwrap(), 6);
    for number in 1..=3 {
        assert_eq!(Epoch::new("c1").unwrap().take(objects).await.unwrap(), number);
    }
    for number in 1..=3 {
        assert_eq!(probes::append(objects, NETWORK, &["leaf1".to_owned()], "tests").await.unwrap(), number);
    }
    let (_hint, mut hints) = watch::channel(0);
    let mut follower = ProbeFollower::new(objects.clone());
    for number in 1..=3 {
        let found = follower.next(&mut hints).await.unwrap();
        assert_eq!((found.entry.number, found.old), (number, true), "it may have been emitted before");
    }
}

/// More than a page of others' keys before ours, with letters that URLs and XML say in other ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_passed_and_told() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    for rules in 1..=2 {
        lab.apply(rules).await;
    }
    let mut puts = JoinSet::<Result<(), outplane_rmdp_store::Error>>::new();
    for number in 0..1001 {
        if puts.len() >= 16 {
            puts.join_next().await.expect("one").unwrap().unwrap();
        }
        let store = lab.objects.store().clone();
        puts.spawn(async move { store.put(&format!("i/ +%ä{number:04}"), Bytes::from_static(b"x")).await });
    }
    for put in puts.join_all().await {
        put.unwrap();
    }
    let (keys, whole) = lab.objects.list_all(&Prefix::Generations, 10).await.unwrap();
    assert_eq!((keys, whole), (vec![Key::Generation(1), Key::Generation(2)], true));
    let told = lab.objects.strangers().all();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].to_string().starts_with("1001 keys under i/ in the bucket are not Outplane's"),
        "{}",
        told[0]
    );
}
