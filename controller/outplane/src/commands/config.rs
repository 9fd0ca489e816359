//! `outplane config`: the shared configuration that all nodes follow.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{MAX_CONFIG, Object, StoredConfig};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::daemon::LEFT;
use outplane_rmdp_node::file::StoreSettings;
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_wire::HintOf;
use serde::Serialize;

use crate::clocks;
use crate::exit::Exit;
use crate::node::{self, Node, NodeArguments};
use crate::options::Format;
use crate::output::{self, FAINT, GOOD, Report, columns, count, styled};
use crate::runtime;
use crate::standing;
use crate::times;

/// Arguments of `config`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the shared configuration
    #[command(disable_version_flag = true)]
    Get {
        /// This version [default: the newest]
        #[arg(long, value_name = "N")]
        version: Option<u64>,
        /// With every key: what was not said has its default
        #[arg(long)]
        effective: bool,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Check a shared configuration, and make it the newest version, which all nodes follow at once
    Set {
        /// TOML; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Sign with another key although some nodes do not say whether they have it: those that lack it hear nobody any
        /// more
        #[arg(long)]
        unproven_keys: bool,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Print a file for a person or CI, who append to the intent log and read, without a node's name and keys
    Client {
        /// What the intent log calls whoever applies with it
        #[arg(value_name = "NAME", value_parser = crate::node::author_name)]
        name: Option<String>,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// List the versions, with who set them when
    History {
        #[command(flatten)]
        node: NodeArguments,
    },
}

/// A version.
#[derive(Serialize)]
struct Got {
    version: u64,
    author: String,
    /// RFC 3339.
    set: String,
    /// What was not said has its default.
    effective: bool,
    toml: String,
}

/// What `set` did.
#[derive(Serialize)]
struct Set {
    version: u64,
    /// Nodes that got a hint; the others find it by themselves.
    told: usize,
    members: usize,
}

/// What a client's file says, but for its secrets.
#[derive(Serialize)]
struct Client {
    name: Option<String>,
    network: String,
    endpoints: Vec<String>,
    bucket: String,
    prefix: String,
    region: String,
    ca: Option<PathBuf>,
}

/// The versions.
#[derive(Serialize)]
struct History {
    versions: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    version: u64,
    author: String,
    set: String,
    bytes: usize,
}

/// Runs a subcommand.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    match &arguments.command {
        Command::Get { version, effective, node } => {
            let got = runtime::block_on(get(node.open()?, *version, *effective))??;
            output::print(format, &got)?;
        }
        Command::Set { file, unproven_keys, node } => {
            let text = read(file)?;
            let set = runtime::block_on(set(node.open()?, file, text, *unproven_keys))??;
            output::print(format, &set)?;
        }
        Command::Client { name, node } => {
            output::print(format, &runtime::block_on(client(node.open()?, name.clone()))??)?;
        }
        Command::History { node } => {
            let history = runtime::block_on(history(node.open()?))??;
            output::print(format, &history)?;
        }
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let most = MAX_CONFIG as u64 + 1;
    let mut text = String::new();
    let name = file.display();
    if file.as_os_str() == "-" {
        io::stdin().take(most).read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("cannot read {name}"))?;
        opened.take(most).read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
    }
    Ok(text)
}

async fn get(node: Node, version: Option<u64>, effective: bool) -> anyhow::Result<Got> {
    let version = match version {
        Some(version) => version,
        // What nodes follow: one that cannot be read is passed over, with a warning.
        None => node.shared().await?.0,
    };
    let Some(Object::Config(stored)) = node.objects.get(&Key::Config(version)).await? else {
        bail!(
            "there is no version {version} of the shared configuration; `outplane config history` lists them"
        );
    };
    let StoredConfig { version, mut toml, author, at_ms } = stored;
    if effective {
        let config = SharedConfig::from_toml(&toml);
        toml = config.with_context(|| format!("version {version} has no effect"))?.to_toml();
    }
    Ok(Got { version, author, set: times::time(at_ms), effective, toml })
}

async fn set(node: Node, file: &Path, toml: String, unproven_keys: bool) -> anyhow::Result<Set> {
    let config = SharedConfig::from_toml(&toml).with_context(|| file.display().to_string())?;
    let file = node.own("config set")?;
    let objects = &node.objects;
    objects.store().ensure_bucket().await?;
    network::ensure(objects, &node::author()).await?;
    // Nodes know the keys of the version before, if there is one.
    let before = outplane_rmdp_node::daemon::newest_config(objects).await?;
    if let Some((version, before)) = &before
        && config.grace() < before.grace()
    {
        all_follow(objects, before, *version).await?;
    }
    if let Some((_, before)) = &before
        && config.keys.sign_with != before.keys.sign_with
    {
        all_verify(objects, &config, unproven_keys).await?;
    }
    let author = node::author();
    let make = |version| {
        Object::Config(StoredConfig { version, toml: toml.clone(), author: author.clone(), at_ms: 0 })
    };
    let version = Chain::Configs.append(objects, make).await?;
    let mut told = 0;
    if let Some((_, before)) = before {
        match Hinter::new(objects, file, &before).await {
            Ok(mut hinter) => told = hinter.hint(HintOf::Config, version),
            Err(error) => tracing::warn!(%error, "nodes get no hint, they find it by themselves"),
        }
    }
    Ok(Set { version, told, members: config.members.len() })
}

/// A shorter grace counts once the one before has passed, and nobody claims by one that is older still: so all nodes that
/// live must follow the version before.
async fn all_follow(objects: &Objects, before: &SharedConfig, version: u64) -> anyhow::Result<()> {
    let mut behind = Vec::new();
    for status in standing::statuses(objects, before).await?.0 {
        let age = clocks::since(status.at_ms);
        if status.config < version && status.receiver != LEFT && age < before.grace() {
            behind.push(format!("{} follows {}", status.node, status.config));
        }
    }
    if !behind.is_empty() {
        bail!(
            "retention.grace_s is lowered while not all nodes follow version {version}: {}; they may still claim by a \
             longer one. Wait until they follow it (`outplane status`), or stop them and wait {} s",
            behind.join(", "),
            before.retention.grace_s
        );
    }
    Ok(())
}

async fn client(node: Node, name: Option<String>) -> anyhow::Result<Client> {
    let Some(network) = network::of(&node.objects).await? else {
        bail!("the store says no network yet: `outplane config set` issues one");
    };
    let StoreSettings { endpoints, bucket, prefix, region, ca, .. } = node.store().clone();
    Ok(Client { name, network: network.to_string(), endpoints, bucket, prefix, region, ca })
}

/// Whoever lacks the key that datagrams are signed with hears nobody any more: each member has to say that it has it. None
/// that says that it lacks it may follow, and silence is no proof.
async fn all_verify(objects: &Objects, config: &SharedConfig, unproven: bool) -> anyhow::Result<()> {
    let id = config.keys.sign_with;
    let (mut lacking, mut unknown) = (Vec::new(), Vec::new());
    let (mut statuses, _) = standing::statuses(objects, config).await?;
    for member in &config.members {
        let name = &member.name;
        let at = statuses.iter().position(|status| status.node == *name);
        let Some(status) = at.map(|at| statuses.swap_remove(at)) else {
            unknown.push(format!("{name} (no status)"));
            continue;
        };
        match status.keys {
            _ if !standing::is_live(&status) => unknown.push(format!("{name} (does not run)")),
            None => unknown.push(format!("{name} (its version of outplane does not say)")),
            Some(keys) if !keys.contains(&id) => lacking.push(name.clone()),
            Some(_) => {}
        }
    }
    let cure = "put its secret into [keys] of each node's file and restart the nodes one by one first";
    if !lacking.is_empty() {
        bail!(
            "keys.sign_with = {id}: {} cannot verify it: the secret is not in the file; {cure}",
            lacking.join(", ")
        );
    }
    if !unknown.is_empty() && !unproven {
        bail!(
            "keys.sign_with = {id}: nobody knows whether {} can verify it; {cure}, or say --unproven-keys",
            unknown.join(", ")
        );
    }
    Ok(())
}

async fn history(node: Node) -> anyhow::Result<History> {
    let mut versions = Vec::new();
    for version in Chain::Configs.numbers(&node.objects, 0).await? {
        let stored = node.objects.get_readable(&Key::Config(version)).await?;
        let Some(Object::Config(stored)) = stored else { continue };
        let (author, set, bytes) = (stored.author, times::time(stored.at_ms), stored.toml.len());
        versions.push(Line { version, author, set, bytes });
    }
    Ok(History { versions })
}

impl Report for Got {
    /// The configuration as it was written: it can be edited and set again.
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}{}", self.toml, if self.toml.ends_with('\n') { "" } else { "\n" })
    }
}

impl Report for Client {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        // A JSON string is a TOML string, too.
        let text = |value: &str| serde_json::Value::from(value).to_string();
        writeln!(
            out,
            "# For `outplane apply --config FILE` and commands that read. It makes no node of anybody.\n[client]"
        )?;
        if let Some(name) = &self.name {
            writeln!(out, "name = {}", text(name))?;
        }
        writeln!(out, "network = {}\n\n[store]", text(&self.network))?;
        let endpoints: Vec<String> = self.endpoints.iter().map(|url| text(url)).collect();
        writeln!(out, "endpoints = [{}]\nbucket = {}", endpoints.join(", "), text(&self.bucket))?;
        if !self.prefix.is_empty() {
            writeln!(out, "prefix = {}", text(&self.prefix))?;
        }
        writeln!(out, "region = {}", text(&self.region))?;
        if let Some(ca) = &self.ca {
            writeln!(out, "ca = {}", text(&ca.to_string_lossy()))?;
        }
        writeln!(out, "access_key = {{ env = \"OUTPLANE_ACCESS_KEY\" }}")?;
        writeln!(out, "secret_key = {{ env = \"OUTPLANE_SECRET_KEY\" }}")
    }
}

impl Report for Set {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let members = count(self.members, "member", "members");
        writeln!(out, "{} with {members}", styled(GOOD, format_args!("version {} is set", self.version)))?;
        let told = match self.told {
            0 => "nobody was told; nodes find it within a second".to_owned(),
            told => format!("{} told", count(told, "node was", "nodes were")),
        };
        writeln!(out, "{}", styled(FAINT, told))
    }
}

impl Report for History {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.versions.is_empty() {
            return writeln!(out, "{}", outplane_rmdp_node::Error::NoConfig);
        }
        let rows = self.versions.iter().map(|line| {
            vec![line.version.to_string(), line.set.clone(), line.author.clone(), line.bytes.to_string()]
        });
        columns(out, &["version", "set", "by", "bytes"], &[0, 3], rows)
    }
}
