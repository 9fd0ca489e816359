//! `outplane intent diff`.

use std::io::{self, Write};

use anyhow::bail;
use outplane_intent::changes::{self, Change, Changed};
use outplane_rmdp_node::generation::parsed;
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use super::{generation, numbers};
use crate::cli::Format;
use crate::exit::Exit;
use crate::node::NodeArguments;
use crate::output::{self, BAD, GOOD, HEAD, Report, WARN, count, styled};
use crate::runtime;

/// Changes that are printed for people.
const MOST: usize = 200;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The one that is compared with [default: the one before the other]
    #[arg(value_name = "FROM")]
    from: Option<u64>,
    /// The one that is compared [default: the newest]
    #[arg(value_name = "TO")]
    to: Option<u64>,
    #[command(flatten)]
    node: NodeArguments,
}

/// What differs.
#[derive(Serialize)]
pub(super) struct Difference {
    from: u64,
    to: u64,
    pub(super) changes: Vec<Change>,
    /// Switches that should hold something else.
    switches: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let work = async {
        let numbers = numbers(&node.objects).await?;
        let to = arguments.to.or_else(|| numbers.last().copied()).unwrap_or_default();
        let Some(from) =
            arguments.from.or_else(|| numbers.iter().rev().find(|number| **number < to).copied())
        else {
            bail!("the intent log has no generation before {to} to compare it with");
        };
        difference(&node.objects, from, to).await
    };
    output::print(format, &runtime::block_on(work)??)?;
    Ok(Exit::Done)
}

/// What one says otherwise than another.
pub(super) async fn difference(objects: &Objects, from: u64, to: u64) -> anyhow::Result<Difference> {
    let (before, after) = (generation(objects, from).await?, generation(objects, to).await?);
    let all = before.desired.keys().chain(after.desired.keys());
    let mut switches: Vec<String> =
        all.filter(|switch| before.desired.get(*switch) != after.desired.get(*switch)).cloned().collect();
    switches.sort();
    switches.dedup();
    let compare =
        move || Ok::<_, anyhow::Error>(changes::between(&parsed(&before)?.intent, &parsed(&after)?.intent));
    let changes = tokio::task::spawn_blocking(compare).await??;
    Ok(Difference { from, to, changes, switches })
}

impl Difference {
    /// The changes, a line each.
    pub(super) fn lines(&self, out: &mut dyn Write) -> io::Result<()> {
        for Change { object, rule, change } in self.changes.iter().take(MOST) {
            let rule = rule.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default();
            let (sign, more) = match change {
                Changed::Added => (styled(GOOD, "+"), ""),
                Changed::Removed => (styled(BAD, "-"), ""),
                Changed::Changed => (styled(WARN, "~"), ""),
                Changed::Reordered => (styled(WARN, "~"), ", the order of its rules"),
            };
            writeln!(out, "  {sign} {object}{rule}{more}")?;
        }
        if self.changes.len() > MOST {
            writeln!(out, "  and {}", count(self.changes.len() - MOST, "more change", "more changes"))?;
        }
        match self.switches.len() {
            0 => writeln!(out, "  no switch holds anything else for it"),
            _ => writeln!(out, "  switches that hold something else for it: {}", self.switches.join(", ")),
        }
    }
}

impl Report for Difference {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = format!("From generation {} to {}", self.from, self.to);
        writeln!(out, "{}", styled(HEAD, head))?;
        self.lines(out)
    }
}
