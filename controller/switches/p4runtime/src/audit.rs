//! Whether a switch holds what it should, without a write.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use outplane_compiler::plan::{self, Counts};
use outplane_compiler::state::{Change, Desired, Installed, Origin, Plan};
use outplane_p4runtime_client::Primacy;

use crate::connection::Connection;
use crate::errors::Error;
use crate::pipeline::Push;
use crate::write::origin_of;

/// Rules that are named.
const NAMED: usize = 5;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// This session is the switch's primary, or the switch knows no primaries.
    pub is_primary: bool,
    /// The version of the policy that packets see; none: it does not run our program.
    pub version: Option<u8>,
    /// How what it holds differs from what it should hold; none: it does not.
    pub difference: Option<Difference>,
}

/// A difference, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the switch holds.
    pub seen: String,
    /// What it lacks and has too much of.
    pub what: String,
}

impl Connection {
    /// Compares what the switch holds with what it should hold; and what it holds, where that is the same and all of it can
    /// be read.
    pub(crate) async fn audit(&self, desired: &Desired) -> Result<(Audited, Option<Installed>), Error> {
        let mut version = None;
        let mut held = None;
        let difference = match self.read_if_ours(Push::IfDifferent).await? {
            None => Some(Difference {
                seen: match self.cookie().await? {
                    None => "no pipeline that says its name".to_owned(),
                    Some(cookie) => format!("a pipeline with the cookie {cookie:#x}"),
                },
                what: format!(
                    "our pipeline (cookie {:#x}) and everything in it are missing",
                    self.pipeline.cookie
                ),
            }),
            Some(read) => {
                let read = self.sort_out(read, desired)?;
                version = Some(read.installed.version);
                let program = &self.pipeline.program;
                let plan =
                    plan::plan(program, &read.installed, desired).map_err(|error| self.error(error))?;
                // What cannot be read is in every plan.
                let tells = |change: &Change| match change {
                    Change::InsertGroup(_) | Change::ModifyGroup(_) | Change::DeleteGroup(_) => {
                        !read.unreadable.contains(&"multicast groups")
                    }
                    Change::SetMeter(_) | Change::ClearMeter { .. } => !read.unreadable.contains(&"meters"),
                    _ => true,
                };
                let differs = plan.steps.iter().flat_map(|step| &step.changes).any(tells);
                let difference = differs.then(|| Difference {
                    seen: format!(
                        "version {} of the policy, {} entries of ours",
                        read.installed.version,
                        read.installed.entries.len()
                    ),
                    what: self.words(&plan, &read.installed),
                });
                held = (plan.is_empty() && read.unreadable.is_empty()).then_some(read.installed);
                difference
            }
        };
        let is_primary = self
            .primacy()
            .is_some_and(|primacy| matches!(*primacy.borrow(), Primacy::Primary | Primacy::NotOffered));
        Ok((Audited { is_primary, version, difference }, held))
    }

    fn words(&self, plan: &Plan, installed: &Installed) -> String {
        let summary = plan.summary(&self.pipeline.program);
        let mut words = match summary.total {
            1 => "1 write brings it back".to_owned(),
            many => format!("{many} writes bring it back"),
        };
        let others = [("multicast groups".to_owned(), summary.groups), ("meters".to_owned(), summary.meters)];
        let parts = summary.tables.into_iter().chain(others).filter(|(_, counts)| counts.total() > 0);
        for (at, (name, Counts { inserts, modifies, deletes })) in parts.enumerate() {
            let _ =
                write!(words, "{} {name} +{inserts} ~{modifies} -{deletes}", if at == 0 { ":" } else { "," });
        }
        let changes = plan.steps.iter().flat_map(|step| &step.changes);
        let origins: BTreeSet<_> = changes
            .filter_map(|change| origin_of(change, installed))
            .filter(|origin| origin.policy != Origin::COMMON)
            .map(|origin| format!("{} rule {}", origin.policy, origin.rule))
            .collect();
        for (at, origin) in origins.iter().take(NAMED).enumerate() {
            let _ = write!(words, "{} {origin}", if at == 0 { "; for" } else { "," });
        }
        if origins.len() > NAMED {
            let _ = write!(words, " and {} more", origins.len() - NAMED);
        }
        words
    }
}
