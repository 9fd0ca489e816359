//! What `outplane store recover` has found and done.

use std::collections::BTreeMap;
use std::io::{self, Write};

use outplane_rmdp_node::recovery::{Awaited, Memory, Plan, Remembered, StoreState, Unanswered};
use serde::Serialize;

use crate::output::{BAD, FAINT, GOOD, HEAD, Report, WARN, columns, styled, wrapped, wrapped_with};

/// Who has not answered, one by one: a node may tell of any.
const MOST_TOLD: usize = 50;

#[derive(Serialize)]
pub(super) struct Recovered {
    dry_run: bool,
    /// Something shows that the store has gone back, or it is done anyway.
    pub(super) needed: bool,
    /// The new network; null: nothing was written.
    pub(super) network: Option<String>,
    /// Networks whose nodes join it by themselves.
    before: Vec<String>,
    /// Of the store.
    newest: u64,
    /// The newest generation that anybody remembers.
    remembered: u64,
    /// The next `apply` gets this one, or one above it.
    next: u64,
    /// Stream epochs that are lifted, by name.
    epochs: BTreeMap<String, u64>,
    /// What shows that the store has gone back.
    signs: Vec<String>,
    pub(super) nodes: Vec<NodeForm>,
    pub(super) switches: Vec<SwitchForm>,
    /// Keys that nobody has appended: to be deleted.
    strays: Vec<String>,
    /// The newest version of the shared configuration that nodes hold, if the store's is older.
    config_lost: Option<u64>,
    /// The store's version of it.
    config: u64,
    /// Whether the shared configuration that was given was set; null: none was given, or nothing was written.
    pub(super) shared_set: Option<bool>,
    /// Who has to answer first, or be left out by name.
    unanswered: Vec<Unanswered>,
    /// Who was left out by name.
    left_out: Vec<Unanswered>,
    /// Nodes that have joined.
    joined: Vec<String>,
    /// Nodes that have not, and why: restart them.
    not_joined: BTreeMap<String, String>,
    /// The network as which somebody else has recovered the store meanwhile: it counts, and nodes join that one; null:
    /// nobody has.
    overtaken: Option<String>,
    /// Nodes that are to join the store's network by themselves, since the recovery before has said so.
    joining: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct NodeForm {
    node: String,
    network: Option<String>,
    generation: Option<u64>,
    config: Option<u64>,
    epoch: Option<u64>,
    error: Option<String>,
}

#[derive(Serialize)]
pub(super) struct SwitchForm {
    switch: String,
    /// Of the highest election id that it remembers; 0: none.
    generation: Option<u64>,
    /// In words.
    remembers: Option<String>,
    error: Option<String>,
}

pub(super) fn nodes_of(nodes: &BTreeMap<String, Result<Memory, String>>) -> Vec<NodeForm> {
    let form = |(name, answer): (&String, &Result<Memory, String>)| {
        let memory = answer.as_ref().ok();
        NodeForm {
            node: name.clone(),
            network: memory.map(|memory| memory.network.clone()),
            generation: memory.map(|memory| memory.generation),
            config: memory.map(|memory| memory.config),
            epoch: memory.and_then(|memory| memory.epochs.get(name).copied()),
            error: answer.as_ref().err().cloned(),
        }
    };
    nodes.iter().map(form).collect()
}

pub(super) fn switches_of(switches: &BTreeMap<String, Result<Remembered, String>>) -> Vec<SwitchForm> {
    let form = |(name, answer): (&String, &Result<Remembered, String>)| SwitchForm {
        switch: name.clone(),
        generation: answer.as_ref().ok().map(|told| told.generation()),
        remembers: answer.as_ref().ok().map(|told| match told {
            Remembered::Fence(fence) => fence.to_string(),
            Remembered::Nobody => "nobody".to_owned(),
            Remembered::NoArbitration => "nobody: it takes writes from everybody".to_owned(),
        }),
        error: answer.as_ref().err().cloned(),
    };
    switches.iter().map(form).collect()
}

impl Recovered {
    pub(super) fn new(dry_run: bool, store: &StoreState, plan: &Plan) -> Self {
        Self {
            dry_run,
            needed: !plan.signs.is_empty(),
            network: None,
            before: plan.before.iter().map(ToString::to_string).collect(),
            newest: store.generation,
            remembered: plan.remembered,
            next: plan.generation.max(store.generation).saturating_add(1),
            epochs: plan.epochs.clone(),
            signs: plan.signs.clone(),
            strays: store.strays.iter().map(ToString::to_string).collect(),
            config_lost: plan.config_lost,
            config: store.config,
            shared_set: None,
            nodes: Vec::new(),
            switches: Vec::new(),
            unanswered: plan.unanswered.clone(),
            left_out: plan.left_out.clone(),
            joined: Vec::new(),
            not_joined: BTreeMap::new(),
            overtaken: None,
            joining: plan.joining.clone(),
        }
    }

    /// Which of these nodes have joined.
    pub(super) fn joins<'n>(
        &mut self,
        nodes: impl Iterator<Item = &'n String>,
        Awaited { missing, overtaken }: Awaited,
    ) {
        self.overtaken = overtaken.map(|network| network.to_string());
        self.joined = nodes.filter(|node| !missing.contains_key(*node)).cloned().collect();
        self.not_joined = missing;
    }

    fn tables(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, "What is remembered"))?;
        let dash = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let none = || "-".to_owned();
        let nodes = self.nodes.iter().map(|node| {
            let network = node.network.clone().unwrap_or_else(none);
            let said = if node.error.is_some() { "no answer" } else { "answers" };
            vec![node.node.clone(), said.to_owned(), dash(node.generation), dash(node.epoch), network]
        });
        let switches = self.switches.iter().map(|switch| {
            let said = switch.remembers.clone().unwrap_or_else(|| "no answer".to_owned());
            vec![switch.switch.clone(), said, dash(switch.generation), none(), none()]
        });
        let store = vec!["the store".to_owned(), none(), self.newest.to_string(), none(), none()];
        let rows = std::iter::once(store).chain(nodes).chain(switches);
        columns(out, &["who", "says", "generation", "epoch", "network"], &[2, 3], rows)
    }

    fn lacks(&self, out: &mut dyn Write) -> io::Result<()> {
        for (lacking, style) in [(&self.unanswered, BAD), (&self.left_out, WARN)] {
            for Unanswered { name, what, why, risk } in lacking.iter().take(MOST_TOLD) {
                wrapped(out, 2, 4, &format!("{what} {}: {why}", styled(style, name)))?;
                wrapped(out, 4, 4, &styled(FAINT, risk))?;
            }
            if lacking.len() > MOST_TOLD {
                let more = lacking.len() - MOST_TOLD;
                writeln!(out, "  and {more} more, which `--output json` lists")?;
            }
        }
        Ok(())
    }
}

impl Report for Recovered {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.tables(out)?;
        self.lacks(out)?;
        for sign in &self.signs {
            wrapped(out, 2, 4, &styled(WARN, sign))?;
        }
        for key in &self.strays {
            let words = "nothing leads to this number, somebody else has put it there: delete it";
            wrapped(out, 2, 4, &format!("{}: {words}", styled(WARN, key)))?;
        }
        if !self.unanswered.is_empty() {
            let told = self.unanswered.iter().take(MOST_TOLD);
            let mut names: Vec<String> = told.map(|one| format!("--without {}", one.name)).collect();
            if self.unanswered.len() > MOST_TOLD {
                names.push("..".to_owned());
            }
            let nothing = styled(BAD, "nothing was written");
            let text = format!("{nothing}: get the answers that are missing, or go on without them:");
            return wrapped_with(out, 0, 2, &text, &names);
        }
        if !self.needed {
            if !self.joining.is_empty() {
                let words = "to join the store's network by itself, since a recovery has said so; restart who has not in a minute";
                wrapped(out, 2, 4, &format!("{}: {words}", styled(WARN, self.joining.join(", "))))?;
            }
            let words = "nothing shows that the store has gone back (--anyway recovers it all the same)";
            return wrapped(out, 0, 2, &format!("{}: {words}", styled(GOOD, "nothing to recover")));
        }
        let Some(network) = &self.network else {
            let words = "the store would be of a new network, and the next generation be";
            return wrapped(out, 0, 2, &format!("{}: {words} {}", styled(WARN, "not written"), self.next));
        };
        if let Some(other) = &self.overtaken {
            let words = format!(
                "another recovery has made the store network {other} since this one made it {network}; that one counts, nodes join \
                 it by themselves, and its words say how to go on (`outplane status`)"
            );
            return wrapped(out, 0, 2, &format!("{}: {words}", styled(BAD, "overtaken")));
        }
        writeln!(out, "{} as network {network}", styled(GOOD, "recovered"))?;
        if !self.joined.is_empty() {
            wrapped(out, 2, 4, &format!("joined by {}", self.joined.join(", ")))?;
        }
        if self.shared_set == Some(false) {
            let words = "somebody else has set one meanwhile, which counts; see `outplane config get`";
            wrapped(out, 2, 4, &format!("{}: {words}", styled(BAD, "the shared configuration was not set")))?;
        }
        for (node, why) in &self.not_joined {
            wrapped(out, 2, 4, &format!("{}: restart it: {why}", styled(BAD, node)))?;
        }
        for left in self.left_out.iter().filter(|left| left.what == "node") {
            writeln!(out, "  {} was left out: if it runs, restart it", styled(WARN, &left.name))?;
        }
        if let (Some(held), None) = (self.config_lost, self.shared_set) {
            let text = format!(
                "nodes held version {held} of the shared configuration, the store's is {}: set it again \
                 (`outplane config set FILE`) where they differ",
                styled(WARN, self.config.to_string())
            );
            wrapped(out, 2, 4, &text)?;
        }
        writeln!(
            out,
            "  switches hold what they held; `outplane apply` the policies that count, as generation {}",
            self.next
        )
    }
}
