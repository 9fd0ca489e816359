//! What has to be lifted: pure, from what was gathered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use outplane_rmdp_core::config::MAX_MEMBERS;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::task::NetworkId;
use serde::Serialize;

use super::memory::Memory;
use super::switches::Remembered;

/// So far above what is remembered numbers begin where somebody was left out: whoever that is may know of more.
const MARGIN: u64 = 1000;
/// Nobody of ours is so far ahead of all others: such a number is a mistake or a stranger's, and would leave few for those that
/// come.
const FAR: u64 = 1_000_000;

/// Nodes that are asked since others remember them.
const MOST_MORE: usize = MAX_MEMBERS;

/// What the store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// Its network, where it says one that can be read.
    pub network: Option<NetworkId>,
    /// The network of its newest generation.
    pub of_generations: Option<NetworkId>,
    /// That is another one, and of a recovery that another one beside it has overtaken: nothing is missing.
    pub is_abandoned: bool,
    /// Networks whose nodes join the store's by themselves, since a recovery has said so.
    pub follows: BTreeSet<NetworkId>,
    /// Its newest generation; 0 for none.
    pub generation: u64,
    /// Its newest version of the shared configuration that can be read; 0 for none.
    pub config: u64,
    /// The newest stream epochs, by name.
    pub epochs: BTreeMap<String, u64>,
    /// Tasks are queued.
    pub is_queued: bool,
    /// Numbers that nothing leads to: somebody else has put them there, and they are to be deleted.
    pub strays: Vec<Key>,
}

/// Somebody who does not say what he remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The node, or the switch.
    pub name: String,
    /// `node` or `switch`.
    pub what: &'static str,
    /// Why not.
    pub why: String,
    /// What may come of going on without it.
    pub risk: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Networks whose nodes are to join the new one.
    pub before: BTreeSet<NetworkId>,
    /// The newest generation that anybody remembers, the store included.
    pub remembered: u64,
    /// Generations begin above this number; it is taken by one that wants nothing. 0: there was none.
    pub generation: u64,
    /// Stream epochs begin above these, by name.
    pub epochs: BTreeMap<String, u64>,
    /// The newest version of the shared configuration that nodes hold, if the store's is older.
    pub config_lost: Option<u64>,
    /// What shows that the store has gone back; empty: nothing does.
    pub signs: Vec<String>,
    /// Who has to answer first, or be left out by name.
    pub unanswered: Vec<Unanswered>,
    /// Who was left out by name.
    pub left_out: Vec<Unanswered>,
    /// Nodes that are to join the store's network by themselves, since a recovery has said so, and have not yet.
    pub joining: Vec<String>,
}

/// Makes the plan. `without` names those that may be left out.
pub fn plan(
    store: &StoreState,
    nodes: &BTreeMap<String, Result<Memory, String>>,
    switches: &BTreeMap<String, Result<Remembered, String>>,
    without: &BTreeSet<String>,
) -> Plan {
    let (mut left_out, mut unanswered) = (Vec::new(), Vec::new());
    let mut lacks = |one: Unanswered| {
        if without.contains(&one.name) { left_out.push(one) } else { unanswered.push(one) }
    };
    let (memories, by_nodes, refused) = believed(store, nodes, without);
    for (name, why) in refused {
        lacks(Unanswered::node(name, &why));
    }
    for (name, (version, http)) in members_lost(store, &memories) {
        if !nodes.contains_key(name) {
            let whom = match http {
                Some(_) => format!("it was not asked, as {MOST_MORE} others were that only nodes know of"),
                None => "nobody says where it is to be asked".to_owned(),
            };
            let why = format!(
                "a member by version {version} of the shared configuration, which the store does not have, and {whom}: --node \
                 {name}=HOST:PORT"
            );
            lacks(Unanswered::node(name, &why));
        }
    }
    let mut remembered = by_nodes;
    for (name, switch) in switches {
        match switch {
            Ok(told) if told.generation() > by_nodes.saturating_add(FAR) => {
                let generation = told.generation();
                let why = format!(
                    "it has heard of generation {generation}, far above all that nodes and store know: a stranger's; restart \
                     the server in it that controllers speak to"
                );
                lacks(Unanswered::switch(name, &why));
            }
            Ok(_) if without.contains(name) => lacks(Unanswered::switch(name, LEFT_OUT)),
            Ok(told) => remembered = remembered.max(told.generation()),
            Err(why) => lacks(Unanswered::switch(name, why)),
        }
    }
    let known: BTreeSet<&String> = memories.iter().flat_map(|memory| &memory.switches).collect();
    for name in known.into_iter().filter(|name| !switches.contains_key(*name)) {
        let why = "nodes know it, and neither the shared configuration nor a policy file that was given says where it is: give the \
                   files with its Switch object (`outplane store recover FILES ..`)";
        lacks(Unanswered::switch(name, why));
    }
    let generation = match (remembered, left_out.is_empty()) {
        (0, true) => 0,
        (remembered, true) => remembered.saturating_add(1),
        (remembered, false) => remembered.saturating_add(MARGIN),
    };
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    for (name, epoch) in memories.iter().flat_map(|memory| &memory.epochs) {
        let highest = epochs.entry(name.clone()).or_default();
        *highest = (*epoch).max(*highest);
    }
    for left in left_out.iter().filter(|left| left.what == NODE) {
        let known = store.epochs.get(&left.name).copied().unwrap_or(0);
        let highest = epochs.entry(left.name.clone()).or_default();
        *highest = known.max(*highest).saturating_add(MARGIN);
    }
    epochs.retain(|name, epoch| *epoch > store.epochs.get(name).copied().unwrap_or(0));
    let of_nodes = memories.iter().filter_map(|memory| memory.network());
    let before = store.network.into_iter().chain(store.of_generations).chain(of_nodes).collect();
    let signs = signs(store, &memories, switches);
    let joins = |memory: &&&Memory| memory.network().is_some_and(|its| store.follows.contains(&its));
    let joining = memories.iter().filter(joins).map(|memory| memory.node.clone()).collect();
    let config_lost = memories.iter().map(|memory| memory.config).max().filter(|held| *held > store.config);
    Plan { before, remembered, generation, epochs, config_lost, signs, unanswered, left_out, joining }
}

/// Whoever answers and is to be left out all the same.
const LEFT_OUT: &str = "it has answered, and is left out";

/// The memories that count, the newest generation that they or the store know, and why the other nodes' do not. One that is
/// far above all others is believed by nobody: each may tell of a little more than those before it.
fn believed<'n>(
    store: &StoreState,
    nodes: &'n BTreeMap<String, Result<Memory, String>>,
    without: &BTreeSet<String>,
) -> (Vec<&'n Memory>, u64, Vec<(&'n String, String)>) {
    let (mut believed, mut refused, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    for (name, node) in nodes {
        match node {
            Ok(_) if without.contains(name) => refused.push((name, LEFT_OUT.to_owned())),
            Ok(memory) => answered.push((name, memory)),
            Err(why) => refused.push((name, why.clone())),
        }
    }
    let newest = |memory: &Memory| memory.networks().map(|(_, newest)| newest).max().unwrap_or(0);
    let most = |memory: &Memory| memory.epochs.values().copied().max().unwrap_or(0);
    answered.sort_by_key(|(name, memory)| (newest(memory), most(memory), *name));
    let (mut generation, mut epochs) = (store.generation, store.epochs.clone());
    for (name, memory) in answered {
        let far = memory
            .epochs
            .iter()
            .find(|(node, epoch)| **epoch > epochs.get(*node).copied().unwrap_or(0).saturating_add(FAR));
        let why = match far {
            _ if newest(memory) > generation.saturating_add(FAR) => format!("generation {}", newest(memory)),
            Some((node, epoch)) => format!("epoch {epoch} of {node}"),
            None => {
                generation = generation.max(newest(memory));
                for (node, epoch) in &memory.epochs {
                    let known = epochs.entry(node.clone()).or_default();
                    *known = (*epoch).max(*known);
                }
                believed.push(memory);
                continue;
            }
        };
        refused.push((
            name,
            format!("it tells of {why}, far above all that others know: that is nobody's of ours"),
        ));
    }
    (believed, generation, refused)
}

/// Members of newer versions of the shared configuration than the store has, as nodes remember them: the version, and
/// where their pages are.
fn members_lost<'m>(
    store: &StoreState,
    memories: &[&'m Memory],
) -> BTreeMap<&'m String, (u64, Option<SocketAddr>)> {
    let mut lost = BTreeMap::new();
    let mut newer: Vec<&&Memory> = memories.iter().filter(|memory| memory.config > store.config).collect();
    // The newest one's word counts.
    newer.sort_by_key(|memory| memory.config);
    for memory in newer {
        lost.extend(memory.members.iter().map(|(name, http)| (name, (memory.config, *http))));
    }
    lost
}

/// Nodes that are to be asked as well, and where, since others remember that they are members; no more than a site has:
/// what a page says may be anything.
pub fn also_to_ask(
    store: &StoreState,
    nodes: &BTreeMap<String, Result<Memory, String>>,
) -> BTreeMap<String, SocketAddr> {
    let memories: Vec<&Memory> = nodes.values().filter_map(|node| node.as_ref().ok()).collect();
    let lost = members_lost(store, &memories).into_iter();
    let unknown = lost.filter(|(name, _)| !nodes.contains_key(*name));
    unknown.filter_map(|(name, (_, http))| Some((name.clone(), http?))).take(MOST_MORE).collect()
}

const NODE: &str = "node";
const SWITCH: &str = "switch";

impl Unanswered {
    fn node(name: &str, why: &str) -> Self {
        let risk = "if it is of a network that nobody else remembers, it does not join by itself and has to be restarted";
        Self { name: name.to_owned(), what: NODE, why: why.to_owned(), risk: risk.to_owned() }
    }

    fn switch(name: &str, why: &str) -> Self {
        let risk = format!(
            "if it has heard of a generation more than {MARGIN} above all that is remembered elsewhere, it refuses what comes, \
             until its P4Runtime server is restarted"
        );
        Self { name: name.to_owned(), what: SWITCH, why: why.to_owned(), risk }
    }
}

/// In words, what shows that the store is not what it was.
fn signs(
    store: &StoreState,
    memories: &[&Memory],
    switches: &BTreeMap<String, Result<Remembered, String>>,
) -> Vec<String> {
    let mut signs = Vec::new();
    match (store.network, store.of_generations) {
        // Nobody is given a start, or a configuration, before there is a network.
        (None, None)
            if !memories.is_empty() || store.config > 0 || store.epochs.values().any(|epoch| *epoch > 0) =>
        {
            signs.push("the store says no network".to_owned());
        }
        (None, Some(network)) => {
            signs.push(format!("the store has generations of network {network}, and says no network itself"));
        }
        (Some(network), Some(other)) if network != other && !store.is_abandoned => {
            signs.push(format!(
                "the store is of network {network}, and its newest generation of {other}: a recovery has not come to its end"
            ));
        }
        _ => {}
    }
    for memory in memories {
        let node = &memory.node;
        if let (Some(its), Some(ours)) = (memory.network(), store.network)
            && its != ours
            // It is on its way.
            && !store.follows.contains(&its)
        {
            signs.push(format!("{node} is of network {its}, the store of {ours}"));
        }
        if memory.generation > store.generation {
            signs.push(format!(
                "{node} knows generation {}, the store's newest is {}",
                memory.generation, store.generation
            ));
        }
        if let Some((network, newest)) = memory
            .networks()
            .find(|(network, newest)| *network != memory.network && *newest > store.generation)
        {
            signs.push(format!(
                "{node} was of network {network} before, with generations up to {newest}, the store's newest is {}",
                store.generation
            ));
        }
        if memory.config > store.config {
            signs.push(format!(
                "{node} knows version {} of the shared configuration, the store's newest is {}",
                memory.config, store.config
            ));
        }
        if let Some(epoch) = memory.epochs.get(node)
            && let Some(newest) = store.epochs.get(node)
            && epoch > newest
        {
            signs.push(format!("{node} has epoch {epoch}, the store's newest of it is {newest}"));
        }
    }
    for (switch, told) in switches {
        if let Ok(Remembered::Fence(fence)) = told
            && fence.generation > store.generation
        {
            signs.push(format!("{switch} has heard of {fence}, the store's newest is {}", store.generation));
        }
    }
    signs
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::task::Fence;

    use super::*;

    const A: NetworkId = NetworkId::new(0xa);

    fn memory(node: &str, generation: u64, epoch: u64) -> (String, Result<Memory, String>) {
        let memory = Memory { generation, config: 1, ..Memory::of_start(node, A, epoch) };
        (node.to_owned(), Ok(memory))
    }

    fn state(generation: u64) -> StoreState {
        StoreState {
            network: Some(A),
            of_generations: (generation > 0).then_some(A),
            is_abandoned: false,
            generation,
            config: 1,
            epochs: [("c1".to_owned(), 1), ("c2".to_owned(), 1)].into(),
            is_queued: false,
            follows: BTreeSet::new(),
            strays: Vec::new(),
        }
    }

    fn switch(name: &str, generation: u64) -> (String, Result<Remembered, String>) {
        let fence = Fence { generation, audit: 0, attempt: 1 };
        (name.to_owned(), Ok(Remembered::Fence(fence)))
    }

    #[test]
    fn numbers_begin_above_what_anybody_remembers() {
        let nodes = [memory("c1", 7, 3), memory("c2", 6, 1)].into();
        let plan =
            plan(&state(5), &nodes, &[switch("leaf1", 8), switch("leaf2", 0)].into(), &BTreeSet::new());
        assert_eq!((plan.remembered, plan.generation), (8, 9));
        assert_eq!(plan.epochs, [("c1".to_owned(), 3)].into());
        assert_eq!(plan.before, [A].into());
        assert!(plan.unanswered.is_empty() && plan.left_out.is_empty());
        let signs = plan.signs.join("\n");
        for sign in ["c1 knows generation 7", "c2 knows generation 6", "leaf1 has heard of", "c1 has epoch 3"]
        {
            assert!(signs.contains(sign), "{sign}: {signs}");
        }
    }

    #[test]
    fn a_store_that_has_all_that_is_remembered_shows_nothing() {
        let nodes = [memory("c1", 5, 1), memory("c2", 4, 1)].into();
        let plan = plan(&state(5), &nodes, &[switch("leaf1", 5)].into(), &BTreeSet::new());
        assert_eq!((plan.signs, plan.epochs), (vec![], BTreeMap::new()));
    }

    /// All numbers are lifted already, and `network` is the old one.
    #[test]
    fn a_recovery_that_was_cut_off_is_a_sign() {
        let nodes = [memory("c1", 7, 1)].into();
        let half = StoreState { of_generations: Some(NetworkId::new(0xb)), ..state(8) };
        let plan = plan(&half, &nodes, &BTreeMap::new(), &BTreeSet::new());
        assert!(plan.signs[0].contains("has not come to its end"), "{plan:?}");
        assert_eq!(plan.generation, 9);
    }

    /// The store was recovered just now, and they have not looked yet.
    #[test]
    fn nodes_that_are_joining_are_no_sign() {
        let nodes = [memory("c1", 5, 1), memory("c2", 5, 1)].into();
        let b = NetworkId::new(0xb);
        let recovered = StoreState { network: Some(b), of_generations: Some(b), ..state(6) };
        let made = plan(&recovered, &nodes, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(made.signs.len(), 2, "nothing says that they join: {made:?}");
        let recovered = StoreState { follows: [A].into(), ..recovered };
        let made = plan(&recovered, &nodes, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!((made.signs, made.joining), (vec![], vec!["c1".to_owned(), "c2".to_owned()]));
        // What it knows above the store is one all the same.
        let nodes = [memory("c1", 9, 1)].into();
        let made = plan(&recovered, &nodes, &BTreeMap::new(), &BTreeSet::new());
        assert!(made.signs[0].contains("knows generation 9"), "{made:?}");
    }

    /// Of two at a time one has come to its end: what the other has left is no sign.
    #[test]
    fn a_recovery_that_was_overtaken_is_no_sign() {
        let nodes = [memory("c1", 7, 1)].into();
        let left = StoreState { of_generations: Some(NetworkId::new(0xb)), is_abandoned: true, ..state(8) };
        assert_eq!(plan(&left, &nodes, &BTreeMap::new(), &BTreeSet::new()).signs, [""; 0]);
    }

    #[test]
    fn who_does_not_answer_is_left_out_by_name_only() {
        let mut nodes: BTreeMap<_, _> = [memory("c1", 7, 3)].into();
        nodes.insert("c2".to_owned(), Err("connection refused".to_owned()));
        let switches: BTreeMap<_, _> = [("leaf1".to_owned(), Err("no route".to_owned()))].into();
        let made = plan(&state(5), &nodes, &switches, &["c2".to_owned()].into());
        assert_eq!(made.unanswered.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["leaf1"]);
        let made = plan(&state(5), &nodes, &switches, &["c2".to_owned(), "leaf1".to_owned()].into());
        assert!(made.unanswered.is_empty());
        assert_eq!((made.generation, made.epochs["c2"], made.epochs["c1"]), (7 + MARGIN, 1 + MARGIN, 3));
    }

    #[test]
    fn a_strangers_fence_lifts_nothing() {
        let nodes = [memory("c1", 7, 3)].into();
        let far = [switch("leaf1", u64::MAX), switch("leaf2", 1 << 40)].into();
        let made = plan(&state(5), &nodes, &far, &BTreeSet::new());
        assert_eq!((made.remembered, made.unanswered.len()), (7, 2));
        assert!(made.unanswered[0].why.contains("stranger"), "{made:?}");
    }

    #[test]
    fn a_number_that_nobody_else_comes_near_lifts_nothing() {
        for (generation, epoch) in [(1 << 47, 3), (7, 1 << 47)] {
            let nodes = [memory("c1", 7, 3), memory("c2", generation, epoch)].into();
            let made = plan(&state(5), &nodes, &BTreeMap::new(), &BTreeSet::new());
            assert_eq!((made.remembered, made.generation), (7, 8));
            assert_eq!(made.epochs, [("c1".to_owned(), 3)].into());
            assert!(
                made.unanswered[0].name == "c2" && made.unanswered[0].why.contains("far above"),
                "{made:?}"
            );
        }
    }

    /// Whoever answers wrongly can be left out like one that does not answer.
    #[test]
    fn an_answer_can_be_taken_away() {
        let nodes = [memory("c1", 7, 3), memory("c2", 9000, 1)].into();
        let switches = [switch("leaf1", 9000)].into();
        let made = plan(&state(5), &nodes, &switches, &["c2".to_owned(), "leaf1".to_owned()].into());
        assert_eq!((made.remembered, made.generation, made.left_out.len()), (7, 7 + MARGIN, 2));
    }

    #[test]
    fn an_empty_store_without_any_memory_has_nothing_to_recover() {
        let made = plan(&StoreState::default(), &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
        assert_eq!((made.generation, made.signs.len(), made.before.len()), (0, 0, 0));
        let nodes = [memory("c1", 7, 3)].into();
        let made = plan(&StoreState::default(), &nodes, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!((made.generation, made.epochs["c1"]), (8, 3));
        assert!(made.signs[0].contains("no network"));
    }

    /// Before the first generation nothing but starts and a configuration tells that there was a network.
    #[test]
    fn starts_without_a_network_are_a_sign() {
        let half = StoreState { network: None, of_generations: None, ..state(0) };
        let made = plan(&half, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
        assert_eq!((made.signs.len(), made.generation), (1, 0), "{made:?}");
    }

    /// The store's configuration is older than what a node holds, and knows fewer members.
    #[test]
    fn members_of_a_configuration_that_is_lost_are_asked() {
        let (name, node) = memory("c1", 7, 3);
        let http = "192.0.2.9:80".parse().unwrap();
        let members = [("c1".to_owned(), None), ("c9".to_owned(), Some(http)), ("d9".to_owned(), None)];
        let memory = Memory { config: 2, members: members.into(), ..node.unwrap() };
        let mut nodes: BTreeMap<_, _> = [(name, Ok(memory))].into();
        assert_eq!(also_to_ask(&state(5), &nodes), [("c9".to_owned(), http)].into());
        nodes.insert("c9".to_owned(), Err("no route".to_owned()));
        let made = plan(&state(5), &nodes, &BTreeMap::new(), &BTreeSet::new());
        let missing: Vec<_> = made.unanswered.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((missing, made.config_lost), (vec!["c9", "d9"], Some(2)));
        let same = StoreState { config: 2, ..state(5) };
        let made = plan(&same, &nodes, &BTreeMap::new(), &["c9".to_owned()].into());
        assert_eq!((made.unanswered.len(), made.config_lost), (0, None));
    }

    /// A page may list whatever it likes: not each of them is connected to, and who was not is said.
    #[test]
    fn no_more_members_are_asked_than_a_site_has() {
        let lists = |node: &str, from: u8| {
            let member = |number: u8| (format!("x{number:03}"), Some(([192, 0, 2, number], 80).into()));
            let (name, memory) = memory(node, 7, 3);
            (
                name,
                Ok(Memory { config: 2, members: (from..from + 60).map(member).collect(), ..memory.unwrap() }),
            )
        };
        let nodes: BTreeMap<_, _> = [lists("c1", 1), lists("c2", 101)].into();
        let more = also_to_ask(&state(5), &nodes);
        assert_eq!(more.len(), MOST_MORE);
        let mut asked = nodes.clone();
        asked.extend(more.into_keys().map(|name| (name, Err("no route".to_owned()))));
        let made = plan(&state(5), &asked, &BTreeMap::new(), &BTreeSet::new());
        let not_asked = made.unanswered.iter().filter(|one| one.why.contains("was not asked")).count();
        assert_eq!((made.unanswered.len(), not_asked), (120, 120 - MOST_MORE));
    }

    #[test]
    fn a_switch_that_only_nodes_know_of_is_missed() {
        let (name, node) = memory("c1", 7, 3);
        let memory = Memory { switches: ["leaf1".to_owned()].into(), ..node.unwrap() };
        let made = plan(&state(5), &[(name, Ok(memory))].into(), &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(made.unanswered[0].name, "leaf1");
    }
}
