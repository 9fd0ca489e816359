//! Appends generations, on the side of whoever has something to say.
//!
//! Who applies has compiled the policy to check it. So it stores the desired states itself while it appends; the
//! distributors then find them there, and a controller need not wait for a distributor's write. Nothing depends on it:
//! distributors store what is not there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outplane_rmdp_core::chain::is_base;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{
    Decision, Generation, GenerationParts, MAX_PACKED, Object, Outcome, PolicyFile, StoredPart,
};
use outplane_rmdp_core::task::{Digest, Event, NetworkId};
use tokio::task::JoinSet;

use super::content::{self, Content, Contents};
use super::read::blocking;
use super::{Logged, delta, pack};
use crate::chain::Chain;
use crate::error::Error;
use crate::generation::{States, bound};
use crate::objects::Objects;

/// Desired states that are stored at a time.
const AT_ONCE: usize = 16;

/// How often an appender begins again where others were faster.
const TRIES: u32 = 1000;

/// A part that packs into so few bytes is written whole, and rests on nothing.
const SMALL: usize = 1024;

/// Most bytes, packed, of all parts that are within a generation.
const MOST_PACKED: usize = 128 * 1024;

/// What an appender says: its own part, in place of what it has said before. Others' stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// What was applied.
    Apply(Vec<PolicyFile>),
    /// What a live source of this name ([`check_name`](outplane_rmdp_core::key::check_name)) says now.
    Live(String, Vec<PolicyFile>),
}

/// The end of the log: what the next generation goes on from.
#[derive(Clone, Debug)]
pub struct Tip {
    /// The newest number, whatever lies under it; 0: there is none.
    number: u64,
    /// The newest generation of the network that can be read.
    last: Option<Arc<Last>>,
}

#[derive(Debug)]
struct Last {
    record: Generation,
    contents: Contents,
    base: u64,
}

impl Tip {
    /// The end of the log as it is now, for a network: others' generations say nothing to it.
    ///
    /// # Errors
    /// The store's. What cannot be read is passed over, with a warning: the newest that can be stands for it.
    pub async fn read(objects: &Objects, network: NetworkId) -> Result<Self, Error> {
        let numbers = Chain::Generations.numbers(objects, 0).await?;
        let number = numbers.last().copied().unwrap_or(0);
        for generation in numbers.into_iter().rev() {
            let found = match Logged::read(objects, generation).await {
                Ok(Some(logged)) if logged.network() == network => Last::of(logged).await,
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match found {
                Ok(last) => return Ok(Self { number, last: Some(Arc::new(last)) }),
                Err(Error::Object(error)) => {
                    tracing::warn!(%error, "what is appended next goes on from the generation before it");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { number, last: None })
    }

    /// The log as if this generation was the newest. None: it is not there.
    ///
    /// # Errors
    /// The store's, or that it cannot be read.
    pub async fn at(objects: &Objects, generation: u64) -> Result<Option<Self>, Error> {
        let Some(logged) = Logged::read(objects, generation).await? else { return Ok(None) };
        let last = Last::of(logged).await?;
        Ok(Some(Self { number: generation, last: Some(Arc::new(last)) }))
    }

    /// The newest number, whatever lies under it; 0: there is none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The newest generation that can be read, if there is one.
    pub fn generation(&self) -> Option<&Generation> {
        self.last.as_deref().map(|last| &last.record)
    }

    /// Appends a generation under the next number and no other; the end of the log then. None: another was faster.
    ///
    /// # Errors
    /// The store's: [`outplane_rmdp_store::Error::Unknown`] leaves open whether it was appended. [`Error::Overtaken`] as of
    /// [`Chain::append_at`], [`Error::Unstored`] if it is more than readers take.
    pub async fn append(&self, objects: &Objects, record: Generation) -> Result<Option<Self>, Error> {
        let number = self.number + 1;
        let mut record = Generation { generation: number, ..record };
        record.follow(self.generation());
        // Only the generation right before it can be rested on.
        let under =
            self.last.clone().filter(|last| last.record.generation == self.number && !is_base(number));
        let Stored { parts, snapshots, last } = blocking(move || stored(record, under.as_deref())).await??;
        for (key, bytes) in snapshots {
            objects.ensure_snapshot(&key, bytes).await?;
        }
        if !Chain::Generations.append_at(objects, number, &mut Object::Parts(parts)).await? {
            return Ok(None);
        }
        for content in last.contents.values() {
            objects.log().put(content.clone());
        }
        Ok(Some(Self { number, last: Some(Arc::new(last)) }))
    }

    /// The next generation as far as it is not compiled: an appender's own part, and what others have said. Switches of which
    /// it comes to say what the one before said keep that one's task; an appender who takes some out of `since` has them
    /// brought to it anew.
    pub fn next(&self, network: NetworkId, own: &Own) -> Generation {
        let before = self.generation();
        let mut next = Generation {
            network,
            generation: self.number + 1,
            files: before.map(|before| before.files.clone()).unwrap_or_default(),
            sources: before.map(|before| before.sources.clone()).unwrap_or_default(),
            numbers: before.and_then(|before| before.numbers.clone()),
            desired: BTreeMap::new(),
            since: before.map(Generation::all_since).unwrap_or_default(),
            as_of_ms: 0,
            author: String::new(),
            at_ms: 0,
        };
        match own {
            Own::Apply(files) => next.files.clone_from(files),
            Own::Live(source, files) => _ = next.sources.insert(source.clone(), files.clone()),
        }
        next
    }
}

impl Last {
    async fn of(logged: Logged) -> Result<Self, Error> {
        let base = logged.base();
        let (record, contents) = logged.whole().await?;
        Ok(Self { record, contents, base })
    }
}

/// A generation as it is to be stored.
struct Stored {
    parts: GenerationParts,
    /// They have to be there before it.
    snapshots: Vec<(Key, Bytes)>,
    last: Last,
}

/// What is to be stored of a generation. Takes as long as its parts are large.
fn stored(record: Generation, under: Option<&Last>) -> Result<Stored, Error> {
    let contents = content::contents(&record);
    let most = MAX_PACKED.min(MOST_PACKED / contents.len().max(1));
    let (mut parts, mut snapshots) = (BTreeMap::new(), Vec::new());
    for (part, content) in &contents {
        let before = under.and_then(|under| under.contents.get(part));
        let stored = stored_part(content, before, most, |packed| {
            let at = Digest::of(&packed);
            snapshots.push((Key::Snapshot(record.generation, at), packed.into()));
            at
        });
        parts.insert(part.clone(), stored);
    }
    let rests = parts.values().any(StoredPart::rests);
    let base = under.filter(|_| rests).map_or(record.generation, |under| under.base);
    let parts = GenerationParts {
        network: record.network,
        generation: record.generation,
        as_of_ms: record.as_of_ms,
        author: record.author.clone(),
        at_ms: record.at_ms,
        base,
        parts,
    };
    parts.check().map_err(|reason| Error::Unstored { generation: record.generation, reason })?;
    Ok(Stored { parts, snapshots, last: Last { record, contents, base } })
}

fn stored_part(
    content: &Content,
    before: Option<&Content>,
    most: usize,
    snapshot: impl FnOnce(Vec<u8>) -> Digest,
) -> StoredPart {
    let (sha256, bytes) = (content.sha256, content.bytes.len() as u64);
    let whole = (content.bytes.len() <= 4 * SMALL).then(|| pack::pack(&content.bytes));
    if let Some(packed) = whole.filter(|packed| packed.len() <= SMALL) {
        return StoredPart::Whole { sha256, bytes, packed: STANDARD.encode(packed) };
    }
    if let Some(before) = before {
        if before.sha256 == sha256 {
            return StoredPart::Same { sha256, bytes };
        }
        let delta = delta::encode(&before.bytes, &content.bytes);
        // What does not get small need not be packed to see that.
        let packed = (delta.len() <= most * 32).then(|| pack::pack(&delta));
        if let Some(packed) = packed.filter(|packed| packed.len() <= most) {
            return StoredPart::Delta { sha256, bytes, on: before.sha256, packed: STANDARD.encode(packed) };
        }
    }
    let packed = pack::pack(&content.bytes);
    if packed.len() <= SMALL {
        return StoredPart::Whole { sha256, bytes, packed: STANDARD.encode(packed) };
    }
    StoredPart::Snapshot { sha256, bytes, at: snapshot(packed) }
}

/// Appends what was applied, and stores as many desired states ([`blob`](crate::blob)) as there is time for
/// meanwhile; the end of the log then, which it is. `generation` says what its files compile to alone after the numbers
/// `before`; where live sources say something as well, or others have numbered meanwhile, it is compiled once more.
///
/// A switch of which it says nothing new keeps the task that it had, unless that has failed, or `tasks` are to be made for all.
///
/// # Errors
/// Those of [`append_own`].
pub async fn append(
    objects: &Objects,
    generation: &Generation,
    before: Option<&[u8]>,
    states: States,
    tasks: Tasks,
) -> Result<Tip, Error> {
    let own = Own::Apply(generation.files.clone());
    let bind = |next: Generation| {
        let said = Generation { as_of_ms: generation.as_of_ms, author: generation.author.clone(), ..next };
        let alone = said.sources == generation.sources && said.numbers.as_deref() == before;
        let compiled = (generation.desired.clone(), generation.numbers.clone());
        let alone = alone.then(|| (compiled, states.clone()));
        async {
            let (mut said, states) = if let Some(((desired, numbers), states)) = alone {
                (Generation { desired, numbers, ..said }, states)
            } else {
                let number = said.generation;
                let unstored = |reason: String| Error::Unstored { generation: number, reason };
                let said =
                    blocking(move || bound(said)).await?.map_err(|error| unstored(error.to_string()))?;
                (said, States::new())
            };
            match tasks {
                Tasks::All => said.since.clear(),
                Tasks::Changed => retry_failed(objects, &mut said).await?,
            }
            Ok((said, states))
        }
    };
    append_own(objects, generation.network, &own, bind).await
}

/// The switches that a generation has a task for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// Those of which it says something new.
    Changed,
    /// All of them.
    All,
}

/// Where a task has failed, the next generation tries again.
async fn retry_failed(objects: &Objects, record: &mut Generation) -> Result<(), Error> {
    let tasks = record.since.iter().filter_map(|(switch, since)| {
        let id = Event::generation(record.network, *since, switch).id().ok()?;
        Some((switch.clone(), Key::Decision(id)))
    });
    let (mut tasks, mut asked, mut failed) = (tasks.collect::<Vec<_>>(), JoinSet::new(), Vec::new());
    loop {
        while asked.len() < AT_ONCE
            && let Some((switch, key)) = tasks.pop()
        {
            let objects = objects.clone();
            asked.spawn(async move { (switch, objects.get_readable(&key).await) });
        }
        let Some(answer) = asked.join_next().await else { break };
        // Only a panic ends one early; its own message has told.
        let (switch, found) = answer.map_err(|_| Error::Ended("a request to the store"))?;
        if let Some(Object::Decision(Decision { outcome: Outcome::Failed { .. }, .. })) = found? {
            failed.push(switch);
        }
    }
    record.since.retain(|switch, _| !failed.contains(switch));
    Ok(())
}

/// Appends what one appender says to what others have said, under the next number; the end of the log then. `bind` gets
/// the generation as it is to be, without its time and author, with the numbers of the one before it, and gives it back
/// compiled, with its desired states as far as they are to be stored. It is asked again where another was faster.
///
/// # Errors
/// The store's, as of [`Tip::append`]; what `bind` says.
pub async fn append_own<E, Bound>(
    objects: &Objects,
    network: NetworkId,
    own: &Own,
    mut bind: impl FnMut(Generation) -> Bound,
) -> Result<Tip, E>
where
    E: From<Error>,
    Bound: Future<Output = Result<(Generation, States), E>>,
{
    let mut last = Key::Generation(0);
    for _ in 0..TRIES {
        let tip = Tip::read(objects, network).await?;
        let (record, states) = bind(tip.next(network, own)).await?;
        let store = async {
            store(objects, states).await;
            pending::<Infallible>().await
        };
        let appended = tokio::select! {
            biased;
            appended = tip.append(objects, record) => appended?,
            never = store => match never {},
        };
        if let Some(tip) = appended {
            return Ok(tip);
        }
        last = Key::Generation(tip.number() + 1);
    }
    Err(Error::Contended { tries: TRIES, last }.into())
}

/// Stores desired states; those that cannot be are left to the distributors.
pub async fn store(objects: &Objects, states: States) {
    let mut under_way = JoinSet::new();
    for (digest, state) in states {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let objects = objects.clone();
        under_way.spawn(async move {
            if let Err(error) = objects.ensure_blob(digest, state).await {
                tracing::debug!(%digest, %error, "a desired state is left to the distributors");
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}
