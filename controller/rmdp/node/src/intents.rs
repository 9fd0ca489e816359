//! The switches that generations of the intent describe, for controllers: where a switch is, unless the shared
//! configuration says it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outplane_compiler::compile::segment_ids;
use outplane_intent::model::Switch;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use tokio::sync::OnceCell;

use crate::chain::Chain;
use crate::generation::{self, Generations};
use crate::objects::Objects;

/// Most generations that are kept.
const MOST: usize = 8;

/// How long the newest generation counts as that, for those who only want to know where a switch is.
const FRESH: Duration = Duration::from_secs(1);

type Switches = Arc<BTreeMap<String, Switch>>;
type Kept = BTreeMap<u64, Arc<OnceCell<Described>>>;

/// What is kept of a generation.
#[derive(Clone, Debug)]
struct Described {
    switches: Switches,
    /// Names of segments by their ids in switches.
    segments: Arc<BTreeMap<u16, String>>,
}

/// The newest generations' switches. Clones share them.
#[derive(Clone, Debug)]
pub struct Intents {
    objects: Objects,
    generations: Generations,
    kept: Arc<Mutex<Kept>>,
    newest: Arc<tokio::sync::Mutex<Option<(Instant, u64)>>>,
}

impl Intents {
    /// None yet.
    pub fn new(objects: Objects) -> Self {
        Self { objects, generations: Generations::new(), kept: Arc::default(), newest: Arc::default() }
    }

    /// Goes on from what others have read.
    #[must_use]
    pub fn reading(self, generations: Generations) -> Self {
        Self { generations, ..self }
    }

    /// The switches of the newest generation that can be read, by name, as of at most a second ago; none where there is
    /// no generation.
    ///
    /// # Errors
    /// As [`Self::switches`].
    pub async fn newest(&self) -> Result<Switches, String> {
        let mut newest = self.newest.lock().await;
        let mut numbers = match *newest {
            Some((at, generation)) if at.elapsed() < FRESH => vec![generation],
            _ => {
                let found = Chain::Generations.numbers(&self.objects, 0).await;
                found.map_err(|error| error.to_string())?
            }
        };
        let mut first = None;
        // One that is bad has changed nothing: where switches are is what the one before says.
        while let Some(generation) = numbers.pop() {
            match self.switches(generation).await {
                Ok(switches) => {
                    *newest = Some((Instant::now(), generation));
                    return Ok(switches);
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or_else(|| Ok(Arc::default()), Err)
    }

    /// The switches of a generation, by name.
    ///
    /// # Errors
    /// In words: the store's, or that the generation is not there, or wrong.
    pub async fn switches(&self, generation: u64) -> Result<Switches, String> {
        Ok(Arc::clone(&self.described(generation).await?.switches))
    }

    /// The name of a segment of a generation. None at first, when nobody has read that generation: that is begun then.
    pub fn segment(&self, generation: u64, id: u16) -> Option<String> {
        let cell = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&generation).cloned();
        if let Some(described) = cell.as_ref().and_then(|cell| cell.get()) {
            return described.segments.get(&id).cloned();
        }
        if cell.is_none() {
            let intents = self.clone();
            tokio::spawn(async move { drop(intents.described(generation).await) });
        }
        None
    }

    async fn described(&self, generation: u64) -> Result<Described, String> {
        let cell = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let cell = Arc::clone(kept.entry(generation).or_default());
            while kept.len() > MOST {
                kept.pop_first();
            }
            cell
        };
        cell.get_or_try_init(|| self.read(generation)).await.cloned()
    }

    async fn read(&self, generation: u64) -> Result<Described, String> {
        let object =
            self.objects.get(&Key::Generation(generation)).await.map_err(|error| error.to_string())?;
        let Some(Object::Generation(record)) = object else {
            return Err(format!("generation {generation} is not in the intent log any more"));
        };
        if record.says_nothing() {
            return Err(format!("generation {generation} describes nothing: the store was recovered; apply"));
        }
        let numbers = generation::numbers(&record).map_err(|error| error.to_string())?;
        let generations = self.generations.clone();
        let read = tokio::task::spawn_blocking(move || {
            generations.read(record, |_, loaded| {
                let ids = segment_ids(&loaded.intent, &numbers);
                let segments = ids.into_iter().map(|(name, id)| (id, name)).collect();
                let switches = Arc::new(loaded.intent.switches.clone());
                Described { switches, segments: Arc::new(segments) }
            })
        });
        match read.await {
            Ok(Ok(described)) => Ok(described),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("generation {generation} could not be read")),
        }
    }
}
