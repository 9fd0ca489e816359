//! What is looked at before a generation is appended: whether anything has changed, how switches stand if not, and whether
//! the store is the nodes'.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use outplane_intent::changes::Change;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Generation, Object, Outcome, Standing};
use outplane_rmdp_core::task::{GENERATIONS, NetworkId, TransactionId};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::bound;
use outplane_rmdp_node::life::Life;
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use super::super::intent::diff::{differences, differing, in_force, without_expired};
use crate::awaited::{self, SwitchEnd, Waiting, Wish};
use crate::exit::Exit;
use crate::input::Input;
use crate::node::Node;
use crate::output::{FAINT, HEAD, Report, styled, wrapped};
use crate::overtaken::Overtaken;
use crate::progress::Lines;
use crate::runtime::Signals;
use crate::standing;
use crate::times::{age, ago};

/// How long members may take to say of which network they are: on their network it is a matter of milliseconds.
const ASKED: Duration = Duration::from_millis(300);

/// Horizons that are looked at.
const MOST_HORIZONS: usize = 10_000;

/// Nothing was appended, since the newest generation says it all. The same fields as where something was.
#[derive(Serialize)]
pub(super) struct Same {
    /// The newest.
    generation: u64,
    unchanged: bool,
    changes: Vec<Change>,
    told: usize,
    seconds: f64,
    /// Whether all hold it, as far as is known.
    converged: bool,
    /// When all of them had last been seen to hold it, if keepers have told of all.
    #[serde(skip)]
    verified: Option<u64>,
    switches: Vec<SwitchEnd>,
    left_alone: Vec<String>,
}

/// The newest generation, if it is of this network, wants the same of every switch, and its policies say the same: with the
/// rules of the moment, and whatever their files are called and their comments say.
pub(super) async fn since(
    input: &Input,
    objects: &Objects,
    record: &Generation,
) -> anyhow::Result<Option<Generation>> {
    let Some(newest) = Chain::Generations.newest(objects, 0).await? else { return Ok(None) };
    let key = Chain::Generations.key(newest);
    let Some(Object::Generation(found)) = objects.get_readable(&key).await? else { return Ok(None) };
    if found.network != record.network {
        return Ok(None);
    }
    let desired = if found.sources.is_empty() {
        Ok(record.desired.clone())
    } else {
        // Beside what live sources say, it wants something else than alone.
        let both =
            Generation { sources: found.sources.clone(), numbers: found.numbers.clone(), ..record.clone() };
        tokio::task::spawn_blocking(move || bound(both)).await?.map(|both| both.desired)
    };
    let is_same = desired.is_ok_and(|desired| differing(&desired, &found.desired).is_empty())
        && same(input, found.clone().applied(), record).await?;
    Ok(is_same.then_some(found))
}

/// How switches stand to the newest generation, which says it all. What its keeper tells of a switch counts; where nobody
/// has told lately, what became of the generation's task, which is waited for. None: it has failed, and nobody knows
/// better, so that a new generation is worth an attempt.
pub(super) async fn stand(
    objects: &Objects,
    (network, generation): (NetworkId, u64),
    tasks: Vec<(String, TransactionId)>,
    waiting: Waiting,
    lines: &Lines,
    signals: Signals,
) -> anyhow::Result<Option<(Same, Exit)>> {
    let start = Instant::now();
    let kept = standing::kept(objects).await?;
    let (mut switches, mut open) = (Vec::new(), Vec::new());
    let told = |switch: &String| kept.get(switch).filter(|kept| kept.generation == generation);
    // None is the least of all.
    let verified = tasks.iter().map(|(switch, _)| told(switch)?.verified_ms).min().flatten();
    for (switch, id) in tasks {
        let told = told(&switch).map(|kept| (kept.standing, kept.what.clone()));
        match told {
            Some((Standing::Kept, _)) => switches.push(SwitchEnd::stands(switch, id, "kept", None)),
            Some((standing @ (Standing::Drifted | Standing::Unreachable), what)) => {
                let error = format!("{what}; its keeper goes on by itself");
                switches.push(SwitchEnd::stands(switch, id, standing.word(), Some(error)));
            }
            _ => match Life::read(objects, id).await?.decision.map(|decision| decision.outcome) {
                Some(Outcome::Done { .. }) => switches.push(SwitchEnd::stands(switch, id, "done", None)),
                Some(Outcome::Failed { .. }) => return Ok(None),
                Some(Outcome::Superseded { .. }) | None => open.push((switch, id)),
            },
        }
    }
    let mut exit = Exit::Done;
    if !open.is_empty() {
        let wish = (Wish::Converged, Some(Overtaken::new(network, generation)));
        let ended = awaited::wait(objects, wish, open, waiting, lines, signals, start).await;
        exit = ended.exit;
        switches.extend(ended.switches);
    }
    switches.sort_by(|one, other| one.switch().cmp(other.switch()));
    let converged = switches.iter().all(SwitchEnd::is_converged);
    if exit == Exit::Done && !converged && !waiting.no_wait {
        exit = Exit::Switch;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (changes, left_alone) = (Vec::new(), Vec::new());
    Ok(Some((
        Same {
            generation,
            unchanged: true,
            changes,
            told: 0,
            seconds,
            converged,
            verified,
            switches,
            left_alone,
        },
        exit,
    )))
}

/// Whether a switch was brought to what a generation says, by the task of an earlier one: that is decided, or was before
/// decisions of that time were forgotten.
pub(super) async fn is_brought(
    objects: &Objects,
    id: TransactionId,
    generation: u64,
) -> anyhow::Result<bool> {
    let life = Life::read(objects, id).await?;
    if life.is_known() {
        return Ok(matches!(life.decision.map(|decision| decision.outcome), Some(Outcome::Done { .. })));
    }
    let (horizons, _) = objects.list_all(&Prefix::Horizons, MOST_HORIZONS).await?;
    let passes = |key: &Key| matches!(key, Key::Horizon(source, below) if source == GENERATIONS && *below > generation);
    Ok(horizons.iter().any(passes))
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
        let how = match self.verified {
            _ if !self.converged => "and not all of its switches hold it, as far as is known".to_owned(),
            Some(at) => format!("its switches held it when they were last looked at, {}", ago(age(at))),
            None => "its switches were brought to it, and no keeper has told since of all of them".to_owned(),
        };
        let words = format!(
            "nothing has changed since generation {newest}, so nothing was appended; {how} (--anyway appends all the same)"
        );
        wrapped(out, 2, 4, &styled(FAINT, words))?;
        let behind: Vec<&SwitchEnd> = self.switches.iter().filter(|switch| !switch.is_converged()).collect();
        awaited::text(behind, out)
    }
}
