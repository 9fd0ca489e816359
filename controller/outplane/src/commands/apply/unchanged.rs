//! What is looked at before a generation is appended: whether anything has changed, and whether the store is the nodes'.

use std::io::{self, Write};
use std::time::Duration;

use outplane_intent::changes::Change;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use super::super::intent::diff::{differences, in_force, without_expired};
use crate::awaited::SwitchEnd;
use crate::input::Input;
use crate::node::Node;
use crate::output::{FAINT, HEAD, Report, styled, wrapped};
use crate::standing;

/// How long members may take to say of which network they are: on their network it is a matter of milliseconds.
const ASKED: Duration = Duration::from_millis(300);

/// Nothing was appended, since the newest generation says it all. The same fields as where something was.
#[derive(Serialize)]
pub(super) struct Same {
    /// The newest.
    generation: u64,
    unchanged: bool,
    changes: Vec<Change>,
    told: usize,
    seconds: f64,
    /// Nobody has waited for switches.
    converged: Option<bool>,
    switches: Vec<SwitchEnd>,
    left_alone: Vec<String>,
}

/// The newest generation, if it is of this network, wants the same of every switch, and its policies say the same: with the
/// rules of the moment, and whatever their files are called and their comments say.
pub(super) async fn since(
    input: &Input,
    objects: &Objects,
    record: &Generation,
) -> anyhow::Result<Option<Same>> {
    let Some(newest) = Chain::Generations.newest(objects, 0).await? else { return Ok(None) };
    let key = Chain::Generations.key(newest);
    let Some(Object::Generation(found)) = objects.get_readable(&key).await? else { return Ok(None) };
    if found.network != record.network
        || found.desired != record.desired
        || !same(input, found, record).await?
    {
        return Ok(None);
    }
    Ok(Some(Same {
        generation: newest,
        unchanged: true,
        changes: Vec::new(),
        told: 0,
        seconds: 0.0,
        converged: None,
        switches: Vec::new(),
        left_alone: Vec::new(),
    }))
}

async fn same(input: &Input, found: Generation, record: &Generation) -> anyhow::Result<bool> {
    if found.files == record.files {
        return Ok(true);
    }
    let after = (without_expired(input.intent.clone(), input.at), input.expectations.clone());
    // One that this version cannot read says something else.
    let compare = move || in_force(&found).is_ok_and(|before| differences(&before, &after).is_empty());
    Ok(tokio::task::spawn_blocking(compare).await?)
}

/// Why the store is not the nodes', if all that answer are of another network, and do not join this one by themselves.
pub(super) async fn another_network(
    node: &Node,
    config: &SharedConfig,
    network: NetworkId,
) -> anyhow::Result<Option<String>> {
    let networks = standing::networks(config, ASKED).await;
    let Some((name, other)) = networks.iter().find(|(_, of)| **of != network) else { return Ok(None) };
    if networks.values().any(|of| *of == network) {
        tracing::warn!(
            "{name} is of network {other}, and the store of {network}: it takes no part until it is restarted"
        );
        return Ok(None);
    }
    if standing::joins(&node.objects, network, *other).await? {
        return Ok(None);
    }
    let names: Vec<&str> = networks.keys().map(String::as_str).collect();
    Ok(Some(format!(
        "the store is of network {network}, and {} of network {other}: does {} lead to another store, or was the bucket made \
         anew? `outplane status` says more",
        match names.len() {
            1 => format!("{name} is"),
            _ => format!("{} are", names.join(", ")),
        },
        node.store().endpoints.first().map_or("an endpoint", String::as_str),
    )))
}

impl Report for Same {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let newest = self.generation;
        writeln!(out, "{}", styled(HEAD, format_args!("Generation {newest}")))?;
        let words = format!(
            "nothing has changed since generation {newest}, so nothing was appended; --anyway appends all the same, `outplane \
             status` says how switches stand to it"
        );
        wrapped(out, 2, 4, &styled(FAINT, words))
    }
}
