//! Which network a store is of: a random number that lies in it, issued by whoever needs it first. It stands in every
//! datagram and every transaction id, so that networks with one key, or one store after another, have nothing to do with
//! each other.
//!
//! A store may change under a node: the bucket is made anew, another one is restored in its place, an endpoint leads
//! elsewhere. The node looks now and then, and takes a store that is not its network's for one that is away: it claims
//! and decides nothing, and says why. It goes on by itself when its own store is back, and joins the network anew when
//! somebody has recovered it ([`crate::recovery`]).

use std::time::Duration;

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Network, Object};
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_store::Error as StoreError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::chain::Chain;
use crate::epoch::COMMANDS_NAME;
use crate::error::Error;
use crate::log::Logged;
use crate::objects::Objects;
use crate::recovery::{Earlier, Memory};

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
        // A new one would have all nodes wait for their own store, leave out what the log has, and give numbers again.
        if let Some(lost) = before(objects, by).await? {
            // Somebody may have issued it meanwhile, and gone on.
            return of(objects).await?.ok_or(lost);
        }
        let network = random()?;
        let mut object = Object::Network(Network { network, by: by.to_owned(), at_ms: 0 });
        // Whoever was first has issued it: read again what is there.
        objects.create(&Key::Network, &mut object).await?;
    }
}

/// A network that never was.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn random() -> Result<NetworkId, Error> {
    loop {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let network = NetworkId::new(u64::from_be_bytes(random));
        if !network.is_none() {
            return Ok(network);
        }
    }
}

/// Why no network is to be issued, if that is so: nothing is written before there is one, so it was lost where there is
/// anything.
async fn before(objects: &Objects, by: &str) -> Result<Option<Error>, Error> {
    if let Some(network) = of_generations(objects).await? {
        return Ok(Some(Error::NetworkLost(network)));
    }
    // What is first is never swept. A listing may lack it.
    let first = [Key::Generation(1), Key::Config(1), Key::Probe(1), Key::Epoch(COMMANDS_NAME.to_owned(), 1)];
    let own = Key::parse(&Key::Epoch(by.to_owned(), 1).path());
    // Who is no node has none.
    for key in first.into_iter().chain(own) {
        if objects.has(&key).await? {
            return Ok(Some(Error::NetworkGone(key)));
        }
    }
    for prefix in [Prefix::Generations, Prefix::Configs, Prefix::Epochs] {
        if let Some(listed) = objects.list(&prefix, None).await?.keys.into_iter().next() {
            return Ok(Some(Error::NetworkGone(listed.key)));
        }
    }
    Ok(None)
}

/// The network of the newest generation that can be read.
async fn of_generations(objects: &Objects) -> Result<Option<NetworkId>, Error> {
    of_newest(objects, &Chain::Generations.numbers(objects, 0).await?).await
}

/// The network of the newest of these generations that can be read: those of one network are together. `numbers` ascend.
pub(crate) async fn of_newest(objects: &Objects, numbers: &[u64]) -> Result<Option<NetworkId>, Error> {
    for number in numbers.iter().rev() {
        match Logged::read(objects, *number).await {
            Ok(Some(logged)) => return Ok(Some(logged.network())),
            Ok(None) => {}
            Err(Error::Object(error)) => tracing::warn!(%error, "left out"),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What a look at the store shows.
enum Look {
    /// It is what it was.
    Same,
    /// It is not, and why. It is of this network or of none, or another's.
    Other { why: String, ours: bool },
    /// Somebody has recovered it: this node's network goes on as that one.
    Recovered(NetworkId),
}

impl Look {
    fn other(why: String) -> Self {
        Self::Other { why, ours: false }
    }

    fn ours(why: String) -> Self {
        Self::Other { why, ours: true }
    }
}

/// The cure.
const CURE: &str =
    "`outplane store recover` makes it one that nodes and switches can go on with (docs/operations.md)";

/// What is looked at, of which a warning stands while it is wrong.
const NETWORK: &str = "network";
const VERSIONING: &str = "versioning";

fn tell(objects: &Objects, of: &'static str, why: Option<String>) {
    if objects.warn(of, why.clone())
        && let Some(why) = why
    {
        tracing::error!(alert = true, "{why}");
    }
}

/// Whether somebody has given the bucket versions since this node's start, which refuses such a one.
async fn look_at_versioning(objects: &Objects) {
    match objects.store().refuse_versioned().await {
        Ok(()) => tell(objects, VERSIONING, None),
        Err(error @ StoreError::Versioned { .. }) => tell(
            objects,
            VERSIONING,
            Some(format!("{error}; claims may be given twice from now on, and nodes that start refuse it")),
        ),
        // As it was.
        Err(_) => {}
    }
}

/// Whether the store is another network's, or has gone back to a time before this start.
async fn look(objects: &Objects, is: &Identity, closely: bool) -> Result<Look, Error> {
    let Identity { network, epoch, nonce } = is;
    let said = match objects.get(&Key::Network).await {
        // Who works goes on; who starts cannot.
        Err(Error::Object(error)) => {
            tell(
                objects,
                NETWORK,
                Some(format!(
                    "the store's network cannot be read: {error}; nodes that start wait for it: {CURE}"
                )),
            );
            None
        }
        said => {
            tell(objects, NETWORK, None);
            Some(said?)
        }
    };
    match said {
        None => {}
        Some(Some(Object::Network(now))) if now.network == *network => {}
        Some(Some(Object::Network(now))) => {
            let now = now.network;
            if recovered(objects, now, *network).await? {
                return Ok(Look::Recovered(now));
            }
            return Ok(Look::other(format!(
                "the store is of network {now}, and this node is of network {network}: was the bucket made anew, or does an \
                 endpoint lead to another store? {CURE}; or restart all nodes, if switches have forgotten the old network's fences"
            )));
        }
        Some(_) => {
            return Ok(Look::ours(format!(
                "the store says no network any more, and this node is of network {network}: was the bucket emptied, or restored \
                 from a backup? {CURE}"
            )));
        }
    }
    match objects.get(epoch).await? {
        // Another start has been given the number once more.
        Some(Object::Epoch(there)) if there.nonce != *nonce => {
            return Ok(Look::ours(format!(
                "the store has given {epoch} to another start than this one: was it restored from a backup? {CURE}"
            )));
        }
        Some(_) => {}
        None => {
            return Ok(Look::ours(format!(
                "the store has no {epoch}, which it gave this node at its start: was it restored from a backup? {CURE}"
            )));
        }
    }
    if let Some(key) = objects.lost(closely).await? {
        return Ok(Look::ours(format!(
            "the store had {key}, and has it no more or another in its place: was it restored from a backup? {CURE}"
        )));
    }
    Ok(Look::Same)
}

/// Whether the store's network goes on with the nodes of this one, by somebody's word.
async fn recovered(objects: &Objects, now: NetworkId, before: NetworkId) -> Result<bool, Error> {
    let found = objects.get_readable(&Key::Recovery(now)).await?;
    Ok(matches!(found, Some(Object::Recovery(recovery)) if recovery.follows(before)))
}

/// What a node remembers of this network from before its start, and the store does not have, if anything: it has gone
/// back. What it remembers of others is told by [`other`].
///
/// # Errors
/// The store's.
pub(crate) async fn gone_back(objects: &Objects, node: &str, seen: Earlier) -> Result<Option<String>, Error> {
    let since = |what: String, newest: u64| {
        Ok(Some(format!(
            "the store has gone back: before its start this node knew {what}, and the store's newest is {newest}: was it \
             restored from a backup? {CURE}"
        )))
    };
    let newest = Chain::Generations.newest(objects, 0).await?.unwrap_or(0);
    if newest < seen.generation {
        return since(format!("generation {}", seen.generation), newest);
    }
    let newest = Chain::Configs.newest(objects, 0).await?.unwrap_or(0);
    if newest < seen.config {
        return since(format!("version {} of the shared configuration", seen.config), newest);
    }
    let newest = Chain::Epochs(node.to_owned()).newest(objects, 0).await?.unwrap_or(0);
    if newest < seen.epoch {
        return since(format!("its epoch {}", seen.epoch), newest);
    }
    Ok(None)
}

/// What is to be said of networks that a node was of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Estranged {
    /// In words.
    pub(crate) why: String,
    /// It is over once the store's newest generation is above this one.
    pub(crate) until: u64,
}

/// What is to be said where a node knew newer generations of other networks before its start than the store has, and
/// nobody has recovered the store.
///
/// # Errors
/// The store's.
pub(crate) async fn other(
    objects: &Objects,
    memory: &Memory,
    now: NetworkId,
) -> Result<Option<Estranged>, Error> {
    let newest = Chain::Generations.newest(objects, 0).await?.unwrap_or(0);
    let mut known: Vec<(NetworkId, u64)> = memory
        .networks()
        .filter_map(|(before, generation)| Some((before.parse().ok()?, generation)))
        .filter(|(before, generation)| *before != now && *generation > 0 && *generation >= newest)
        .collect();
    known.sort_by_key(|(_, generation)| std::cmp::Reverse(*generation));
    for (before, until) in known {
        if !recovered(objects, now, before).await? {
            let why = format!(
                "this node was of network {before} before, with generations up to {until}, and the store is of network {now}: \
                 switches that remember refuse its generations; {CURE}"
            );
            return Ok(Some(Estranged { why, until }));
        }
    }
    Ok(None)
}

/// Who a node is in its store.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) network: NetworkId,
    /// Where the epoch of its start lies.
    pub(crate) epoch: Key,
    /// And what it has written there.
    pub(crate) nonce: String,
}

/// Looks until somebody has recovered the store, and shuts `objects` and its clones while it is not what it was.
pub(crate) async fn watch(objects: Objects, is: Identity, joins: CancellationToken) {
    let looks = objects.unguarded();
    let (mut suspected, mut number) = (false, 0_u32);
    let network = is.network;
    loop {
        sleep(if suspected { AGAIN } else { LOOK }).await;
        // Without an answer everything stays as it is: the store is away, or not what it was, as before.
        let closely = number % CLOSELY == 0;
        if closely {
            look_at_versioning(&looks).await;
        }
        let Ok(found) = look(&looks, &is, closely).await else { continue };
        // What was found closely is looked at closely again.
        let same = matches!(found, Look::Same);
        number = if closely && !same { 0 } else { number.wrapping_add(1) };
        match found {
            Look::Same => {
                suspected = false;
                if objects.open() {
                    tracing::info!(%network, "the store is this network's again");
                }
            }
            _ if !suspected => suspected = true,
            Look::Other { why, ours } => {
                if objects.shut(&why, ours) {
                    tracing::error!(alert = true, "{why}");
                }
            }
            Look::Recovered(now) => {
                objects.shut(&format!("the store was recovered as network {now}: this node joins it"), false);
                tracing::warn!(before = %network, %now, "the store was recovered: this node joins it once what runs has ended");
                joins.cancel();
                return;
            }
        }
    }
}
