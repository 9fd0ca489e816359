//! What tests, benches and the demo do with a network of controllers: start it, follow who writes to a switch, change all
//! of a policy.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context as _, Result, bail};
use outplane_testbed::{Cluster, ClusterOptions, JournalLine, Part, Programs};

use crate::program;

/// A network of this workspace's programs, started.
pub fn started(options: ClusterOptions) -> Result<Cluster> {
    let programs = Programs { outplane: program("outplane"), agent: program("outplane-lab-agent") };
    let cluster = Cluster::new(options, programs)?;
    cluster.start()?;
    Ok(cluster)
}

/// Whose request a line of a switch's journal is. What else executes there has the addresses of the controllers in whose
/// namespaces it is.
pub fn writer(cluster: &Cluster, line: &JournalLine) -> Result<String> {
    let peer = line.peer.context("the journal does not say who wrote")?;
    for name in cluster.names(Part::Controller) {
        if cluster.addresses(&name)?.contains(&peer.ip().to_canonical()) {
            return Ok(name);
        }
    }
    bail!("{peer} is no controller")
}

/// A switch's journal from some moment on.
pub struct Journal {
    file: File,
    seen: String,
}

impl Journal {
    /// From now on.
    pub fn follow(cluster: &Cluster, switch: &str) -> Result<Self> {
        let mut file = File::open(cluster.journal(switch))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, seen: String::new() })
    }

    /// All lines that are whole by now.
    pub fn lines(&mut self) -> Result<Vec<JournalLine>> {
        self.file.read_to_string(&mut self.seen)?;
        let whole = self.seen.rfind('\n').map_or("", |end| &self.seen[..=end]);
        Ok(JournalLine::parse_all(whole)?)
    }
}

/// The policy of this number: so many rules, of which none is as in another one.
pub fn policy(cluster: &Cluster, rules: u64, number: u64) -> String {
    let rule = |rule: u64| {
        let port = 1 + (number * rules + rule) % 60_000;
        format!(
            "  - {{name: r{rule}, action: allow, from: [10.{rule}.0.0/16], ports: [{{protocol: TCP, port: {port}}}]}}\n"
        )
    };
    cluster.switch_objects()
        + "---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: edge}\nspec:\n  rules:\n"
        + &(0..rules).map(rule).collect::<String>()
}
