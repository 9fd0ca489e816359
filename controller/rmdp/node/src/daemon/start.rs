//! From a node's file to a node that can work.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outplane_rmdp_core::config::{Member, Role, SharedConfig};
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{MAX_BLOB, MAX_OBJECT, Object, limit};
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_store as store;
use outplane_rmdp_transport::{Destinations, Receiver, Sender, SenderSettings, Settings, Xdp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Setup, Started, keys};
use crate::chain::{Chain, POLL};
use crate::epoch::{COMMANDS, COMMANDS_NAME, Epoch};
use crate::error::Error;
use crate::file::{NodeFile, StoreSettings, XdpChoice};
use crate::http::{Lacking, Pages, Readiness, Server};
use crate::metrics::Metrics;
use crate::network::{self, Estranged};
use crate::objects::Objects;
use crate::recovery::Memory;

/// Newer versions of the shared configuration that are named when they are passed over.
const PASSED: usize = 5;

/// Between two tries to reach the store at start.
const PAUSE: Duration = Duration::from_secs(1);

/// What the store's client has to know.
pub fn store_settings(settings: &StoreSettings) -> store::Settings {
    let secret = store::Secret::new(settings.secret_key.expose().clone());
    let access_key = settings.access_key.expose().clone();
    store::Settings {
        region: settings.region.clone(),
        ca: settings.ca.clone(),
        attempt_timeout: settings.attempt_timeout,
        deadline: settings.call_timeout,
        prefix: settings.prefix.clone(),
        max_object: MAX_BLOB,
        bound: |key| Key::parse(key).map_or(MAX_OBJECT, |key| limit(&key)),
        ..store::Settings::new(settings.endpoints.clone(), settings.bucket.clone(), access_key, secret)
    }
}

/// What outlives the node's joining its network anew: its pages, and what they show.
pub(super) struct Served {
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) page: Arc<Mutex<serde_json::Value>>,
    pub(super) http: Option<SocketAddr>,
    /// The HTTP server ends with it.
    _tasks: JoinSet<()>,
}

/// Serves the pages of a node that starts. `memory` is what it remembers of before.
pub(super) async fn pages(setup: &Setup, memory: Option<&Memory>) -> Result<Served, Error> {
    let file = &setup.file;
    let word = match setup.role {
        Role::Distributor => "distributor",
        Role::Controller => "controller",
    };
    let metrics = Arc::new(Metrics::new(&file.name, word));
    let readiness = Readiness::of_node();
    let mut page = serde_json::json!({ "node": file.name, "role": word, "starting": true });
    if let Some(memory) = memory {
        page["remembers"] = serde_json::to_value(memory).unwrap_or_default();
    }
    let page = Arc::new(Mutex::new(page));
    let mut tasks = JoinSet::new();
    let http = serve(file, &metrics, &readiness, &page, &mut tasks).await?;
    Ok(Served { metrics, readiness, page, http, _tasks: tasks })
}

/// What the node remembers of before its start.
pub(super) async fn remembered(file: &NodeFile) -> Option<Memory> {
    let path = file.memory.clone()?;
    if !path.exists() {
        return None;
    }
    let read = tokio::task::spawn_blocking(move || Memory::read(&path)).await.ok()?;
    match read {
        Ok(memory) if memory.node == file.name => Some(memory),
        Ok(memory) => {
            tracing::warn!(
                alert = true,
                "the file of [state] memory is {}'s, and this node is {}: what it says is not taken over, and it is written over \
                 once this node has joined; name another file if {} still runs",
                memory.node,
                file.name,
                memory.node
            );
            None
        }
        Err(error) => {
            tracing::warn!(
                alert = true,
                "{error}: what this node remembered is lost; the file is written over once it has joined"
            );
            None
        }
    }
}

pub(super) async fn start(setup: &Setup, served: &Served, memory: Option<&Memory>) -> Result<Started, Error> {
    let (file, metrics, readiness) = (&setup.file, &served.metrics, &served.readiness);
    let objects = Objects::new(store::Store::new(store_settings(&file.store))?);
    usable(&objects, readiness).await?;
    let (version, config) = configuration(&objects, readiness).await?;
    member(&config, version, setup)?;
    let Joined { network, epoch, nonce, epochs, generation, estranged } =
        identity(&objects, &config, &file.name, readiness, memory).await?;
    let mut remembers = Memory::of_start(&file.name, network, epoch);
    if let Some(memory) = memory {
        remembers.join(memory);
    }
    remembers.follows(&config);
    metrics.set_generation(generation);
    let keys = keys::of(&config, file);
    let own = member(&config, version, setup)?;
    let receiver =
        Receiver::open(Settings { network, epochs, ..receiver_settings(file, &config, own, &keys) });
    let receiver = receiver.await.map_err(transport)?;
    let Some(key) = keys.sign else {
        return Err(Error::Member(format!(
            "version {version} of the shared configuration signs datagrams with key {}, whose secret is not in this \
             node's file; add it to [keys]",
            config.keys.sign_with
        )));
    };
    let sender = Sender::open(SenderSettings {
        network,
        sender: own.sender,
        epoch,
        key,
        interface: file.network.interface.clone(),
        destinations: destinations(&config, &file.name),
    });
    let sender = sender.map_err(transport)?;
    tell_members(&config, version, metrics);
    Ok(Started {
        objects,
        network,
        config: Arc::new(config),
        version,
        epoch,
        nonce,
        receiver,
        sender,
        metrics: Arc::clone(metrics),
        readiness: readiness.clone(),
        page: Arc::clone(&served.page),
        http: served.http,
        missing: keys.missing,
        generation,
        memory: remembers,
        estranged,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn transport(error: outplane_rmdp_transport::TransportError) -> Error {
    Error::Transport(error.to_string())
}

async fn serve(
    file: &NodeFile,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
    page: &Arc<Mutex<serde_json::Value>>,
    tasks: &mut JoinSet<()>,
) -> Result<Option<SocketAddr>, Error> {
    let Some(address) = file.http else { return Ok(None) };
    let server = Server::bind(address).await.map_err(|error| Error::Transport(error.to_string()))?;
    let address = server.address();
    let page = Arc::clone(page);
    let status = move || page.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let pages = Pages {
        metrics: metrics.source(readiness.clone()),
        readiness: readiness.clone(),
        status: Arc::new(status),
    };
    // It ends with the set.
    tasks.spawn(server.run(pages, CancellationToken::new()));
    Ok(Some(address))
}

/// Waits for the store, and refuses one that cannot be trusted with claims.
async fn usable(objects: &Objects, readiness: &Readiness) -> Result<(), Error> {
    let mut told = String::new();
    loop {
        let error = match Box::pin(objects.store().trial()).await {
            Ok(trial) => {
                let (writers, rounds) = (trial.writers, trial.rounds);
                let put_us = trial.put_p50.as_micros();
                tracing::info!(writers, rounds, put_us, "the store creates exactly once");
                for (endpoint, why) in trial.unreachable {
                    tracing::warn!(endpoint, why, "an endpoint of the store does not answer");
                }
                readiness.has(Lacking::Store);
                return Ok(());
            }
            Err(error) => error,
        };
        if is_final(&error) {
            return Err(error.into());
        }
        // A trial's keys are others each time.
        let trouble = error.trouble();
        if trouble != told {
            tracing::warn!(alert = true, "waiting for the store: {error}");
            readiness.lacks(Lacking::Store, error.to_string());
            told = trouble;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a store will not do whatever comes. All else may pass: a full store is swept, a clock is set, a right is
/// given, and whoever is there then goes on.
fn is_final(error: &store::Error) -> bool {
    matches!(
        error,
        store::Error::Settings(_) | store::Error::Versioned { .. } | store::Error::Dishonest { .. }
    )
}

/// The newest shared configuration that can be followed; waits for the first.
///
/// Newer ones are alerted of by whoever follows from here on, as it comes to them.
async fn configuration(objects: &Objects, readiness: &Readiness) -> Result<(u64, SharedConfig), Error> {
    let mut told = String::new();
    loop {
        let (why, trouble) = match newest_readable(objects).await {
            Ok(Readable { config: Some(config), .. }) => {
                readiness.has(Lacking::Store);
                return Ok(config);
            }
            Ok(Readable { config: None, passed }) => {
                let passed = passed.join("; ");
                let none = Error::NoConfig.to_string();
                let why = if passed.is_empty() { none } else { format!("{none}; {passed}") };
                readiness.lacks(Lacking::Configuration, why.clone());
                (why.clone(), why)
            }
            Err(Error::Store(error)) if !is_final(&error) => {
                let why = error.to_string();
                readiness.lacks(Lacking::Store, why.clone());
                (why, error.trouble())
            }
            Err(error) => return Err(error),
        };
        if trouble != told {
            tracing::warn!(alert = true, "waiting: {why}");
            told = trouble;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What looking for the newest shared configuration has found.
#[derive(Clone, Debug)]
pub struct Readable {
    /// The newest that can be read and makes sense, if there is one.
    pub config: Option<(u64, SharedConfig)>,
    /// Newer ones that were passed over, in words.
    pub passed: Vec<String>,
}

/// The newest shared configuration that can be read and makes sense.
///
/// # Errors
/// The store's.
pub async fn newest_readable(objects: &Objects) -> Result<Readable, Error> {
    let mut passed = Vec::new();
    for version in Chain::Configs.numbers(objects, 0).await?.into_iter().rev() {
        let why = match objects.get(&Chain::Configs.key(version)).await {
            Ok(Some(Object::Config(stored))) => match SharedConfig::from_toml(&stored.toml) {
                Ok(config) => return Ok(Readable { config: Some((version, config)), passed }),
                Err(source) => Error::Config { version, source }.to_string(),
            },
            // It was swept meanwhile.
            Ok(_) => continue,
            Err(error @ Error::Object(_)) => error.to_string(),
            Err(error) => return Err(error),
        };
        if passed.len() < PASSED {
            passed.push(why);
        }
    }
    Ok(Readable { config: None, passed })
}

/// The newest shared configuration that can be read and makes sense, if there is one. Newer ones draw a warning.
///
/// # Errors
/// The store's.
pub async fn newest_config(objects: &Objects) -> Result<Option<(u64, SharedConfig)>, Error> {
    let Readable { config, passed } = newest_readable(objects).await?;
    for why in passed {
        tracing::warn!("a newer version of the shared configuration is passed over: {why}; set it again");
    }
    Ok(config)
}

/// The grace of the version before this one, which others may still follow. None if there is none that can be read.
pub(super) async fn grace_before(objects: &Objects, version: u64) -> Option<Duration> {
    let key = Chain::Configs.key(version.checked_sub(1)?);
    match objects.get(&key).await {
        Ok(Some(Object::Config(stored))) => Some(SharedConfig::from_toml(&stored.toml).ok()?.grace()),
        _ => None,
    }
}

/// Who a node is in the network that it has joined.
struct Joined {
    network: NetworkId,
    epoch: u64,
    nonce: String,
    /// The newest ones of the others.
    epochs: BTreeMap<u32, u64>,
    /// The newest generation of the log; 0 for none.
    generation: u64,
    /// What is to be said of the networks that it was of before.
    estranged: Option<Estranged>,
}

/// The network, the stream epoch of this start, and the newest ones of the others; waits for the store, also for one that
/// has gone back to before what this node remembers.
async fn identity(
    objects: &Objects,
    config: &SharedConfig,
    node: &str,
    readiness: &Readiness,
    memory: Option<&Memory>,
) -> Result<Joined, Error> {
    let mut epoch = Epoch::new(node)?;
    let mut told = String::new();
    loop {
        let all = async {
            let network = network::ensure(objects, node).await?;
            let mut estranged = None;
            if let Some(memory) = memory {
                if let Some(seen) = memory.seen_in(network)
                    && let Some(why) = network::gone_back(objects, node, seen).await?
                {
                    return Err(Error::OtherStore(why));
                }
                estranged = network::other(objects, memory, network).await?;
            }
            let number = epoch.take(objects).await?;
            let nonce = epoch.nonce().to_owned();
            let epochs = epochs(objects, config).await?;
            let generation = Chain::Generations.newest(objects, 0).await?.unwrap_or(0);
            Ok(Joined { network, epoch: number, nonce, epochs, generation, estranged })
        };
        let (why, level) = match all.await {
            Ok(joined) => {
                readiness.has(Lacking::Store);
                return Ok(joined);
            }
            Err(error @ Error::Store(_)) if !matches!(&error, Error::Store(error) if is_final(error)) => {
                (error, "waiting for the store")
            }
            // What somebody has to put right.
            Err(
                error @ (Error::Object(_)
                | Error::NetworkLost(_)
                | Error::NetworkGone(_)
                | Error::OtherStore(_)),
            ) => (error, "waiting"),
            Err(error) => return Err(error),
        };
        let trouble = why.trouble();
        if trouble != told {
            tracing::error!(alert = true, "{level}: {why}");
            readiness.lacks(Lacking::Store, why.to_string());
            told = trouble;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The newest start of each sender, as far as the store tells.
async fn epochs(objects: &Objects, config: &SharedConfig) -> Result<BTreeMap<u32, u64>, Error> {
    let mut newest = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = objects.list(&Prefix::Epochs, after.as_deref()).await?;
        for listed in page.keys {
            let Key::Epoch(node, epoch) = listed.key else { continue };
            let commands = (node == COMMANDS_NAME).then_some(COMMANDS);
            if let Some(sender) = config.member(&node).map(|member| member.sender).or(commands) {
                let known: &mut u64 = newest.entry(sender).or_default();
                *known = epoch.max(*known);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(newest),
        }
    }
}

pub(super) fn member<'c>(config: &'c SharedConfig, version: u64, setup: &Setup) -> Result<&'c Member, Error> {
    let name = &setup.file.name;
    let member = config.member(name).ok_or_else(|| {
        Error::Member(format!(
            "version {version} of the shared configuration has no member `{name}`; add it with `outplane config set`, \
             or correct `name` in the node's file"
        ))
    })?;
    if member.role == setup.role {
        return Ok(member);
    }
    let (is, wants) = match member.role {
        Role::Distributor => ("distributor", "controller"),
        Role::Controller => ("controller", "distributor"),
    };
    Err(Error::Member(format!(
        "version {version} of the shared configuration says that `{name}` is a {is}: start it with `outplane {is}`, \
         not `outplane {wants}`"
    )))
}

pub(super) fn senders(config: &SharedConfig) -> Vec<u32> {
    config.members.iter().map(|member| member.sender).chain([COMMANDS]).collect()
}

/// Where a node sends: the groups, and the other members' addresses where multicast cannot go.
pub(super) fn destinations(config: &SharedConfig, own: &str) -> Destinations {
    let datagrams = &config.datagrams;
    let fan_out = datagrams.fan_out || datagrams.groups.is_empty();
    let others = config.members.iter().filter(|member| fan_out && member.name != own);
    Destinations {
        groups: datagrams.groups.clone(),
        port: datagrams.port,
        ttl: datagrams.ttl,
        unicast: others.map(|member| member.address).collect(),
    }
}

pub(super) fn tell_members(config: &SharedConfig, version: u64, metrics: &Metrics) {
    metrics.set_config_version(version);
    metrics.set_members(config.members.iter().map(|member| (member.sender, member.name.clone())).collect());
}

fn receiver_settings(file: &NodeFile, config: &SharedConfig, own: &Member, keys: &keys::Keys) -> Settings {
    let port = own.address.port();
    let unicast = if file.network.bind.is_empty() {
        vec![own.address]
    } else {
        file.network.bind.iter().map(|address| SocketAddr::new(*address, port)).collect()
    };
    Settings {
        interface: file.network.interface.clone(),
        xdp: match file.network.xdp {
            XdpChoice::Auto => Xdp::Auto,
            XdpChoice::Required => Xdp::Required,
            XdpChoice::Off => Xdp::Off,
        },
        pin_root: file.pin_root.clone(),
        groups: config.datagrams.groups.clone(),
        port: config.datagrams.port,
        unicast,
        keys: keys.accept.clone(),
        senders: senders(config),
        ..Settings::default()
    }
}
