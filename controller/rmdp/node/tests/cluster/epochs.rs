//! Stream epochs: never shared, whatever becomes of requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::Object;
use outplane_rmdp_node::Error;
use outplane_rmdp_node::daemon::store_settings;
use outplane_rmdp_node::epoch::Epoch;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;
use tokio::task::JoinSet;

use crate::proxy::{Pass, Piece, Proxy};
use crate::support::Lab;

/// The first so many creations of epochs land, and their answers are lost.
struct Lossy {
    proxy: Proxy,
    left: Arc<AtomicU64>,
}

impl Lossy {
    async fn new(lab: &Lab, lose: u64) -> Self {
        let left = Arc::new(AtomicU64::new(lose));
        let counter = Arc::clone(&left);
        let proxy = Proxy::new(lab, move || {
            let (left, mut loses) = (Arc::clone(&counter), false);
            move |piece: Piece<'_>| match piece {
                Piece::FromClient(request) => {
                    let creates = request.starts_with(b"PUT /outplane/e/");
                    let one_less = |left: u64| left.checked_sub(1);
                    if creates && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                        loses = true;
                    }
                    Pass::On
                }
                // It has landed: what comes back now is its answer, unless it only asks for the body.
                Piece::FromStore(answer) if loses && !answer.starts_with(b"HTTP/1.1 100") => Pass::End,
                Piece::FromStore(_) => Pass::On,
            }
        })
        .await;
        Self { proxy, left }
    }
}

fn through(lab: &Lab, address: SocketAddr) -> Objects {
    let mut settings = store_settings(&lab.file("d1").store);
    settings.endpoints = vec![format!("http://{address}")];
    // One try a call: every lost answer shows.
    settings.deadline = settings.attempt_timeout;
    Objects::new(Store::new(settings).unwrap())
}

async fn nonces(lab: &Lab, node: &str) -> BTreeMap<u64, String> {
    let mut nonces = BTreeMap::new();
    for key in lab.objects.list_all(&Prefix::EpochsOf(node.to_owned()), 1000).await.unwrap().0 {
        let Some(Object::Epoch(epoch)) = lab.objects.get(&key).await.unwrap() else { panic!("{key}") };
        nonces.insert(epoch.epoch, epoch.nonce);
    }
    nonces
}

/// Asked until it is there.
async fn take(objects: &Objects, node: &str) -> (u64, u32) {
    let (mut epoch, mut faults) = (Epoch::new(node).unwrap(), 0);
    loop {
        match epoch.take(objects).await {
            Ok(number) => return (number, faults),
            Err(Error::Store(_)) => faults += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(faults < 1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_no_epoch() {
    let lab = Lab::new(&[], 1, 1).await;
    let lossy = Lossy::new(&lab, 1).await;
    let (number, _) = take(&through(&lab, lossy.proxy.address), "c1").await;
    assert_eq!((number, lossy.left.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(nonces(&lab, "c1").await.len(), 1, "the one that it made is the one that it took");
    assert_eq!(take(&lab.objects, "c1").await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_of_one_name_never_share_an_epoch() {
    let lab = Lab::new(&[], 1, 1).await;
    let lossy = Lossy::new(&lab, 12).await;
    let mut starts = JoinSet::new();
    for _ in 0..8 {
        let objects = through(&lab, lossy.proxy.address);
        starts.spawn(async move { take(&objects, "c1").await.0 });
    }
    let mut numbers = starts.join_all().await;
    numbers.sort_unstable();
    println!("{numbers:?}");
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(lossy.left.load(Ordering::SeqCst), 0);
    let nonces = nonces(&lab, "c1").await;
    assert!(numbers.iter().all(|number| nonces.contains_key(number)));
    let highest = Key::Epoch("c1".to_owned(), *nonces.keys().next_back().unwrap());
    assert_eq!(
        highest,
        Key::Epoch("c1".to_owned(), *numbers.last().unwrap()),
        "the last to start is the newest"
    );
}
