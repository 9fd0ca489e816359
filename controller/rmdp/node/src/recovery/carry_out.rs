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
use crate::error::Error;
use crate::network;
use crate::objects::Objects;

/// Keys that are deleted at a time.
const AT_ONCE: usize = 1000;
/// From one look at nodes to the next.
const LOOK: Duration = Duration::from_millis(500);

/// Carries a plan out, and sets a shared configuration on the way, if one is given. The new network.
///
/// # Errors
/// The store's, or that somebody else has changed its network meanwhile, after which it may be done again, from gathering
/// on.
pub async fn carry_out(
    objects: &Objects,
    plan: &Plan,
    shared: Option<&str>,
    by: &str,
) -> Result<NetworkId, Error> {
    let new = network::random()?;
    let was = was(objects, plan).await?;
    if let Some(toml) = shared {
        let make = |version| {
            Object::Config(StoredConfig { version, toml: toml.to_owned(), author: by.to_owned(), at_ms: 0 })
        };
        Chain::Configs.append(objects, make).await?;
    }
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
    // It wants nothing of any switch: what they hold stays until somebody applies.
    let placeholder = |generation| {
        Object::Generation(Generation {
            network: new,
            generation,
            files: Vec::new(),
            desired: BTreeMap::new(),
            as_of_ms: 0,
            author: format!("{by}, recovery"),
            at_ms: 0,
        })
    };
    lift(objects, &Chain::Generations, plan.generation, placeholder).await?;
    // Tasks of the network that was: nobody of the new one may execute them, and they would hold up its sweeps.
    loop {
        let (queued, _) = objects.list_all(&Prefix::Queue, AT_ONCE).await?;
        if queued.is_empty() {
            break;
        }
        objects.delete(&queued).await?;
    }
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
        Some(Object::Network(found)) if found.network == new => Ok(new),
        _ => Err(changed()),
    }
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

/// Waits until these nodes are of a network, for so long at most. Those that are not, and why.
pub async fn joined(
    nodes: &BTreeMap<String, Source>,
    network: NetworkId,
    patience: Duration,
) -> BTreeMap<String, String> {
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
        if missing.is_empty() || Instant::now() >= end {
            return missing;
        }
        sleep(LOOK).await;
    }
}
