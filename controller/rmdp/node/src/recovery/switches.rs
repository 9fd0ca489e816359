//! Asks switches for the highest fence that they remember, and writes nothing to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use outplane_driver_p4runtime::{Backoff, Highest, Options, Target, highest};
use outplane_intent::model::Switch;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::Fence;
use outplane_rmdp_store::Error as StoreError;
use tokio::task::JoinSet;

use crate::agent::{chances, of_driver, target};
use crate::chain::Chain;
use crate::error::Error;
use crate::generation::parsed;
use crate::objects::Objects;

/// Switches that are asked at a time.
const AT_ONCE: usize = 32;
/// Of connecting, and of a call.
const DEADLINE: Duration = Duration::from_secs(5);

/// What a switch remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// The highest fence that it has heard of.
    Fence(Fence),
    /// Nobody's: it has been started anew, or forgets whoever is not connected (docs/fence.md).
    Nobody,
    /// It takes writes from everybody.
    NoArbitration,
}

impl Remembered {
    /// The generation; 0 for none.
    pub fn generation(self) -> u64 {
        match self {
            Self::Fence(fence) => fence.generation,
            Self::Nobody | Self::NoArbitration => 0,
        }
    }
}

/// The switches that are known, and how to talk to them, or why that is not known: of the shared configuration, of the
/// newest generation that describes some, and of files.
///
/// # Errors
/// The store's.
pub async fn targets(
    objects: &Objects,
    config: &SharedConfig,
    of_files: &BTreeMap<String, Switch>,
    tls: &Path,
) -> Result<BTreeMap<String, Result<Target, String>>, Error> {
    let mut described = BTreeMap::new();
    let numbers = match Chain::Generations.numbers(objects, 0).await {
        // A bucket that is not there has none.
        Err(Error::Store(StoreError::NoBucket { .. })) => Vec::new(),
        numbers => numbers?,
    };
    for number in numbers.into_iter().rev() {
        let Some(Object::Generation(record)) = objects.get_readable(&Key::Generation(number)).await? else {
            continue;
        };
        if record.says_nothing() {
            continue;
        }
        let loaded = tokio::task::spawn_blocking(move || parsed(&record)).await;
        if let Ok(Ok(loaded)) = loaded {
            described = loaded.intent.switches;
            break;
        }
    }
    described.extend(of_files.iter().map(|(name, switch)| (name.clone(), switch.clone())));
    let names = config.switches.keys().chain(described.keys()).cloned();
    let names: std::collections::BTreeSet<String> = names.collect();
    Ok(names
        .into_iter()
        .map(|name| {
            let shared = config.switches.get(&name).cloned().unwrap_or_default();
            let target = target(&name, &shared, described.get(&name), tls);
            (name, target)
        })
        .collect())
}

/// What each of these remembers, or why that cannot be told.
pub async fn ask_switches(targets: Vec<Target>) -> BTreeMap<String, Result<Remembered, String>> {
    let mut answers = BTreeMap::new();
    let mut waiting = targets.into_iter();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some(target) = waiting.next()
        {
            asked.spawn(async move { (target.name.clone(), ask(target).await) });
        }
        match asked.join_next().await {
            None => return answers,
            Some(Ok((name, answer))) => {
                answers.insert(name, answer);
            }
            // A panic, which its own message has told; the switch is then one without an answer.
            Some(Err(error)) => tracing::error!(%error, "a switch was not asked to the end"),
        }
    }
}

/// Asks one, which is left as it is.
async fn ask(target: Target) -> Result<Remembered, String> {
    let pause = Duration::from_millis(100);
    let options = Options {
        connect_deadline: DEADLINE,
        call_deadline: DEADLINE,
        backoff: Backoff { first: pause, limit: pause, attempts: 2 },
        ..Options::default()
    };
    let chances = chances().ok_or("this machine has no source of chance")?;
    match highest(&target, &options, &chances).await {
        Ok(Highest::Fence(fence)) => Ok(Remembered::Fence(of_driver(fence))),
        Ok(Highest::Nobody) => Ok(Remembered::Nobody),
        Ok(Highest::NoArbitration) => Ok(Remembered::NoArbitration),
        Err(error) => Err(error.to_string()),
    }
}
