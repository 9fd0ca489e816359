//! Tasks that follow the shared configuration, the intent log and the log of probes for the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_core::task::{NetworkId, Task};
use tokio::sync::{mpsc, watch};

use crate::chain::{Chain, Follower};
use crate::error::Error;
use crate::expiry::Expiries;
use crate::generation::{Compiled, GenerationError, Generations};
use crate::objects::Objects;
use crate::probes::ProbeFollower;

/// How often a controller asks for the newest generation, if no hint and no heartbeat tells of one.
const WANTED_POLL: Duration = Duration::from_secs(5);

/// So long it has to be the newest before a controller looks whether its switches hold it.
const SETTLES: Duration = Duration::from_secs(1);

/// A fault that was not met again for so long is over: chains are asked for more often than that.
const OVER: Duration = Duration::from_secs(30);

/// News of the chains.
pub(crate) enum Event {
    /// A version of the shared configuration, and its text.
    Config(u64, String),
    /// A generation, compiled, and how long that took since it was found.
    Compiled(Arc<Compiled>, Duration),
    /// For controllers: the newest generation, compiled.
    Wanted(Arc<Compiled>),
    /// A generation that cannot be carried out, and why.
    BadGeneration(u64, String),
    /// A version of the shared configuration that cannot be read, in words.
    BadConfig(String),
    /// Something that cannot be reached; what was known before stays.
    Fault(String),
}

/// An entry of the log of probes.
pub(crate) struct Emitted {
    pub(crate) number: u64,
    /// One a switch.
    pub(crate) tasks: Vec<Task>,
    /// It may have been emitted before.
    pub(crate) old: bool,
}

/// Ends when the loop takes no events any more.
pub(crate) async fn configs(
    objects: Objects,
    known: u64,
    mut hints: watch::Receiver<u64>,
    events: mpsc::Sender<Event>,
) {
    let mut follower = Follower::new(objects, Chain::Configs, known);
    let mut faults = Faults::default();
    while !events.is_closed() {
        let event = match follower.next(&mut hints).await {
            Ok((version, Object::Config(stored))) => Some(Event::Config(version, stored.toml)),
            Ok(_) => None,
            Err(Error::Object(error)) => Some(Event::BadConfig(error.to_string())),
            Err(error) => faults.fresh(&error),
        };
        if let Some(event) = event {
            let _ = events.send(event).await;
        }
    }
}

/// Ends when the loop takes no events any more.
pub(crate) async fn generations(
    objects: Objects,
    network: NetworkId,
    mut hints: watch::Receiver<u64>,
    events: mpsc::Sender<Event>,
    expiries: watch::Sender<Expiries>,
) {
    let generations = Generations::new();
    let mut follower = Follower::new(objects, Chain::Generations, 0);
    let mut faults = Faults::default();
    let mut before = None;
    while !events.is_closed() {
        let event = match follower.next(&mut hints).await {
            Ok((number, Object::Generation(record))) if record.network != network => {
                Some(Event::BadGeneration(number, foreign(&Key::Generation(number), record.network)))
            }
            Ok((number, Object::Generation(record))) => {
                let contradiction = contradiction(before.as_ref(), &record);
                before = Some(record.without_files());
                let event = match contradiction {
                    Some(error) => Event::BadGeneration(number, error.to_string()),
                    None => compile(number, record, generations.clone()).await,
                };
                expiries.send_replace(match &event {
                    Event::Compiled(compiled, _) => {
                        Expiries { generation: number, moments: compiled.expiries.clone() }
                    }
                    _ => Expiries::default(),
                });
                Some(event)
            }
            Ok(_) => None,
            // Nobody can say what it wanted: whoever applied it has to.
            Err(Error::Object(error)) => {
                Some(Event::BadGeneration(0, format!("a generation is passed over: {error}; apply again")))
            }
            Err(error) => faults.fresh(&error),
        };
        if let Some(event) = event {
            let _ = events.send(event).await;
        }
    }
}

/// For controllers: the newest generation, once it has been the newest for a moment: whoever keeps a switch looks at it
/// after the change. It is compiled at once where the one before was, so that the task that names its states need not wait
/// for them; and after that moment where nothing is known to go on from. Ends when the loop takes no events any more.
pub(crate) async fn wanted(
    objects: Objects,
    network: NetworkId,
    mut hints: watch::Receiver<u64>,
    events: mpsc::Sender<Event>,
    generations: Generations,
) {
    let mut follower = Follower::new(objects, Chain::Generations, 0).every(WANTED_POLL);
    let mut faults = Faults::default();
    let mut newest: Option<Newest> = None;
    while !events.is_closed() {
        let found = match &newest {
            None => follower.next(&mut hints).await,
            Some(_) => {
                if let Ok(found) = tokio::time::timeout(SETTLES, follower.next(&mut hints)).await {
                    found
                } else {
                    if let Some(newest) = newest.take() {
                        let event = match newest.compiled(&generations).await {
                            Event::Compiled(compiled, _) => Event::Wanted(compiled),
                            other => other,
                        };
                        let _ = events.send(event).await;
                    }
                    continue;
                }
            }
        };
        match found {
            // It counts for nothing: what was the newest before it still is.
            Ok((number, Object::Generation(record))) if record.network != network => {
                let why = foreign(&Key::Generation(number), record.network);
                let _ = events.send(Event::BadGeneration(number, why)).await;
            }
            Ok((number, Object::Generation(record))) => {
                let found = Newest::Found(number, record);
                newest = Some(match generations.newest() {
                    Some(_) => Newest::Compiled(found.compiled(&generations).await),
                    None => found,
                });
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(event) = faults.fresh(&error) {
                    let _ = events.send(event).await;
                }
            }
        }
    }
}

/// The newest generation that a controller has found.
enum Newest {
    Found(u64, Generation),
    /// What came of compiling it.
    Compiled(Event),
}

impl Newest {
    async fn compiled(self, generations: &Generations) -> Event {
        match self {
            Self::Found(number, record) => compile(number, record, generations.clone()).await,
            Self::Compiled(event) => event,
        }
    }
}

/// Ends when the loop takes no entries any more.
pub(crate) async fn probes(
    objects: Objects,
    network: NetworkId,
    mut hints: watch::Receiver<u64>,
    entries: mpsc::Sender<Emitted>,
) {
    let mut follower = ProbeFollower::new(objects);
    let mut faults = Faults::default();
    while !entries.is_closed() {
        match follower.next(&mut hints).await {
            Ok(found) if found.entry.network != network => {
                tracing::warn!("{}", foreign(&Key::Probe(found.entry.number), found.entry.network));
            }
            Ok(found) => match found.entry.tasks() {
                Ok(tasks) => {
                    let _ = entries.send(Emitted { number: found.entry.number, tasks, old: found.old }).await;
                }
                // Such an entry is not even read.
                Err(error) => tracing::warn!(probe = found.entry.number, %error, "left out"),
            },
            Err(error) => {
                if let Some(Event::Fault(what)) = faults.fresh(&error) {
                    tracing::warn!("{what}");
                }
            }
        }
    }
}

async fn compile(number: u64, record: Generation, generations: Generations) -> Event {
    let start = Instant::now();
    match tokio::task::spawn_blocking(move || generations.compiled(record)).await {
        Ok(Ok(compiled)) => Event::Compiled(compiled, start.elapsed()),
        Ok(Err(error)) => Event::BadGeneration(number, error.to_string()),
        // A panic, which its own message has told.
        Err(_) => Event::BadGeneration(number, format!("generation {number} could not be compiled")),
    }
}

/// Whether a generation has no task for a switch that it says something new of, as far as an earlier one tells.
fn contradiction(before: Option<&Generation>, record: &Generation) -> Option<GenerationError> {
    let (generation, before) = (record.generation, before?);
    let switch = record.contradicts(before)?.to_owned();
    Some(GenerationError::Contradicts { generation, before: before.generation, switch })
}

fn foreign(key: &Key, network: NetworkId) -> String {
    format!(
        "{key} is of network {network}, not of this one: was it copied from another store? it is left out"
    )
}

/// A fault that stays is told once, whichever requests meet it.
#[derive(Default)]
struct Faults {
    last: Option<(String, Instant)>,
}

impl Faults {
    fn fresh(&mut self, error: &Error) -> Option<Event> {
        self.fresh_at(error, Instant::now())
    }

    fn fresh_at(&mut self, error: &Error, now: Instant) -> Option<Event> {
        let trouble = error.trouble();
        let last = self.last.replace((trouble.clone(), now));
        let stays =
            last.is_some_and(|(last, at)| last == trouble && now.saturating_duration_since(at) < OVER);
        (!stays).then(|| Event::Fault(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_store::Error as StoreError;

    use super::*;

    #[test]
    fn an_outage_is_told_once_and_the_next_one_again() {
        let away = |call: &str| {
            Error::from(StoreError::Unavailable {
                call: call.to_owned(),
                deadline: Duration::from_secs(1),
                last: "http://s: timeout".to_owned(),
            })
        };
        let mut faults = Faults::default();
        let mut now = Instant::now();
        assert!(matches!(faults.fresh_at(&away("get i/7"), now), Some(Event::Fault(_))));
        for call in ["get i/7", "list i/", "get i/8"] {
            now += OVER / 2;
            assert!(faults.fresh_at(&away(call), now).is_none(), "{call}");
        }
        assert!(faults.fresh_at(&away("list i/"), now + OVER).is_some());
    }
}
