//! `outplane store recover`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use outplane_intent::model::Switch;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::object::MAX_CONFIG;
use outplane_rmdp_node::recovery::{self, Carried, Memory, Plan, Remembered, Source, StoreState};
use outplane_rmdp_store::Error as StoreError;

use super::report::{Recovered, nodes_of, switches_of};
use crate::exit::{Exit, Usage};
use crate::input;
use crate::node::{self, Node, NodeArguments};
use crate::options::Format;
use crate::output;
use crate::runtime;
use crate::targets::{host_and_port, seconds};

/// How often everybody is asked while the shared configuration changes.
const TRIES: u32 = 3;
/// How long nodes may take to join.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Policies whose Switch objects say where switches are that neither the store nor the shared configuration knows
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Ask everybody and show what would be done; nothing is written
    #[arg(long)]
    dry_run: bool,
    /// Where a node says what it remembers: HOST:PORT of its [http] pages (a name or an address), or a file (its [state]
    /// memory, a copy of its /status); may be repeated [default: `http` of the member in the shared configuration]
    #[arg(long, value_name = "NAME=WHERE", value_parser = named)]
    node: Vec<(String, String)>,
    /// Go on without the answer of this node or switch, and accept what that risks; may be repeated
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
    /// The shared configuration, for a store that has none; it is set on the way
    #[arg(long, value_name = "FILE")]
    shared: Option<PathBuf>,
    /// Recover although nothing shows that the store has gone back
    #[arg(long)]
    anyway: bool,
    /// Folder of the certificates and keys that the shared configuration names for switches [default: `tls` beside the
    /// node's file]
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// How long nodes may take to join the recovered store [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    config: NodeArguments,
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, place)) if !name.is_empty() && !place.is_empty() => {
            Ok((name.to_owned(), place.to_owned()))
        }
        _ => Err("write NAME=HOST:PORT or NAME=FILE".to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.config.open()?;
    node.own("store recover")?;
    let shared = arguments.shared.as_deref().map(shared).transpose()?;
    let files = if arguments.files.is_empty() {
        BTreeMap::new()
    } else {
        input::read(&arguments.files)?.intent.switches
    };
    let recovered = runtime::block_on(runtime::interruptible(recover(arguments, &node, shared, files)))??;
    let Some(recovered) = recovered else { return Ok(Exit::Interrupted) };
    let (recovered, exit) = recovered?;
    output::print(format, &recovered)?;
    Ok(exit)
}

/// A shared configuration that makes sense, and its text.
fn shared(file: &Path) -> anyhow::Result<(String, SharedConfig)> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    if text.len() > MAX_CONFIG {
        bail!("{name} has {} bytes, at most {MAX_CONFIG} are taken", text.len());
    }
    let config = SharedConfig::from_toml(&text).with_context(|| name)?;
    Ok((text, config))
}

async fn recover(
    arguments: &Arguments,
    node: &Node,
    shared: Option<(String, SharedConfig)>,
    files: BTreeMap<String, Switch>,
) -> anyhow::Result<(Recovered, Exit)> {
    let objects = &node.objects;
    if !arguments.dry_run {
        objects.store().ensure_bucket().await?;
    }
    let Gathered { store, nodes, switches, sources, toml } =
        gather(arguments, node, shared.as_ref(), &files).await?;
    let without: BTreeSet<String> = arguments.without.iter().cloned().collect();
    let plan = recovery::plan(&store, &nodes, &switches, &without);
    meant(&without, &plan)?;
    let mut recovered = Recovered::new(arguments.dry_run, &store, &plan);
    (recovered.nodes, recovered.switches) = (nodes_of(&nodes), switches_of(&switches));
    if !plan.unanswered.is_empty() {
        return Ok((recovered, Exit::Failed));
    }
    recovered.needed = !plan.signs.is_empty() || arguments.anyway;
    if arguments.dry_run || !recovered.needed {
        return Ok((recovered, Exit::Done));
    }
    let Carried { network, is_set } =
        recovery::carry_out(objects, &plan, toml.as_deref(), &node::author()).await?;
    recovered.network = Some(network.to_string());
    recovered.shared_set = is_set;
    let asked = sources.into_iter().filter(|(name, source)| {
        matches!(source, Source::Http(_)) && nodes.get(name).is_some_and(Result::is_ok)
    });
    let asked: BTreeMap<String, Source> = asked.collect();
    let patience = arguments.timeout.unwrap_or(PATIENCE);
    let awaited = recovery::joined(objects, &asked, network, patience).await;
    let is_whole = awaited.missing.is_empty() && awaited.overtaken.is_none();
    let exit = if is_whole && is_set != Some(false) { Exit::Done } else { Exit::Failed };
    recovered.joins(asked.keys(), awaited);
    Ok((recovered, exit))
}

/// What everybody says.
struct Gathered {
    /// Read after the others were asked: what they know by then it has, unless it has gone back.
    store: StoreState,
    nodes: BTreeMap<String, Result<Memory, String>>,
    switches: BTreeMap<String, Result<Remembered, String>>,
    /// Where nodes were asked.
    sources: BTreeMap<String, Source>,
    /// The shared configuration that is to be set.
    toml: Option<String>,
}

/// Asks everybody. The store's configuration says whom; if that changes meanwhile, once more.
async fn gather(
    arguments: &Arguments,
    node: &Node,
    shared: Option<&(String, SharedConfig)>,
    files: &BTreeMap<String, Switch>,
) -> anyhow::Result<Gathered> {
    let mut before = state(arguments, node).await?;
    for _ in 0..TRIES {
        let (toml, config) = followed(&before, shared)?;
        let mut sources = sources(arguments, &config);
        let mut nodes = recovery::ask_nodes(sources.clone()).await;
        // A configuration that the store has lost may have had more members.
        let more = recovery::also_to_ask(&before.0, &nodes).into_iter();
        let more: BTreeMap<String, Source> =
            more.map(|(name, http)| (name, Source::Http(http.to_string()))).collect();
        nodes.extend(recovery::ask_nodes(more.clone()).await);
        sources.extend(more);
        for member in &config.members {
            nodes.entry(member.name.clone()).or_insert_with(|| {
                Err("nobody says where it is to be asked: `http` in the shared configuration, or --node NAME=HOST:PORT".to_owned())
            });
        }
        let switches = switches(arguments, node, &config, files).await?;
        // An apply that came meanwhile is in the store before anybody knows of it.
        let after = state(arguments, node).await?;
        if after.0.config == before.0.config {
            return Ok(Gathered { store: after.0, nodes, switches, sources, toml });
        }
        before = after;
    }
    bail!("the shared configuration changes all the time: run this again when it has been set")
}

/// The configuration that says who is to be asked, and its text if it is to be set.
fn followed(
    (store, of_store): &(StoreState, Option<SharedConfig>),
    shared: Option<&(String, SharedConfig)>,
) -> anyhow::Result<(Option<String>, SharedConfig)> {
    match (of_store, shared) {
        (Some(_), Some(_)) => bail!(
            "the store has a shared configuration, version {}: --shared is for one that has none; `outplane config set` changes it \
             after the recovery",
            store.config
        ),
        (Some(config), None) => Ok((None, config.clone())),
        (None, Some((toml, config))) => Ok((Some(toml.clone()), config.clone())),
        (None, None) => bail!(
            "the store has no shared configuration, so nobody knows whom to ask: give it with --shared FILE, which sets it on the way"
        ),
    }
}

/// What all switches remember that anybody knows of.
async fn switches(
    arguments: &Arguments,
    node: &Node,
    config: &SharedConfig,
    files: &BTreeMap<String, Switch>,
) -> anyhow::Result<BTreeMap<String, Result<Remembered, String>>> {
    let tls = arguments.tls.clone().unwrap_or_else(|| beside(&arguments.config.path()));
    let known = recovery::targets(&node.objects, config, files, &tls).await?;
    let (mut targets, mut switches) = (Vec::new(), BTreeMap::new());
    for (name, target) in known {
        let why = match target {
            Ok(target) => {
                targets.push(target);
                "it was not asked to the end".to_owned()
            }
            Err(why) => why,
        };
        switches.insert(name, Err(why));
    }
    switches.extend(recovery::ask_switches(targets).await);
    Ok(switches)
}

/// What the store has. A bucket that is not there has nothing.
async fn state(arguments: &Arguments, node: &Node) -> anyhow::Result<(StoreState, Option<SharedConfig>)> {
    match recovery::read_store(&node.objects).await {
        Err(outplane_rmdp_node::Error::Store(StoreError::NoBucket { .. })) if arguments.dry_run => {
            Ok((StoreState::default(), None))
        }
        state => Ok(state?),
    }
}

/// Where each node is asked. One that is no member may be one by a configuration that the store has lost.
fn sources(arguments: &Arguments, config: &SharedConfig) -> BTreeMap<String, Source> {
    let of_config =
        config.members.iter().filter_map(|member| Some((member.name.clone(), member.http?.to_string())));
    let mut sources: BTreeMap<String, Source> =
        of_config.map(|(name, http)| (name, Source::Http(http))).collect();
    for (name, place) in &arguments.node {
        sources.insert(name.clone(), source(place));
    }
    sources
}

/// HOST:PORT, or a file; with a slash it is a file whatever its name is.
fn source(place: &str) -> Source {
    match host_and_port(place) {
        Ok(place) => Source::Http(place),
        Err(_) => Source::File(place.into()),
    }
}

/// Whoever is to be left out is one that has not answered.
fn meant(without: &BTreeSet<String>, plan: &Plan) -> anyhow::Result<()> {
    let left: BTreeSet<&String> = plan.left_out.iter().map(|left| &left.name).collect();
    if let Some(name) = without.iter().find(|name| !left.contains(name)) {
        return Err(Usage(format!(
            "--without {name}: it has answered, or is neither a member of the shared configuration nor a switch"
        ))
        .into());
    }
    Ok(())
}

/// Where daemons have it.
fn beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("tls")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_by_name_by_address_or_in_a_file() {
        for place in ["c1.example:9090", "localhost:9090", "192.0.2.1:9090", "[2001:db8::1]:9090"] {
            assert_eq!(source(place), Source::Http(place.to_owned()));
        }
        for place in ["c1.json", "/var/lib/outplane/c1.json", "./c1:9090", "c1:status", "c1"] {
            assert_eq!(source(place), Source::File(place.into()));
        }
    }
}
