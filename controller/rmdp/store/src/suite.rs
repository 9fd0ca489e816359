//! What a store has to do to carry claims, as tests that run against any endpoint.
//!
//! A store's own tests call [`all`] with settings for it; everything is written under a prefix of the run's own and
//! deleted again.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{Created, Error, Settings, Store};

const WRITERS: usize = 8;
const RACES: usize = 25;

/// Makes the bucket, tries the store and runs every test of this module, one after the other.
///
/// # Panics
/// When the store fails one of them; the message says what was expected.
pub async fn all(settings: &Settings) {
    let store = with_prefix(settings, "all");
    store.ensure_bucket().await.expect("the bucket can be made");
    store.ensure_bucket().await.expect("a bucket that exists is fine");
    // On the heap, one after the other: together they are big for a test's stack.
    Box::pin(trial(settings)).await;
    Box::pin(races(settings)).await;
    Box::pin(bodies(settings)).await;
    Box::pin(existence(settings)).await;
    Box::pin(overwrites(settings)).await;
    Box::pin(replaces(settings)).await;
    Box::pin(pages(settings)).await;
    Box::pin(deletes(settings)).await;
    Box::pin(odd_keys(settings)).await;
    Box::pin(no_bucket(settings)).await;
    Box::pin(wrong_secret(settings)).await;
}

/// A client whose keys nobody else's tests use.
fn with_prefix(settings: &Settings, name: &str) -> Store {
    let mut settings = settings.clone();
    settings.prefix = format!("{}suite/{name}/{:016x}/", settings.prefix, fastrand::u64(..));
    // Busy test machines; what is tested here is what the store does and not when.
    settings.deadline = settings.deadline.max(Duration::from_secs(20));
    Store::new(settings).expect("good settings")
}

async fn clean(store: &Store) {
    loop {
        let page = store.list("", None, 1000).await.expect("listed");
        let keys: Vec<String> = page.entries.into_iter().map(|entry| entry.key).collect();
        store.delete(&keys).await.expect("deleted");
        if !page.truncated {
            return;
        }
    }
}

/// A trial accepts it, through every endpoint, and leaves nothing behind.
///
/// # Panics
/// When not.
pub async fn trial(settings: &Settings) {
    let store = with_prefix(settings, "probe");
    let trial = store.trial().await.expect("it is accepted");
    assert_eq!(trial.reached, settings.endpoints, "all endpoints are reached: {:?}", trial.unreachable);
    assert!(store.list("", None, 10).await.expect("listed").entries.is_empty(), "the trial has cleaned up");
}

/// Races of 8 writers, each with its own client: exactly one is told that it has created the object, all others get
/// its bytes, and so does who asks again.
///
/// # Panics
/// When not.
pub async fn races(settings: &Settings) {
    let reader = with_prefix(settings, "races");
    let stores: Vec<Store> = (0..WRITERS)
        .map(|writer| {
            let mut settings = reader.shared().settings.clone();
            // Every writer prefers another endpoint.
            let count = settings.endpoints.len();
            settings.endpoints.rotate_left(writer % count);
            Store::new(settings).expect("good settings")
        })
        .collect();
    for race in 0..RACES {
        let key = format!("c/{race}");
        let mut writers = JoinSet::new();
        for (writer, store) in stores.iter().enumerate() {
            let (store, key) = (store.clone(), key.clone());
            let body = Bytes::from(format!("writer {writer} {:032x}", fastrand::u128(..)));
            writers.spawn(async move {
                let created = store.create(&key, body.clone()).await.expect("decided");
                (body, created)
            });
        }
        let told = writers.join_all().await;
        let mut winners = told.iter().filter(|(_, created)| *created == Created::Ours);
        let winner = &winners.next().expect("one has won").0;
        assert_eq!(winners.count(), 0, "only one has won race {race}");
        for (body, created) in &told {
            if body != winner {
                assert_eq!(*created, Created::Theirs(winner.clone()), "race {race}");
            }
        }
        assert_eq!(reader.get(&key).await.expect("read").as_ref(), Some(winner), "race {race}");
        let again = stores[0].create(&key, winner.clone()).await.expect("decided");
        assert_eq!(again, Created::Ours, "the same bytes again are still the winner's");
    }
    clean(&reader).await;
}

/// What is there is told from what is not, whatever its size, and without reading it.
///
/// # Panics
/// If the store does not.
pub async fn existence(settings: &Settings) {
    let store = with_prefix(settings, "existence");
    for size in [0, 1, 1000, 3 << 20] {
        let key = format!("k/{size}");
        assert!(!store.exists(&key).await.expect("an answer"), "{key} is not there yet");
        store.create(&key, Bytes::from(vec![7; size])).await.expect("created");
        assert!(store.exists(&key).await.expect("an answer"), "{key} is there");
    }
    clean(&store).await;
}

/// Objects come back as they were written: empty, small, binary, a megabyte.
///
/// # Panics
/// When not.
pub async fn bodies(settings: &Settings) {
    let store = with_prefix(settings, "bodies");
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    for (index, body) in [&b""[..], b"x", &binary[..300], &binary].into_iter().enumerate() {
        let (key, body) = (format!("b/{index}"), Bytes::copy_from_slice(body));
        assert_eq!(store.create(&key, body.clone()).await.expect("created"), Created::Ours);
        assert_eq!(store.get(&key).await.expect("read"), Some(body), "object {index}");
    }
    assert_eq!(store.get("b/none").await.expect("read"), None);
    clean(&store).await;
}

/// An unconditional write replaces; a conditional one does not.
///
/// # Panics
/// When not.
pub async fn overwrites(settings: &Settings) {
    let store = with_prefix(settings, "overwrites");
    for text in ["first", "second, longer", ""] {
        let body = Bytes::from_static(text.as_bytes());
        store.put("n/1", body.clone()).await.expect("written");
        assert_eq!(store.get("n/1").await.expect("read"), Some(body));
    }
    let created = store.create("n/1", Bytes::from_static(b"third")).await.expect("decided");
    assert_eq!(created, Created::Theirs(Bytes::new()));
    clean(&store).await;
}

/// Of writers that each add one to what they have read, none is lost, and what was changed or deleted is not replaced.
///
/// # Panics
/// When not.
pub async fn replaces(settings: &Settings) {
    const WRITERS: u64 = 6;
    const EACH: u64 = 5;
    let store = with_prefix(settings, "replaces");
    assert_eq!(store.get_tagged("t/1").await.expect("read"), None);
    store.put("t/1", Bytes::from_static(b"0 nobody")).await.expect("written");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let (found, tag) = store.get_tagged("t/1").await.expect("read").expect("there");
                let text = String::from_utf8(found.to_vec()).expect("ours");
                let number: u64 =
                    text.split(' ').next().and_then(|number| number.parse().ok()).expect("ours");
                let next = Bytes::from(format!("{} {writer}/{done}", number + 1));
                done += u64::from(store.replace("t/1", next, &tag).await.expect("decided").is_some());
            }
        });
    }
    writers.join_all().await;
    let (found, tag) = store.get_tagged("t/1").await.expect("read").expect("there");
    assert!(found.starts_with(format!("{} ", WRITERS * EACH).as_bytes()), "{found:?}");
    let new = store.replace("t/1", Bytes::from_static(b"new"), &tag).await.expect("decided");
    let new = new.expect("nobody was faster");
    assert_eq!(store.replace("t/1", Bytes::from_static(b"late"), &tag).await.expect("decided"), None);
    store.delete(&["t/1".to_owned()]).await.expect("deleted");
    assert_eq!(store.replace("t/1", Bytes::from_static(b"again"), &new).await.expect("decided"), None);
    assert_eq!(store.get("t/1").await.expect("read"), None);
    clean(&store).await;
}

/// Listings are ordered, go on after a key, keep to their prefix, and tell when an object was written.
///
/// # Panics
/// When not.
pub async fn pages(settings: &Settings) {
    let store = with_prefix(settings, "pages");
    let keys: Vec<String> = (0..25).map(|number| format!("q/{:02x}/{number:04}", number % 3)).collect();
    for key in keys.iter().chain(&["r/1".to_owned(), "p/1".to_owned()]) {
        store.put(key, Bytes::from_static(b"four")).await.expect("written");
    }
    let (mut found, mut pages, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let page = store.list("q/", after.as_deref(), 10).await.expect("listed");
        pages += 1;
        assert!(page.entries.len() <= 10, "at most as many as asked for");
        for entry in &page.entries {
            assert_eq!(entry.size, 4, "{}", entry.key);
            let now = SystemTime::now();
            let distance = now.duration_since(entry.modified).unwrap_or_else(|error| error.duration());
            assert!(distance < Duration::from_mins(10), "{} was written {distance:?} from now", entry.key);
        }
        found.extend(page.entries.into_iter().map(|entry| entry.key));
        if !page.truncated {
            break;
        }
        after = found.last().cloned();
    }
    let sorted: Vec<String> = keys.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(found, sorted);
    assert_eq!(pages, 3);
    let part = store.list("q/01/", None, 1000).await.expect("listed");
    assert_eq!(part.entries.len(), 8, "keys of a longer prefix");
    assert!(!part.truncated);
    // A key that does not exist is as good a place to go on from.
    let rest = store.list("q/", Some("q/01/9999"), 1000).await.expect("listed");
    assert_eq!(rest.entries.first().map(|entry| entry.key.as_str()), Some("q/02/0002"));
    assert!(store.list("x/", None, 10).await.expect("listed").entries.is_empty());
    clean(&store).await;
}

/// Deleted keys are gone and can be created again; keys that do not exist are no error; more than 1,000 are fine.
///
/// # Panics
/// When not.
pub async fn deletes(settings: &Settings) {
    let store = with_prefix(settings, "deletes");
    let keys: Vec<String> = (0..1005).map(|number| format!("q/{number:04}")).collect();
    for key in [&keys[0], &keys[500], &keys[1004]] {
        store.put(key, Bytes::from_static(b"x")).await.expect("written");
    }
    store.put("q/stays", Bytes::from_static(b"x")).await.expect("written");
    store.delete(&keys).await.expect("deleted");
    store.delete(&keys[..2]).await.expect("nothing to delete is fine");
    store.delete(&[]).await.expect("nothing to do is fine");
    assert_eq!(store.get(&keys[1004]).await.expect("read"), None);
    let left = store.list("q/", None, 10).await.expect("listed");
    assert_eq!(left.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), ["q/stays"]);
    let created = store.create(&keys[0], Bytes::from_static(b"new")).await.expect("decided");
    assert_eq!(created, Created::Ours);
    clean(&store).await;
}

/// Keys are bytes of UTF-8 and nothing else: no character means something on the way.
///
/// # Panics
/// When not.
pub async fn odd_keys(settings: &Settings) {
    let store = with_prefix(settings, "odd keys");
    let keys = ["a b", "a+b", "a%20b", "a&b=c?d#e", "<x>\"'", "ä/ö", "a.b-c_d~e", "n/node-1.example.org"];
    for key in keys {
        let body = Bytes::copy_from_slice(key.as_bytes());
        assert_eq!(store.create(key, body).await.expect("created"), Created::Ours, "{key}");
    }
    for key in keys {
        assert_eq!(store.get(key).await.expect("read").as_deref(), Some(key.as_bytes()), "{key}");
    }
    let listed = store.list("", None, 100).await.expect("listed");
    let listed: BTreeSet<String> = listed.entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(listed, keys.map(str::to_owned).into());
    let all: Vec<String> = listed.into_iter().collect();
    store.delete(&all).await.expect("deleted");
    assert!(store.list("", None, 100).await.expect("listed").entries.is_empty(), "all were deleted");
}

/// A bucket that does not exist is an error of its own.
///
/// # Panics
/// When not.
pub async fn no_bucket(settings: &Settings) {
    let mut settings = settings.clone();
    settings.bucket = format!("none-{:016x}", fastrand::u64(..));
    let store = Store::new(settings).expect("good settings");
    for error in [
        store.get("q/1").await.map(|_| ()).expect_err("there is none"),
        store.create("q/1", Bytes::new()).await.map(|_| ()).expect_err("there is none"),
        store.list("q/", None, 1).await.map(|_| ()).expect_err("there is none"),
    ] {
        assert!(matches!(error, Error::NoBucket { .. }), "{error}");
    }
}

/// Wrong credentials are refused, and the message says which setting to look at.
///
/// # Panics
/// When not.
pub async fn wrong_secret(settings: &Settings) {
    let mut settings = settings.clone();
    settings.secret_key = crate::Secret::new("not-the-secret");
    let store = Store::new(settings).expect("good settings");
    let error = store.create("q/1", Bytes::new()).await.expect_err("refused");
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(error.to_string().contains("secret key"), "{error}");
}
