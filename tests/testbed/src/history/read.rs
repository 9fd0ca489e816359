//! Collects what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::TransactionId;
use outplane_rmdp_store::{Secret, Settings, Store};
use tokio::task::JoinSet;

use super::{Event, History, JournalLine};
use crate::cluster::{Cluster, Part};

/// How long a store may take to answer again: Ceph has more to come back from than its processes.
const STORE_PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at a task that waits.
const PAUSE: Duration = Duration::from_millis(100);
/// Objects that are read at a time.
const AT_A_TIME: usize = 32;

impl History {
    /// Reads the cluster's store and its switches' journals.
    pub fn read(cluster: &Cluster) -> Result<Self> {
        let mut history = Self::default();
        let silence = u64::from(cluster.shared().takeover.silence_ms);
        history.silence_ms = (silence > 0).then_some(silence);
        with_store(cluster, async |store| history.read_store(store).await)?;
        for switch in cluster.names(Part::Switch) {
            let path = cluster.journal(&switch);
            let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let lines = JournalLine::parse_all(&text).with_context(|| format!("{}", path.display()))?;
            history.journals.insert(switch, lines);
        }
        for controller in cluster.names(Part::Controller) {
            for address in cluster.addresses(&controller)? {
                history.owners.insert(address, controller.clone());
            }
        }
        Ok(history)
    }

    /// Waits until all tasks of the generations in the intent log, one a switch, have their decisions, or were overtaken
    /// before anybody queued them; those of which neither is true in the end. It asks the store for little, which has
    /// other things to do.
    pub fn wait(cluster: &Cluster, switches: &[String], patience: Duration) -> Result<Vec<Event>> {
        let mut open = Vec::new();
        with_store(cluster, async |store| {
            let end = Instant::now() + patience;
            let mut history = Self::default();
            history.read_generations(&store).await?;
            let decided: BTreeSet<_> = list(&store, &Prefix::Decisions).await?.into_iter().collect();
            for event in history.events(switches) {
                let path = Key::Decision(event.id()?).path();
                if decided.contains(&path) {
                    continue;
                }
                while store.get(&path).await?.is_none() {
                    let newest = history.generations.last() == Some(&event.occurrence);
                    let known = [Key::Queue(event.id()?), Key::Claim(event.id()?, 1)];
                    if !newest && !is_there(&store, &known).await? {
                        break;
                    }
                    if Instant::now() >= end {
                        open.push(event);
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Ok(())
        })?;
        Ok(open)
    }

    /// Waits until the store answers, however long a real one takes to come back; how long that was.
    pub fn await_store(cluster: &Cluster) -> Result<Duration> {
        let start = Instant::now();
        with_store(cluster, async |store| {
            loop {
                let Err(error) = store.get(&Key::Network.path()).await else { return Ok(()) };
                if start.elapsed() >= STORE_PATIENCE {
                    bail!("the store does not answer, for {STORE_PATIENCE:?}: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        })?;
        Ok(start.elapsed())
    }

    /// What every generation in the intent log had to bring about.
    pub fn events(&self, switches: &[String]) -> Vec<Event> {
        let of = |generation| {
            switches.iter().map(move |switch| Event::generation(self.network, generation, switch))
        };
        self.generations.iter().copied().flat_map(of).collect()
    }

    async fn read_generations(&mut self, store: &Store) -> Result<()> {
        let bytes = store.get(&Key::Network.path()).await?.context("the store is of no network")?;
        let Object::Network(network) = Object::decode(&Key::Network, &bytes)? else {
            bail!("the store is of no network");
        };
        self.network = network.network;
        for path in list(store, &Prefix::Generations).await? {
            match Key::parse(&path) {
                Ok(Key::Generation(number)) => drop(self.generations.insert(number)),
                // Parts of one, as a whole.
                Ok(Key::Snapshot(..)) => {}
                _ => self.unreadable.push(format!("{path} is no generation")),
            }
        }
        // Numbers have no gaps, whatever a listing lacks.
        for number in 1.. {
            if self.generations.contains(&number) {
                continue;
            }
            if store.get(&Key::Generation(number).path()).await?.is_none() {
                break;
            }
            self.generations.insert(number);
            self.unlisted += 1;
        }
        Ok(())
    }

    async fn read_store(&mut self, store: Store) -> Result<()> {
        self.read_generations(&store).await?;
        let mut keys = Vec::new();
        for prefix in [Prefix::Queue, Prefix::Claims, Prefix::Results, Prefix::Decisions] {
            keys.extend(list(&store, &prefix).await?);
        }
        self.read_keys(&store, keys).await?;
        let listed = self.objects.len();
        self.read_keys(&store, self.missing()).await?;
        self.unlisted += self.objects.len() - listed;
        Ok(())
    }

    /// What belongs to the tasks that were read, and was in no listing: a store may leave out of its listings for a while
    /// what was written while a part of it died.
    fn missing(&self) -> Vec<String> {
        let mut attempts: BTreeMap<TransactionId, u32> = BTreeMap::new();
        for (key, object) in &self.objects {
            let (id, attempt) = match (key, object) {
                (Key::Queue(id), _) => (*id, 0),
                (Key::Claim(id, attempt) | Key::Result(id, attempt), _) => (*id, *attempt),
                (Key::Decision(id), Object::Decision(decision)) => (*id, decision.attempt),
                _ => continue,
            };
            let highest = attempts.entry(id).or_default();
            *highest = (*highest).max(attempt);
        }
        let keys = attempts.into_iter().flat_map(|(id, highest)| {
            let of_attempt = move |attempt| [Key::Claim(id, attempt), Key::Result(id, attempt)];
            (1..=highest + 1).flat_map(of_attempt).chain([Key::Decision(id)])
        });
        keys.filter(|key| !self.objects.contains_key(key)).map(|key| key.path()).collect()
    }

    /// Reads what is there of these keys.
    async fn read_keys(&mut self, store: &Store, keys: Vec<String>) -> Result<()> {
        let mut reading = JoinSet::new();
        let mut keys = keys.into_iter();
        loop {
            while reading.len() < AT_A_TIME
                && let Some(key) = keys.next()
            {
                let store = store.clone();
                reading.spawn(async move { (store.get(&key).await, key) });
            }
            let Some(read) = reading.join_next().await else { return Ok(()) };
            let (bytes, path) = read?;
            // What was swept since it was listed is no fault.
            let Some(bytes) = bytes? else { continue };
            let object = Key::parse(&path).map_err(|error| error.to_string()).and_then(|key| {
                Object::decode(&key, &bytes).map(|object| (key, object)).map_err(|e| e.to_string())
            });
            match object {
                Ok((key, object)) => drop(self.objects.insert(key, object)),
                Err(why) => self.unreadable.push(why),
            }
        }
    }
}

async fn is_there(store: &Store, keys: &[Key]) -> Result<bool> {
    for key in keys {
        if store.get(&key.path()).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn list(store: &Store, prefix: &Prefix) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let page = store.list(&prefix.path(), keys.last().map(String::as_str), 1000).await?;
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        if !page.truncated {
            return Ok(keys);
        }
    }
}

/// Does something with the store, from within the cluster.
pub(super) fn with_store(
    cluster: &Cluster,
    work: impl AsyncFnOnce(Store) -> Result<()> + Send,
) -> Result<()> {
    let access = cluster.store();
    let secret = Secret::new(access.secret_key.clone());
    let mut settings =
        Settings::new(access.endpoints.clone(), access.bucket.clone(), access.access_key.clone(), secret);
    // The checker is in no hurry.
    (settings.attempt_timeout, settings.deadline) = (Duration::from_secs(5), Duration::from_secs(30));
    cluster.admin()?.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { work(Store::new(settings)?).await })
    })?
}
