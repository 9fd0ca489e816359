//! `outplane store restore`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use outplane_embedded_store::{Keys, Server, Settings};
use outplane_rmdp_core::object::MAX_BLOB;
use outplane_rmdp_node::backup::{self, BackupError, Restored, Verified};
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store as client;
use serde::Serialize;
use tokio::fs::{self, File};
use tokio::io::BufReader;
use tokio::net::TcpListener;

use super::backup::{left_out, words};
use super::half::{Half, unfinished};
use crate::exit::Exit;
use crate::node::{Node, NodeArguments};
use crate::options::Format;
use crate::output::{self, GOOD, Report, WARN, styled, wrapped};
use crate::runtime;
use crate::times;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Restore into this folder, for the embedded store, which must not run on it; the folder must be empty or not there
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// With --dir: the bucket
    #[arg(long, value_name = "NAME", requires = "dir", default_value = "outplane")]
    bucket: String,
    /// With --dir: what stands before every key, as `prefix` of the nodes' files says
    #[arg(long, value_name = "PREFIX", requires = "dir", default_value = "")]
    prefix: String,
    /// Nothing was written to the store since the backup was taken: nodes go on with it as it is. Otherwise they wait until
    /// `outplane store recover` was run
    #[arg(long)]
    as_it_was: bool,
    /// Restore a backup that has nothing, or numbers that nobody comes to by working with the store
    #[arg(long)]
    anyway: bool,
    /// Check the backup and whether the store is empty, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    node: NodeArguments,
}

/// What was done.
#[derive(Serialize)]
struct Done {
    /// Where to.
    into: String,
    dry_run: bool,
    /// RFC 3339.
    taken: String,
    by: String,
    /// The file with the keys that clients of the new store have to have; null: the store was there before.
    keys: Option<String>,
    /// What is strange about the backup, which was restored anyway.
    doubts: Vec<String>,
    #[serde(flatten)]
    restored: Restored,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = match &arguments.dir {
        Some(_) => None,
        None => Some(arguments.node.open()?),
    };
    let done = runtime::block_on(async {
        runtime::interruptible(async {
            match (&arguments.dir, &node) {
                (Some(folder), _) => into_folder(arguments, folder).await,
                (None, Some(node)) => into_store(arguments, node).await,
                (None, None) => bail!("nobody says where the store is"),
            }
        })
        .await
    })??;
    let Some(done) = done else { return Ok(Exit::Interrupted) };
    output::print(format, &done?)?;
    Ok(Exit::Done)
}

async fn open(file: &Path) -> anyhow::Result<BufReader<File>> {
    // A pipe would be waited for without end.
    let metadata = fs::metadata(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    if !metadata.is_file() {
        bail!("cannot read {}: it is no regular file", file.display());
    }
    let opened = File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(BufReader::with_capacity(1 << 20, opened))
}

/// Reads the whole file first: what is damaged restores nothing, nor what no store of ours has come to, unless that is
/// meant.
async fn verified(arguments: &Arguments) -> anyhow::Result<Verified> {
    let file = arguments.file.display();
    let verified = backup::verify(open(&arguments.file).await?).await.with_context(|| file.to_string())?;
    if !verified.doubts.is_empty() && !arguments.anyway {
        bail!(
            "{file}: {}; restore another backup, or this one with --anyway if that is what the store is to have",
            verified.doubts.join("; ")
        );
    }
    for doubt in &verified.doubts {
        tracing::warn!("{doubt}");
    }
    Ok(verified)
}

async fn into_store(arguments: &Arguments, node: &Node) -> anyhow::Result<Done> {
    let verified = verified(arguments).await?;
    let settings = &node.own("store restore")?.store;
    let into = format!("bucket {} at {}", settings.bucket, settings.endpoints.join(", "));
    if !arguments.dry_run {
        node.objects.store().ensure_bucket().await?;
    }
    match backup::is_empty(&node.objects).await {
        Err(BackupError::Store(outplane_rmdp_node::Error::Store(error)))
            if arguments.dry_run && is_no_bucket(&error) => {}
        empty => empty?,
    }
    let restored = restored(arguments, &node.objects, &verified).await?;
    Ok(done(arguments, into, verified, restored))
}

/// The bucket is not there: so it is empty.
fn is_no_bucket(error: &client::Error) -> bool {
    matches!(error, client::Error::NoBucket { .. })
}

async fn restored(arguments: &Arguments, objects: &Objects, verified: &Verified) -> anyhow::Result<Restored> {
    let as_it_was = arguments.as_it_was;
    if arguments.dry_run {
        let mut summary = verified.summary.clone();
        if !as_it_was && summary.network.take().is_some() {
            summary.objects -= 1;
        }
        return Ok(Restored { summary, as_it_was });
    }
    let restored = backup::restore(objects, open(&arguments.file).await?, as_it_was).await;
    restored.with_context(|| arguments.file.display().to_string())
}

fn done(arguments: &Arguments, into: String, verified: Verified, restored: Restored) -> Done {
    let Verified { at_ms, by, doubts, .. } = verified;
    let keys = arguments.dir.as_ref().filter(|_| !arguments.dry_run);
    let keys = keys.map(|folder| folder.join("keys").display().to_string());
    Done { into, dry_run: arguments.dry_run, taken: times::time(at_ms), by, keys, doubts, restored }
}

/// Beside the folder, which gets its name when all is there.
async fn into_folder(arguments: &Arguments, folder: &Path) -> anyhow::Result<Done> {
    let name = folder.display().to_string();
    let verified = verified(arguments).await?;
    match fs::read_dir(folder).await {
        Ok(mut entries) => {
            if entries.next_entry().await.with_context(|| format!("cannot read {name}"))?.is_some() {
                bail!("{name} is not empty: a backup is restored into a folder that is empty, or not there");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
    }
    let beside = unfinished(folder);
    if fs::try_exists(&beside).await.unwrap_or(true) {
        bail!(is_left(&beside));
    }
    if arguments.dry_run {
        let restored = Restored { summary: verified.summary.clone(), as_it_was: arguments.as_it_was };
        return Ok(done(arguments, name, verified, restored));
    }
    // Whoever makes it owns it: of two restores at a time one is refused.
    if let Some(parents) = beside.parent() {
        fs::create_dir_all(parents).await.with_context(|| format!("cannot write {}", parents.display()))?;
    }
    fs::create_dir(&beside).await.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow!(is_left(&beside)),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", beside.display())),
    })?;
    let half = Half::of(&beside);
    let restored = served(arguments, &beside, &verified).await?;
    // Over an empty folder, and over no other.
    fs::rename(&beside, folder).await.with_context(|| format!("cannot write {name}"))?;
    half.keep();
    Ok(done(arguments, name, verified, restored))
}

/// By an embedded store that nobody else knows of.
async fn served(arguments: &Arguments, folder: &Path, verified: &Verified) -> anyhow::Result<Restored> {
    // Those that the store goes on with, unless somebody gives it others.
    let (keys, _) = Keys::in_folder(folder)?;
    let (access, secret) = (keys.access.clone(), client::Secret::new(keys.secret.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
    let settings = Settings { buckets: vec![arguments.bucket.clone()], ..Settings::new(folder, keys) };
    let server = Server::start(listener, settings).await?;
    let endpoint = format!("http://{}", server.address());
    let settings = client::Settings {
        prefix: arguments.prefix.clone(),
        max_object: MAX_BLOB,
        ..client::Settings::new(vec![endpoint], arguments.bucket.clone(), access, secret)
    };
    let objects = Objects::new(client::Store::new(settings)?);
    let restored = restored(arguments, &objects, verified).await;
    server.shutdown().await?;
    restored
}

fn is_left(beside: &Path) -> String {
    format!(
        "{} is there: another restore is at work, or one was cut off; delete it if none is",
        beside.display()
    )
}

impl Report for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { into, dry_run, taken, by, keys, doubts: _, restored } = self;
        let did =
            if *dry_run { styled(WARN, "would be restored into") } else { styled(GOOD, "restored into") };
        writeln!(out, "{did} {into}")?;
        writeln!(out, "  taken {taken} by {by}; {}", words(&restored.summary))?;
        left_out(out, &restored.summary)?;
        if let Some(keys) = keys {
            let keys = format!(
                "a store on this folder takes the keys of {keys}: give them to the nodes, or start it with those that the nodes \
                 have (`outplane store --keys FILE`)"
            );
            wrapped(out, 2, 4, &keys)?;
        }
        if restored.as_it_was {
            return Ok(());
        }
        let waits = "nodes wait until `outplane store recover` was run: what was given out since the backup must not be given \
                     again";
        wrapped(out, 2, 4, waits)
    }
}
