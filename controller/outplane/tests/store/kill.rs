//! SIGKILL under load and in the middle of cleaning: what was acknowledged stays, and nothing is won twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outplane_rmdp_store::{Created, Store};
use tokio::task::JoinSet;

use crate::process::{command, start};

const WRITERS: u64 = 8;

/// What a writer knows of its own keys.
#[derive(Default)]
struct Told {
    /// Writes that were acknowledged.
    kept: BTreeMap<String, Bytes>,
    /// Writes and deletes without an answer: either may be true.
    doubt: BTreeMap<String, Bytes>,
    deleted: Vec<String>,
}

/// Creates keys that all writers race for, and keys of its own of which it deletes most, until the store is gone.
async fn write(store: Store, writer: u64, round: u64, count: Arc<AtomicU64>) -> (Told, Vec<(String, Bytes)>) {
    let (mut told, mut won) = (Told::default(), Vec::new());
    for number in 0.. {
        let body = Bytes::from(format!("{writer} {round} {number} ").repeat(20));
        let race = format!("c/{round}/{number}");
        match store.create(&race, body.clone()).await {
            Ok(Created::Ours) => won.push((race, body.clone())),
            Ok(Created::Theirs(_)) => {}
            Err(_) => break,
        }
        let own = format!("q/{writer}/{round}/{number}");
        match store.create(&own, body.clone()).await {
            Ok(Created::Ours) => {
                told.kept.insert(own.clone(), body.clone());
            }
            other => {
                assert!(other.is_err(), "{own} is nobody else's: {other:?}");
                told.doubt.insert(own, body);
                break;
            }
        }
        if number % 5 != 0 {
            told.kept.remove(&own);
            if store.delete(std::slice::from_ref(&own)).await.is_ok() {
                told.deleted.push(own);
            } else {
                told.doubt.insert(own, body);
                break;
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    (told, won)
}

async fn check(store: &Store, kept: &BTreeMap<String, Bytes>, told: &Told, won: &BTreeMap<String, Bytes>) {
    for (key, body) in kept.iter().chain(won) {
        assert_eq!(store.get(key).await.expect("read").as_ref(), Some(body), "{key} was acknowledged");
    }
    for (key, body) in &told.doubt {
        let found = store.get(key).await.expect("read");
        assert!(found.is_none_or(|found| found == body), "{key}");
    }
    for key in &told.deleted {
        assert_eq!(store.get(key).await.expect("read"), None, "{key} was deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    const ROUNDS: u64 = 4;
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--bucket", "bucket", "--segment", "32K"];
    let (mut kept, mut won) = (BTreeMap::new(), BTreeMap::<String, Bytes>::new());
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..ROUNDS {
        let mut process = start(&mut command(folder.path(), &arguments));
        let count = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(process.client(), writer, round, Arc::clone(&count)));
        }
        // Segments are so small that some are cleaned meanwhile: the kill comes in any phase of that.
        let most = random.u64(100..400);
        let mut ended = Vec::new();
        while count.load(Ordering::Relaxed) < most && !writers.is_empty() {
            // A writer that got no answer in time has ended already.
            ended.extend(writers.try_join_next().map(|result| result.expect("a writer")));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.kill();
        ended.extend(writers.join_all().await);
        let mut all = Told::default();
        for (told, races) in ended {
            kept.extend(told.kept);
            all.doubt.extend(told.doubt);
            all.deleted.extend(told.deleted);
            for (key, body) in races {
                let before = won.insert(key.clone(), body);
                assert!(before.is_none(), "{key} was won twice");
            }
        }
        let process = start(&mut command(folder.path(), &arguments));
        check(&process.client(), &kept, &all, &won).await;
        // What was won before the kill can't be won after it.
        let store = process.client();
        for key in won.keys().filter(|key| key.starts_with(&format!("c/{round}/"))).take(20) {
            let again = store.create(key, Bytes::from_static(b"late")).await.expect("decided");
            assert!(matches!(again, Created::Theirs(_)), "{key} was won twice");
        }
    }
    let segments: Vec<_> = std::fs::read_dir(folder.path().join("log"))
        .expect("the log")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("a name"))
        .collect();
    assert!(!segments.contains(&format!("{:020}.log", 1)), "the first segment was cleaned: {segments:?}");
}
