//! Full stores, and connections that wait.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

async fn at_once<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3), answer).await.expect("at once")
}

/// As many as there are places and more that say nothing, and some that trickle: whoever has the key is answered at
/// once, and so is whoever comes first.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_out() {
    let store = start_with(|settings| settings.connections = 16).await;
    let address = store.server.address();
    let mut silent = Vec::new();
    let mut occupy = async || {
        for number in 0..40 {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            if number % 2 == 0 {
                stream.write_all(b"PUT /bucket/x HTTP/1.1\r\nhost:").await.expect("sent");
            }
            silent.push(stream);
        }
    };
    occupy().await;
    let mut first = store.client().await;
    assert_eq!(at_once(first.create("/bucket/1", b"x")).await, 200);
    // Its connection is known now, and stays.
    occupy().await;
    assert_eq!(at_once(first.create("/bucket/2", b"x")).await, 200);
    let mut second = store.client().await;
    assert_eq!(at_once(second.create("/bucket/3", b"x")).await, 200);
    let counts = store.server.connections();
    assert!(counts.open <= 16 && counts.evicted + counts.refused >= 60, "{counts:?}");
    // Those that are left end by themselves.
    let mut rest = silent.pop().expect("the last is open");
    let ended = tokio::time::timeout(Duration::from_secs(20), rest.read(&mut [0; 64])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    store.stop().await;
}

/// Requests whose signature is wrong take no place among those that have XML, however slowly their bodies come.
#[tokio::test(flavor = "multi_thread")]
async fn unsigned_bodies_hold_nothing() {
    let store = start().await;
    let address = store.server.address();
    let mut slow = Vec::new();
    for number in 0..64 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let authorization = "AWS4-HMAC-SHA256 Credential=access-key/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=00";
        let head =
            if number % 2 == 0 { String::new() } else { format!("authorization: {authorization}\r\n") };
        let request = format!(
            "POST /bucket?delete= HTTP/1.1\r\nhost: {address}\r\n{head}content-length: 100000\r\n\r\n<Delete>"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/k", b"x").await, 200);
    let body = b"<Delete><Object><Key>k</Key></Object></Delete>";
    let deleted = client.send("POST", "/bucket?delete=", &[], body);
    let deleted = tokio::time::timeout(Duration::from_secs(3), deleted).await.expect("at once");
    assert_eq!(deleted.status, 200);
    drop(slow);
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
