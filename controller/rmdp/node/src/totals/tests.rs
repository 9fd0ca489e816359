//! The sweep, against a store.

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
