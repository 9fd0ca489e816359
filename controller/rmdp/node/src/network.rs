//! Which network a store is of: a random number that lies in it, issued by whoever needs it first. It stands in every
//! datagram and every transaction id, so that networks with one key, or one store after another, have nothing to do with
//! each other.
//!
//! A store may change under a node: the bucket is made anew, another one is restored in its place, an endpoint leads
//! elsewhere. The node looks now and then, and takes a store that is not its network's for one that is away: it claims
//! and decides nothing, and says why. It goes on by itself when its own store is back.

use std::time::Duration;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Network, Object};
use outplane_rmdp_core::task::NetworkId;
use tokio::time::sleep;

use crate::chain::Chain;
use crate::error::Error;
use crate::objects::Objects;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Every so many looks read what may be large.
const CLOSELY: u32 = 12;
/// Before the second look where something is missing: once may be the store's mistake.
const AGAIN: Duration = Duration::from_secs(1);

/// The network that the store is of, if that was issued.
///
/// # Errors
/// The store's, and that the object cannot be read.
pub async fn of(objects: &Objects) -> Result<Option<NetworkId>, Error> {
    match objects.get(&Key::Network).await? {
        Some(Object::Network(network)) => Ok(Some(network.network)),
        _ => Ok(None),
    }
}

/// The network that the store is of; issued now, if it was not.
///
/// # Errors
/// The store's, after which it may be asked again; that the object cannot be read, or was there before.
pub async fn ensure(objects: &Objects, by: &str) -> Result<NetworkId, Error> {
    loop {
        if let Some(network) = of(objects).await? {
            return Ok(network);
        }
        // A new one would have all nodes wait for their own store, and leave out what the log has.
        if let Some(network) = before(objects).await? {
            return Err(Error::NetworkLost(network));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let network = NetworkId::new(u64::from_be_bytes(random));
        if network.is_none() {
            continue;
        }
        let mut object = Object::Network(Network { network, by: by.to_owned(), at_ms: 0 });
        // Whoever was first has issued it: read again what is there.
        objects.create(&Key::Network, &mut object).await?;
    }
}

/// The network of the newest generation that can be read.
async fn before(objects: &Objects) -> Result<Option<NetworkId>, Error> {
    for number in Chain::Generations.numbers(objects, 0).await?.into_iter().rev() {
        let found = objects.get_readable(&Chain::Generations.key(number)).await?;
        if let Some(Object::Generation(record)) = found {
            return Ok(Some(record.network));
        }
    }
    Ok(None)
}

/// What is wrong with the store, if anything: that it is another network's, or that it has gone back to a time before
/// this start.
async fn wrong(
    objects: &Objects,
    network: NetworkId,
    epoch: &Key,
    closely: bool,
) -> Result<Option<String>, Error> {
    let restart = "if that is meant to be so, restart all nodes";
    match objects.get(&Key::Network).await? {
        Some(Object::Network(now)) if now.network == network => {}
        Some(Object::Network(now)) => {
            let now = now.network;
            return Ok(Some(format!(
                "the store is of network {now}, and this node is of network {network}: was the bucket made anew, or does an \
                 endpoint lead to another store? {restart}"
            )));
        }
        _ => {
            return Ok(Some(format!(
                "the store says no network any more, and this node is of network {network}: was the bucket emptied? {restart}"
            )));
        }
    }
    if objects.get(epoch).await?.is_none() {
        return Ok(Some(format!(
            "the store has no {epoch}, which it gave this node at its start: was it restored from a backup? {restart}"
        )));
    }
    if let Some(key) = objects.lost(closely).await? {
        return Ok(Some(format!(
            "the store had {key}, and has it no more or another in its place: was it restored from a backup? {restart}"
        )));
    }
    Ok(None)
}

/// Looks for ever, and shuts `objects` and its clones while the store is not what it was.
pub(crate) async fn watch(objects: Objects, network: NetworkId, epoch: Key) {
    let looks = objects.unguarded();
    let (mut suspected, mut number) = (false, 0_u32);
    loop {
        sleep(if suspected { AGAIN } else { LOOK }).await;
        // Without an answer everything stays as it is: the store is away, or not what it was, as before.
        let closely = number % CLOSELY == 0;
        let Ok(found) = wrong(&looks, network, &epoch, closely).await else { continue };
        // What was found closely is looked at closely again.
        number = if closely && found.is_some() { 0 } else { number.wrapping_add(1) };
        match found {
            None => {
                suspected = false;
                if objects.open() {
                    tracing::info!(%network, "the store is this network's again");
                }
            }
            Some(_) if !suspected => suspected = true,
            Some(text) => {
                if objects.shut(&text) {
                    tracing::error!(alert = true, "{text}");
                }
            }
        }
    }
}
