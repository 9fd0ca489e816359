//! Asks nodes what they remember, and the store what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::Object;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::memory::Memory;
use super::plan::StoreState;
use crate::chain::{Chain, Survey};
use crate::daemon::newest_readable;
use crate::epoch::COMMANDS_NAME;
use crate::error::Error;
use crate::http::ask;
use crate::network;
use crate::objects::Objects;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nodes that are asked at a time.
const AT_ONCE: usize = 32;
/// Most keys that are named as somebody's garbage.
const MOST_STRAYS: usize = 20;

/// Where a node's memory is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its HTTP pages, at HOST:PORT.
    Http(String),
    /// A file: its memory, or a copy of its `/status`.
    File(PathBuf),
}

/// What each node remembers, or why it does not say.
pub async fn ask_nodes(sources: BTreeMap<String, Source>) -> BTreeMap<String, Result<Memory, String>> {
    let (mut waiting, mut asked, mut answers) = (sources.into_iter(), JoinSet::new(), BTreeMap::new());
    loop {
        while asked.len() < AT_ONCE
            && let Some((name, source)) = waiting.next()
        {
            asked.spawn(async move {
                let answer = match source {
                    Source::Http(place) => status(&place).await,
                    Source::File(path) => read(path).await,
                };
                let answer = answer.and_then(|memory| {
                    if memory.node == name { Ok(memory) } else { Err(format!("that is {}", memory.node)) }
                });
                (name, answer)
            });
        }
        match asked.join_next().await {
            None => return answers,
            Some(Ok((name, answer))) => drop(answers.insert(name, answer)),
            // A panic, which its own message has told.
            Some(Err(_)) => {}
        }
    }
}

/// What a node's file says. A file system may hang.
async fn read(path: PathBuf) -> Result<Memory, String> {
    let name = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || Memory::read(&path));
    match timeout(PATIENCE, read).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name} cannot be read within {} s", PATIENCE.as_secs())),
    }
}

/// What a node at HOST:PORT remembers.
async fn status(place: &str) -> Result<Memory, String> {
    let at = format!("http://{place}/status");
    let page = ask::page(place, "/status", PATIENCE).await?;
    if page.status != 200 {
        return Err(format!("{at}: HTTP status {}", page.status));
    }
    Memory::parse(&page.body).map_err(|error| format!("{at}: {error}"))
}

/// What the store has: its network, its newest numbers, its newest configuration that can be read.
///
/// # Errors
/// The store's.
pub async fn read_store(objects: &Objects) -> Result<(StoreState, Option<SharedConfig>), Error> {
    let network = match network::of(objects).await {
        Err(Error::Object(error)) => {
            tracing::warn!(%error, "the store's network cannot be read");
            None
        }
        network => network?,
    };
    let mut strays = Vec::new();
    let mut survey = async |chain: Chain| {
        let Survey { numbers, strays: more, lost } = chain.survey(objects, 0).await?;
        if let Some(lost) = lost {
            tracing::warn!("{}", chain.lost_words(lost));
        }
        let room = MOST_STRAYS.saturating_sub(strays.len());
        strays.extend(more.into_iter().take(room).map(|stray| chain.key(stray)));
        Ok::<_, Error>(numbers)
    };
    let generations = survey(Chain::Generations).await?;
    survey(Chain::Configs).await?;
    survey(Chain::Probes).await?;
    let of_generations = network::of_newest(objects, &generations).await?;
    let is_abandoned = match (network, of_generations) {
        (Some(network), Some(other)) if network != other => {
            let found = objects.get_readable(&Key::Recovery(other)).await?;
            // It began with another network than the store is of: one that ran beside it was faster.
            matches!(found, Some(Object::Recovery(recovery)) if !recovery.follows(network))
        }
        _ => false,
    };
    let follows = match network {
        Some(network) => match objects.get_readable(&Key::Recovery(network)).await? {
            Some(Object::Recovery(recovery)) => {
                recovery.before.iter().filter_map(|before| before.parse().ok()).collect()
            }
            _ => BTreeSet::new(),
        },
        None => BTreeSet::new(),
    };
    let config = newest_readable(objects).await?.config;
    let mut epochs = BTreeMap::new();
    let members =
        config.iter().flat_map(|(_, config)| config.members.iter().map(|member| member.name.clone()));
    for node in members.chain([COMMANDS_NAME.to_owned()]) {
        let newest = survey(Chain::Epochs(node.clone())).await?.last().copied();
        epochs.insert(node, newest.unwrap_or(0));
    }
    let (queued, _) = objects.list_all(&Prefix::Queue, 1).await?;
    let state = StoreState {
        network,
        of_generations,
        is_abandoned,
        follows,
        generation: generations.last().copied().unwrap_or(0),
        config: config.as_ref().map_or(0, |(version, _)| *version),
        epochs,
        is_queued: !queued.is_empty(),
        strays,
    };
    Ok((state, config.map(|(_, config)| config)))
}
