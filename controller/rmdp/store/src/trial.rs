//! Does the store create exactly once? Races of concurrent writers tell, before anything depends on it.
//!
//! ```text
//!   writers 0..32, writer w at endpoint w mod n ──► all have a connection ──► all PUT If-None-Match: * at once
//!   then, through every endpoint: read the winner's bytes, PUT once more (refused), read again (unchanged)
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::call::{Operation, timed};
use crate::store::{fetch, stream};
use crate::trouble::{Status, Trouble};
use crate::{Error, Store, Trial};

const WRITERS: usize = 32;
/// Races that must come out well.
const ROUNDS: usize = 4;
/// Races that may be held for it: some have no clear outcome.
const MAX_ROUNDS: usize = 8;

/// What a writer was told.
#[derive(Clone, Debug)]
enum Told {
    /// 2xx.
    Created,
    /// 412, or 409: somebody else does.
    Exists,
    /// Nothing useful: it may have written or not.
    Nothing(String),
    /// Another clear answer.
    Refused(Status),
}

/// One writer of a race.
#[derive(Clone, Debug)]
struct Writer {
    endpoint: usize,
    body: Bytes,
    told: Told,
    took: Duration,
}

/// What an endpoint says of the key after a race; absent where it did not answer.
type Found = Option<Option<Bytes>>;

/// The verdict on a race.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Honest,
    /// Nobody knows: answers are missing.
    Unclear(String),
    Dishonest(String),
}

impl Store {
    /// Tries whether the store creates exactly once: races of 32 concurrent writers over all endpoints.
    ///
    /// Endpoints that do not answer are left out and reported; one has to. Everything that it writes lies
    /// under `probe/` and is deleted again.
    pub async fn trial(&self) -> Result<Trial, Error> {
        run(self).await
    }
}

async fn run(store: &Store) -> Result<Trial, Error> {
    let started = Instant::now();
    store.refuse_versioned().await?;
    let mut keys = Vec::new();
    let result = races(store, &mut keys).await;
    match store.delete(&keys).await {
        Ok(()) => {}
        // Distributors and operators may not delete: the bucket's owner does.
        Err(error) if error.lacks_right() => {
            tracing::debug!(%error, "the probe's objects stay behind, for who may delete");
        }
        Err(error) => tracing::warn!(%error, "the probe's objects stay behind"),
    }
    let (rounds, mut latencies, silent) = result?;
    latencies.sort_unstable();
    let url = |index: usize| store.shared().endpoints[index].url.clone();
    let reached = (0..store.shared().endpoints.len()).filter(|index| !silent.iter().any(|(i, _)| i == index));
    Ok(Trial {
        rounds,
        writers: WRITERS,
        reached: reached.map(url).collect(),
        unreachable: silent.iter().map(|(index, why)| (url(*index), why.clone())).collect(),
        put_p50: latencies.get(latencies.len() / 2).copied().unwrap_or_default(),
        took: started.elapsed(),
    })
}

/// Races held, the writers' times, and the endpoints that were left out with the reason.
type Races = (usize, Vec<Duration>, Vec<(usize, String)>);

async fn races(store: &Store, keys: &mut Vec<String>) -> Result<Races, Error> {
    let nonce = fastrand::u128(..);
    let mut latencies = Vec::new();
    let (mut honest, mut unclear) = (0, String::new());
    for round in 0..MAX_ROUNDS {
        let key = format!("probe/{nonce:032x}/{round}");
        keys.push(key.clone());
        let (alive, silent) = reach(store, &key).await?;
        let writers = race(store, &key, &alive).await;
        for writer in &writers {
            if let Told::Refused(status) = &writer.told {
                return Err(refused(store, writer.endpoint, status.clone(), &format!("create {key}")));
            }
        }
        latencies.extend(writers.iter().map(|writer| writer.took));
        let found = read_all(store, &key, &alive).await;
        let verdict = match judge(&writers, &found) {
            Verdict::Honest => {
                judge_late(&late(store, &key, &alive).await, &found, &read_all(store, &key, &alive).await)
            }
            other => other,
        };
        match verdict {
            Verdict::Honest => honest += 1,
            Verdict::Unclear(why) => unclear = why,
            Verdict::Dishonest(reason) => return Err(Error::Dishonest { reason }),
        }
        if honest == ROUNDS {
            return Ok((round + 1, latencies, silent));
        }
    }
    Err(Error::Unavailable {
        call: "probe".to_owned(),
        deadline: store.shared().settings.deadline,
        last: format!("{MAX_ROUNDS} races had no clear outcome: {unclear}"),
    })
}

/// Which endpoints answer at all, and why the others do not.
async fn reach(store: &Store, key: &str) -> Result<(Vec<usize>, Vec<(usize, String)>), Error> {
    let (mut alive, mut silent) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..store.shared().endpoints.len()).collect();
    for (index, result) in on_all(store, key, &all, None).await {
        match result {
            Err(Trouble::Status(status)) if !(status.http == 404 && status.code == "NoSuchKey") => {
                return Err(refused(store, index, status, &format!("get {key}")));
            }
            Ok(_) | Err(Trouble::Status(_) | Trouble::TooLarge(_)) => alive.push(index),
            Err(trouble) => silent.push((index, trouble.text())),
        }
    }
    if alive.is_empty() {
        let last =
            silent.last().map(|(index, why)| format!("{}: {why}", store.shared().endpoints[*index].url));
        return Err(Error::Unavailable {
            call: "probe".to_owned(),
            deadline: store.shared().settings.deadline,
            last: last.unwrap_or_default(),
        });
    }
    Ok((alive, silent))
}

fn refused(store: &Store, endpoint: usize, status: Status, call: &str) -> Error {
    if status.http == 501 || status.code == "NotImplemented" {
        return Error::Dishonest { reason: "it does not know `If-None-Match` on PutObject".to_owned() };
    }
    status.refuse(&store.shared().endpoints[endpoint].url, &store.shared().settings.bucket, call)
}

/// GETs `key`, or PUTs `body` if it is absent, at each of these endpoints at once.
async fn on_all(
    store: &Store,
    key: &str,
    endpoints: &[usize],
    body: Option<Bytes>,
) -> Vec<(usize, Result<Option<Bytes>, Trouble>)> {
    let mut tasks = JoinSet::new();
    for &index in endpoints {
        let (store, full, body) = (store.clone(), store.full(key), body.clone());
        tasks.spawn(async move {
            let result = match body {
                None => read(&store, index, &full).await.map(Some),
                Some(body) => write(&store, index, &full, body).await.map(|()| None),
            };
            (index, result)
        });
    }
    let mut results: Vec<_> = tasks.join_all().await;
    results.sort_by_key(|(index, _)| *index);
    results
}

async fn read(store: &Store, index: usize, full: &str) -> Result<Bytes, Trouble> {
    let (shared, limit) = (store.shared(), limit(store));
    let endpoint = &shared.endpoints[index];
    shared.ask(endpoint, Operation::Get, fetch(&shared.settings, endpoint.client.clone(), full, limit)).await
}

async fn write(store: &Store, index: usize, full: &str, body: Bytes) -> Result<(), Trouble> {
    let shared = store.shared();
    let endpoint = &shared.endpoints[index];
    let request = endpoint.client.put_object().bucket(&shared.settings.bucket).key(full).if_none_match("*");
    let put = timed(limit(store), request.body(stream(&body)).send());
    shared.ask(endpoint, Operation::Create, put).await.map(|_| ())
}

/// A start is patient: 32 writers at once are slower than one.
fn limit(store: &Store) -> Instant {
    Instant::now() + store.shared().settings.deadline
}

async fn race(store: &Store, key: &str, alive: &[usize]) -> Vec<Writer> {
    let start = Arc::new(Barrier::new(WRITERS));
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let endpoint = alive[number % alive.len()];
        let (store, start, full) = (store.clone(), Arc::clone(&start), store.full(key));
        let body = Bytes::from(format!("writer {number} {:032x}", fastrand::u128(..)));
        tasks.spawn(async move {
            // Opens the connection, so that the PUTs meet in the store and not in handshakes.
            let _ = read(&store, endpoint, &full).await;
            start.wait().await;
            let started = Instant::now();
            let told = match write(&store, endpoint, &full, body.clone()).await {
                Ok(()) => Told::Created,
                Err(Trouble::Status(Status { http: 409 | 412, .. })) => Told::Exists,
                Err(Trouble::Status(status)) => Told::Refused(status),
                Err(trouble) => Told::Nothing(trouble.text()),
            };
            Writer { endpoint, body, told, took: started.elapsed() }
        });
    }
    tasks.join_all().await
}

async fn read_all(store: &Store, key: &str, alive: &[usize]) -> Vec<Found> {
    let answers = on_all(store, key, alive, None).await;
    answers
        .into_iter()
        .map(|(_, result)| match result {
            Ok(bytes) => Some(bytes),
            Err(Trouble::Status(_)) => Some(None),
            Err(_) => None,
        })
        .collect()
}

/// One more conditional PUT through each endpoint, when the race is long over: whether it was told "created".
async fn late(store: &Store, key: &str, alive: &[usize]) -> Vec<bool> {
    let answers = on_all(store, key, alive, Some(Bytes::from_static(b"too late"))).await;
    answers.iter().map(|(_, result)| result.is_ok()).collect()
}

/// Judges a race by what the writers were told and what can be read after it.
fn judge(writers: &[Writer], found: &[Found]) -> Verdict {
    let created: Vec<&Writer> =
        writers.iter().filter(|writer| matches!(writer.told, Told::Created)).collect();
    if created.len() > 1 {
        return Verdict::Dishonest(format!(
            "{} of {} concurrent writers were told that they had created the same object",
            created.len(),
            writers.len()
        ));
    }
    let answers: BTreeSet<Option<&Bytes>> = found.iter().flatten().map(Option::as_ref).collect();
    let silence = || {
        writers.iter().find_map(|writer| match &writer.told {
            Told::Nothing(why) => Some(why.clone()),
            _ => None,
        })
    };
    let stored = match answers.len() {
        0 => return Verdict::Unclear("nothing could be read".to_owned()),
        1 => answers.first().copied().flatten(),
        // A write whose answer is missing may just now be landing.
        _ if created.is_empty() && silence().is_some() => {
            return Verdict::Unclear(silence().unwrap_or_default());
        }
        _ => {
            return Verdict::Dishonest(
                "its endpoints show different contents of one key: they are not endpoints of one store"
                    .to_owned(),
            );
        }
    };
    let Some(stored) = stored else {
        return match (created.first(), silence()) {
            (Some(_), _) => Verdict::Dishonest("an object that was created cannot be read".to_owned()),
            (None, Some(why)) => Verdict::Unclear(why),
            (None, None) => {
                Verdict::Unclear("every writer was told that another one had created it".to_owned())
            }
        };
    };
    let author = writers.iter().find(|writer| writer.body == *stored);
    match (author.map(|author| &author.told), created.is_empty()) {
        (None, _) => Verdict::Dishonest("an object was read that nobody had written".to_owned()),
        (Some(Told::Created), _) | (Some(Told::Nothing(_)), true) => Verdict::Honest,
        (Some(_), false) => Verdict::Dishonest(
            "one writer was told that it had created the object, but another's was kept".to_owned(),
        ),
        (Some(_), true) => {
            Verdict::Dishonest("a writer was told that the object existed, but its own was kept".to_owned())
        }
    }
}

/// Judges the late writers: none may be told "created", and nothing may change.
fn judge_late(late: &[bool], before: &[Found], after: &[Found]) -> Verdict {
    if late.contains(&true) {
        return Verdict::Dishonest(
            "an object that existed was created once more: it ignores `If-None-Match`".to_owned(),
        );
    }
    let kept = before.iter().flatten().next();
    if after.iter().flatten().any(|found| Some(found) != kept) {
        return Verdict::Dishonest("a refused write has changed the object".to_owned());
    }
    Verdict::Honest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{Found, Told, Verdict, Writer, judge, judge_late};

    fn writers(told: &[Told]) -> Vec<Writer> {
        let writer = |(index, told): (usize, &Told)| Writer {
            endpoint: 0,
            body: Bytes::from(format!("{index}")),
            told: told.clone(),
            took: Duration::ZERO,
        };
        told.iter().enumerate().map(writer).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape of what an endpoint says")]
    fn has(text: &'static str) -> Found {
        Some(Some(Bytes::from_static(text.as_bytes())))
    }

    fn silent() -> Told {
        Told::Nothing("timeout".to_owned())
    }

    #[test]
    fn exactly_one_writer_may_win_and_its_bytes_stay() {
        use Told::{Created, Exists};
        let honest =
            |told: &[Told], found: &[Found]| assert_eq!(judge(&writers(told), found), Verdict::Honest);
        honest(&[Exists, Created, Exists], &[has("1"), has("1")]);
        honest(&[Exists, silent(), Exists], &[has("1"), None]);
        honest(&[silent(), Created], &[has("1")]);

        let dishonest = |told: &[Told], found: &[Found], part: &str| match judge(&writers(told), found) {
            Verdict::Dishonest(reason) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        };
        dishonest(&[Created, Created, Exists], &[has("1")], "2 of 3");
        dishonest(&[Created, Exists], &[has("1")], "another's was kept");
        dishonest(&[silent(), Created], &[has("0")], "another's was kept");
        dishonest(&[Exists, Exists], &[has("0")], "its own was kept");
        dishonest(&[Created, Exists], &[has("x")], "nobody");
        dishonest(&[Created, Exists], &[Some(None)], "cannot be read");
        dishonest(&[Created, Exists], &[has("0"), Some(None)], "not endpoints of one store");

        let unclear = |told: &[Told], found: &[Found]| {
            assert!(matches!(judge(&writers(told), found), Verdict::Unclear(_)));
        };
        unclear(&[Exists, Exists], &[Some(None)]);
        unclear(&[silent(), Exists], &[Some(None)]);
        unclear(&[silent(), Exists], &[has("0"), Some(None)]);
        unclear(&[Created, Exists], &[None, None]);
    }

    #[test]
    fn late_writers_lose_and_change_nothing() {
        let before = [has("1"), None];
        assert_eq!(judge_late(&[false, false], &before, &[has("1"), has("1")]), Verdict::Honest);
        assert!(matches!(judge_late(&[false, true], &before, &before), Verdict::Dishonest(_)));
        assert!(matches!(judge_late(&[false], &before, &[has("2")]), Verdict::Dishonest(_)));
    }
}
