//! Writes what a plan says. Each step may be the last one that is done: the store is what it was until the last, and the
//! next recovery finds what this one has left and goes above it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outplane_rmdp_core::chain;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Generation, Network, Object, Recovery, StoredConfig, StreamEpoch};
use outplane_rmdp_core::task::NetworkId;
use tokio::time::{Instant, sleep};

use super::gather::{Source, ask_nodes};
use super::plan::Plan;
use crate::chain::Chain;
use crate::daemon::newest_readable;
use crate::error::Error;
use crate::network;
use crate::objects::Objects;

/// How often something is done again that others undo meanwhile.
const PASSES: u32 = 10;
/// From one look at nodes to the next.
const LOOK: Duration = Duration::from_millis(500);

/// What was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The new network.
    pub network: NetworkId,
    /// The shared configuration that was given is the store's. None: none was given; false: somebody else had set one.
    pub is_set: Option<bool>,
}

/// Carries a plan out, and sets a shared configuration at its end, if one is given and there is none still.
///
/// # Errors
/// The store's, or that somebody else has changed its network meanwhile, after which it may be done again, from gathering
/// on.
pub async fn carry_out(
    objects: &Objects,
    plan: &Plan,
    shared: Option<&str>,
    by: &str,
) -> Result<Carried, Error> {
    let new = network::random()?;
    let was = was(objects, plan).await?;
    for (node, epoch) in &plan.epochs {
        let taken = |epoch| {
            Object::Epoch(StreamEpoch {
                node: node.clone(),
                epoch,
                nonce: format!("recovery {new}"),
                at_ms: 0,
            })
        };
        lift(objects, &Chain::Epochs(node.clone()), *epoch, taken).await?;
    }
    lift(objects, &Chain::Generations, plan.generation, placeholder(new, by)).await?;
    cover(objects, new, by).await?;
    clear_queue(objects).await?;
    let before = plan.before.iter().map(ToString::to_string).collect();
    let recovery = Recovery { network: new, before, above: plan.remembered, by: by.to_owned(), at_ms: 0 };
    objects.create(&Key::Recovery(new), &mut Object::Recovery(recovery)).await?;
    // From here on it counts.
    let mut network = Object::Network(Network { network: new, by: by.to_owned(), at_ms: 0 });
    match was {
        Was::Nothing => _ = objects.create(&Key::Network, &mut network).await?,
        Was::Tagged(tag) => _ = objects.replace(&Key::Network, &mut network, &tag).await?,
        Was::Garbage => objects.put(&Key::Network, &mut network).await?,
    }
    // Who was refused may have been refused for a try of its own that had landed.
    match objects.get(&Key::Network).await? {
        // Another that ran beside this one, and lost, may have left something above.
        Some(Object::Network(found)) if found.network == new => cover(objects, new, by).await?,
        // And so may this one, now that it has lost.
        Some(Object::Network(found)) => {
            if let Err(error) = cover(objects, found.network, by).await {
                tracing::warn!(%error, "what this recovery has left is the newest generation, of network {new}");
            }
            return Err(changed());
        }
        _ => return Err(changed()),
    }
    // Nodes that wait for a configuration start with it: not before all numbers are lifted, and there is a network.
    let is_set = match shared {
        Some(toml) => Some(set(objects, toml, by).await?),
        None => None,
    };
    Ok(Carried { network: new, is_set })
}

/// A generation that wants nothing of any switch: what they hold stays until somebody applies.
fn placeholder(network: NetworkId, by: &str) -> impl Fn(u64) -> Object {
    move |generation| {
        Object::Generation(Generation {
            network,
            generation,
            files: Vec::new(),
            sources: BTreeMap::new(),
            numbers: None,
            desired: BTreeMap::new(),
            since: BTreeMap::new(),
            as_of_ms: 0,
            author: format!("{by}, recovery"),
            at_ms: 0,
        })
    }
}

/// Sets the shared configuration where there is none that can be read. Whether it was us.
async fn set(objects: &Objects, toml: &str, by: &str) -> Result<bool, Error> {
    if newest_readable(objects).await?.config.is_some() {
        return Ok(false);
    }
    let version = Chain::Configs.newest(objects, 0).await?.unwrap_or(0) + 1;
    let config = StoredConfig { version, toml: toml.to_owned(), author: by.to_owned(), at_ms: 0 };
    Chain::Configs.append_at(objects, version, &mut Object::Config(config)).await
}

/// Deletes tasks of the network that was: nobody of the new one may execute them, and they would hold up its sweeps.
async fn clear_queue(objects: &Objects) -> Result<(), Error> {
    for _ in 0..PASSES {
        let mut after: Option<String> = None;
        let mut is_empty = true;
        loop {
            let page = objects.list(&Prefix::Queue, after.as_deref()).await?;
            let queued: Vec<Key> = page.keys.into_iter().map(|listed| listed.key).collect();
            if !queued.is_empty() {
                objects.delete(&queued).await?;
                is_empty = false;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if is_empty {
            return Ok(());
        }
    }
    // A listing may show for a while what is gone.
    let (left, _) = objects.list_all(&Prefix::Queue, 1).await?;
    match left.first() {
        Some(left) if objects.has(left).await? => Err(Error::OtherStore(format!(
            "{left} is queued again and again: does a distributor still work with this store? Stop it, and run this again"
        ))),
        _ => Ok(()),
    }
}

/// Sees to it that the newest generation, if there is one, is the new network's: somebody may have appended meanwhile who
/// took the store for what it was.
async fn cover(objects: &Objects, new: NetworkId, by: &str) -> Result<(), Error> {
    let make = placeholder(new, by);
    for _ in 0..PASSES {
        let Some(newest) = Chain::Generations.newest(objects, 0).await? else { return Ok(()) };
        let there = objects.get_readable(&Key::Generation(newest)).await?;
        if matches!(there, Some(Object::Generation(record)) if record.network == new) {
            return Ok(());
        }
        Chain::Generations.append_at(objects, newest + 1, &mut make(newest + 1)).await?;
    }
    let text = "generations are appended again and again meanwhile: stop whoever applies, and run this again";
    Err(Error::OtherStore(text.to_owned()))
}

/// What `network` was before.
enum Was {
    Nothing,
    Tagged(String),
    Garbage,
}

/// What `network` is, if the plan knows of it: two recoveries at a time, or a node that has just given the store an id,
/// must not write over each other.
async fn was(objects: &Objects, plan: &Plan) -> Result<Was, Error> {
    match objects.get_tagged(&Key::Network).await {
        Ok(None) => Ok(Was::Nothing),
        Ok(Some((Object::Network(found), tag))) if plan.before.contains(&found.network) => {
            Ok(Was::Tagged(tag))
        }
        Ok(Some(_)) => Err(changed()),
        Err(Error::Object(_)) => Ok(Was::Garbage),
        Err(error) => Err(error),
    }
}

fn changed() -> Error {
    let text = "somebody else has changed the store's network meanwhile, another recovery or a node that has started: run \
                this again";
    Error::OtherStore(text.to_owned())
}

/// Sees to it that a chain's newest number is this one, or above: with those that lead to it.
async fn lift(
    objects: &Objects,
    chain: &Chain,
    number: u64,
    make: impl Fn(u64) -> Object,
) -> Result<(), Error> {
    let newest = chain.newest(objects, 0).await?.unwrap_or(0);
    if newest >= number {
        return Ok(());
    }
    // A number that the one before it does not lead to is taken for somebody's garbage.
    let numbers: BTreeSet<u64> = chain::path(number).into_iter().chain([number - 1]).collect();
    for number in numbers.into_iter().filter(|number| *number > newest) {
        objects.ensure(&chain.key(number), &mut make(number)).await?;
    }
    Ok(())
}

/// What became of nodes that were waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// Those that have not joined, and why.
    pub missing: BTreeMap<String, String>,
    /// Somebody else has recovered the store meanwhile, as this network: nodes join that one.
    pub overtaken: Option<NetworkId>,
}

/// Waits until these nodes are of a network, for so long at most, and as long as the store is of it.
pub async fn joined(
    objects: &Objects,
    nodes: &BTreeMap<String, Source>,
    network: NetworkId,
    patience: Duration,
) -> Awaited {
    let end = Instant::now() + patience;
    loop {
        let answers = ask_nodes(nodes.clone()).await;
        let missing: BTreeMap<String, String> = answers
            .into_iter()
            .filter_map(|(name, answer)| match answer {
                Ok(memory) if memory.network() == Some(network) => None,
                Ok(memory) => Some((name, format!("it is of network {} still", memory.network))),
                Err(why) => Some((name, why)),
            })
            .collect();
        // A store that does not say has not been recovered by another.
        let now = network::of(objects).await.ok().flatten();
        if let Some(overtaken) = now.filter(|now| *now != network) {
            return Awaited { missing, overtaken: Some(overtaken) };
        }
        if missing.is_empty() || Instant::now() >= end {
            return Awaited { missing, overtaken: None };
        }
        sleep(LOOK).await;
    }
}
