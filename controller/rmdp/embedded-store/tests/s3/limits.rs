//! Full stores, and connections that wait.

use std::time::Duration;

use crate::support::{start, start_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_says_so_and_deletes_make_room() {
    let store = start_with(|settings| settings.max_bytes = 1 << 20).await;
    let mut client = store.client().await;
    let body = vec![7; 100_000];
    let mut written = 0;
    let refused = loop {
        let answer =
            client.send("PUT", &format!("/bucket/{written}"), &[("if-none-match", "*")], &body).await;
        if answer.status != 200 {
            break answer;
        }
        written += 1;
    };
    assert_eq!(written, 10);
    assert_eq!((refused.status, refused.all("Code")), (403, vec!["QuotaExceeded".to_owned()]));
    assert!(refused.text().contains("--max-bytes"), "{}", refused.text());
    let large = client.send("PUT", "/bucket/large", &[], &vec![7; 1 << 20]).await;
    assert_eq!((large.status, large.all("Code")), (403, vec!["QuotaExceeded".to_owned()]));
    assert!(store.files("blobs").is_empty());
    assert_eq!(client.create("/bucket/small", b"x").await, 200, "there is room for a small one");
    assert_eq!(client.send("DELETE", "/bucket/0", &[], b"").await.status, 204);
    assert_eq!(client.create("/bucket/again", &body).await, 200);
    assert_eq!(store.server.metrics().full.get(), 2);
    let store = store.restart(|settings| settings.max_bytes = 1 << 20).await;
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/more", &body).await, 403);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_counted() {
    let store = start_with(|settings| settings.max_objects = 3).await;
    let mut client = store.client().await;
    for (key, status) in [("1", 200), ("2", 200), ("3", 200), ("4", 403), ("3", 412)] {
        assert_eq!(client.create(&format!("/bucket/{key}"), b"x").await, status);
    }
    assert_eq!(client.send("PUT", "/bucket/3", &[], b"another").await.status, 200);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_limit_wait() {
    let store = start_with(|settings| settings.connections = 2).await;
    let (mut first, mut second) = (store.client().await, store.client().await);
    assert_eq!(first.create("/bucket/1", b"x").await, 200);
    assert_eq!(second.create("/bucket/2", b"x").await, 200);
    let mut third = store.client().await;
    let mut waiting = tokio::spawn(async move { third.create("/bucket/3", b"x").await });
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    assert_eq!(first.create("/bucket/4", b"x").await, 200);
    drop(first);
    assert_eq!(waiting.await.expect("it has waited"), 200);
    assert!(store.server.metrics().connections_full.get() >= 1);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_counter_has_a_name_and_says_what_it_counts() {
    let store = start().await;
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/1", b"four").await, 200);
    let metrics = store.server.metrics();
    let all: Vec<_> = metrics.each().collect();
    assert!(all.iter().all(|(name, help, _)| !name.is_empty() && help.ends_with('.')), "{all:?}");
    let get = |name: &str| all.iter().find(|(found, ..)| *found == name).expect(name).2;
    assert_eq!((get("put_object"), get("bytes_in"), get("objects"), get("connections")), (1, 4, 1, 1));
    assert!(get("syncs") >= 2 && get("log_bytes") > 50);
    drop(client);
    store.stop().await;
}
