//! `outplane store backup`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use outplane_rmdp_node::backup::{self, Summary};
use serde::Serialize;
use tokio::fs::File;
use tokio::io::BufWriter;

use super::half::{Half, unfinished};
use crate::exit::Exit;
use crate::node::{self, Node, NodeArguments};
use crate::options::Format;
use crate::output::{self, FAINT, GOOD, Report, count, grouped, styled};
use crate::runtime;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Where to write it; `-` is standard output. A file that is there is not written over
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    node: NodeArguments,
}

/// What was written.
#[derive(Serialize)]
struct Taken {
    file: String,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let file = &arguments.file;
    let is_stdout = file.as_os_str() == "-";
    if !is_stdout && file.exists() {
        bail!("{} is there already; name another file", file.display());
    }
    let taken = runtime::block_on(async {
        runtime::interruptible(async {
            if is_stdout { to_stdout(&node).await } else { to_file(&node, file).await }
        })
        .await
    })??;
    let Some(summary) = taken else { return Ok(Exit::Interrupted) };
    let taken = Taken { file: file.display().to_string(), summary: summary? };
    if taken.summary.objects == 0 {
        let store = node.store();
        tracing::warn!(
            bucket = store.bucket,
            prefix = store.prefix,
            "the store has nothing of Outplane's: is this the right bucket, and the right prefix?"
        );
    }
    if is_stdout {
        // Standard output has the backup.
        tracing::info!(objects = taken.summary.objects, bytes = taken.summary.bytes, "written");
    } else {
        output::print(format, &taken)?;
    }
    Ok(Exit::Done)
}

async fn to_stdout(node: &Node) -> anyhow::Result<Summary> {
    Ok(backup::take(&node.objects, tokio::io::stdout(), &node::author()).await?)
}

/// Under its name only when it is whole.
async fn to_file(node: &Node, file: &Path) -> anyhow::Result<Summary> {
    let beside = unfinished(file);
    let name = beside.display().to_string();
    let cannot = || format!("cannot write {name}");
    let out = File::create_new(&beside).await.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow!(
            "{name} is there: another backup is at work, or one was killed; delete it if none is, or name another file"
        ),
        _ => anyhow::Error::new(error).context(cannot()),
    })?;
    let half = Half::of(&beside);
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let summary = backup::take(&node.objects, &mut out, &node::author()).await?;
    out.get_ref().sync_all().await.with_context(cannot)?;
    // Another may have been written there meanwhile, which stays.
    let (from, to) = (beside.clone(), file.to_owned());
    let moved = tokio::task::spawn_blocking(move || move_to(&from, &to)).await.with_context(cannot)?;
    moved.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow!("{} is there already; name another file", file.display()),
        _ => anyhow::Error::new(error).context(cannot()),
    })?;
    half.keep();
    Ok(summary)
}

/// Gives a file its name, unless that is taken.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links; there it was looked at before.
        Err(_) => std::fs::rename(from, to),
    }
}

/// What a backup has, for people.
pub(super) fn words(summary: &Summary) -> String {
    let Summary { objects, bytes, network, generation, config, .. } = summary;
    let objects = count(usize::try_from(*objects).unwrap_or(usize::MAX), "object", "objects");
    let network = network.as_ref().map_or_else(String::new, |network| format!(", network {network}"));
    format!("{objects}, {} bytes: generation {generation}, configuration {config}{network}", grouped(*bytes))
}

/// What it does not have.
pub(super) fn left_out(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let many = |number| usize::try_from(number).unwrap_or(usize::MAX);
    if summary.unreadable > 0 {
        let objects = count(many(summary.unreadable), "object is", "objects are");
        writeln!(out, "  {objects} left out: larger than allowed, so that nobody reads them")?;
    }
    if summary.strangers > 0 {
        let keys = count(many(summary.strangers), "key", "keys");
        writeln!(out, "  {keys} of others in the bucket left out")?;
    }
    Ok(())
}

impl Report for Taken {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", styled(GOOD, "backed up to"), self.file)?;
        writeln!(out, "  {}", styled(FAINT, words(&self.summary)))?;
        left_out(out, &self.summary)
    }
}
