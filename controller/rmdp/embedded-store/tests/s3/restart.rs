//! Ends and starts, orderly and not, and cleaning in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outplane_embedded_store::{Error, Server, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{Running, keys, start, start_in, start_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_owner() {
    let store = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let second = Server::start(listener, Settings::new(store.folder.path(), keys())).await;
    assert!(matches!(second, Err(Error::InUse(_))), "{second:?}");
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/k", b"x").await, 200);
    let store = store.restart(|_| {}).await;
    assert_eq!(store.client().await.send("GET", "/bucket/k", &[], b"").await.text(), "x");
    store.stop().await;
}

/// Writers that go on until they are refused or cut off, and what they were told.
async fn load(store: &Running, writers: usize) -> JoinSet<Vec<String>> {
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let mut client = store.client().await;
        tasks.spawn(async move {
            let mut told = Vec::new();
            for number in 0.. {
                let target = format!("/bucket/{writer}/{number}");
                let date = crate::client::amz_date(crate::client::now());
                let request =
                    client.signed("PUT", &target, &[("if-none-match", "*")], target.as_bytes(), &date);
                match client.raw(&request, false).await {
                    Some(answer) if answer.status == 200 => told.push(target),
                    Some(answer) => panic!("{answer:?}"),
                    None => break,
                }
            }
            told
        });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_load_keeps_what_was_acknowledged() {
    let store = start().await;
    let writers = load(&store, 8).await;
    let metrics = Arc::clone(store.server.metrics());
    while metrics.objects.get() < 300 {
        tokio::task::yield_now().await;
    }
    let folder = store.stop().await;
    let told: Vec<String> = writers.join_all().await.into_iter().flatten().collect();
    assert!(told.len() >= 300);
    let store = start_in(folder, |_| {}).await;
    // Orderly: all that was done was also said.
    assert_eq!(store.server.metrics().objects.get(), told.len() as u64);
    let mut client = store.client().await;
    for target in told {
        assert_eq!(client.send("GET", &target, &[], b"").await.text(), target);
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_keeps_the_log_small_and_everything_in_it() {
    const SEGMENT: u64 = 64 << 10;
    const WRITERS: usize = 4;
    let store = start_with(|settings| settings.segment = Some(SEGMENT)).await;
    let mut client = store.client().await;
    let body = vec![b'-'; 500];
    for number in 0..50 {
        assert_eq!(client.create(&format!("/bucket/stays/{number}"), &body).await, 200);
    }
    // Readers meanwhile: what stays is always there, wherever it is moved.
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (done, mut client, body) = (Arc::clone(&done), store.client().await, body.clone());
        async move {
            let mut read = 0;
            while !done.load(Ordering::Relaxed) {
                let found = client.send("GET", &format!("/bucket/stays/{}", read % 50), &[], b"").await;
                assert!(found.status == 200 && found.body == body, "{found:?}");
                read += 1;
            }
            read
        }
    });
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = store.client().await;
        writers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(writer as u64);
            let mut model = BTreeMap::new();
            for round in 0..600 {
                let target = format!("/bucket/{writer}/{}", random.u8(..20));
                if random.u8(..4) == 0 {
                    assert_eq!(client.send("DELETE", &target, &[], b"").await.status, 204);
                    model.remove(&target);
                } else {
                    let value = format!("{round}").repeat(random.usize(1..300)).into_bytes();
                    assert_eq!(client.send("PUT", &target, &[], &value).await.status, 200);
                    model.insert(target, value);
                }
            }
            model
        });
    }
    let models = writers.join_all().await;
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.expect("every read was right") > 0);
    let metrics = Arc::clone(store.server.metrics());
    assert!(metrics.segments_cleaned.get() > 3, "{metrics:?}");
    assert!(metrics.log_bytes.get() > 8 * SEGMENT);
    // Cleaning is at most a few segments behind.
    let bound = 2 * metrics.live_bytes.get() + 6 * SEGMENT;
    assert!(store.log_size() < bound, "{} {bound}", store.log_size());
    let store = store.restart(|settings| settings.segment = Some(SEGMENT)).await;
    let mut client = store.client().await;
    let mut expected = 50;
    for (target, value) in models.into_iter().flatten() {
        assert!(client.send("GET", &target, &[], b"").await.body == value, "{target}");
        expected += 1;
    }
    assert_eq!(store.server.metrics().objects.get(), expected);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_not_served() {
    let store = start().await;
    let mut client = store.client().await;
    for number in 0..3 {
        assert_eq!(client.create(&format!("/bucket/{number}"), b"what was written").await, 200);
    }
    let path = store.files("log").pop().expect("a segment");
    let mut bytes = std::fs::read(&path).expect("readable");
    let at = bytes.windows(16).position(|window| window == b"what was written").expect("it is there");
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    let answer = client.send("GET", "/bucket/0", &[], b"").await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("not what was written"), "{}", answer.text());
    assert_eq!(client.send("GET", "/bucket/1", &[], b"").await.status, 200);
    let folder = store.stop().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let error = Server::start(listener, Settings::new(folder.path(), keys())).await.expect_err("damaged");
    let text = error.to_string();
    assert!(text.contains(path.to_str().expect("a path")) && text.contains("offset"), "{text}");
}
