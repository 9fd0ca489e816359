//! A store that goes back to an earlier time, or is empty all of a sudden: nodes leave it alone, and one recovery later they
//! go on, without a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::backup::{self, BackupError, Restored};
use outplane_rmdp_node::network;
use outplane_rmdp_node::recovery::{self, Memory, Plan, Source};
use tokio::time::{sleep, timeout};

use crate::faults::page;
use crate::support::{Lab, NETWORK, Node, PATIENCE, record};

/// Where these nodes say what they remember.
fn sources(nodes: &BTreeMap<&'static str, Node>) -> BTreeMap<String, Source> {
    nodes
        .iter()
        .map(|(name, node)| ((*name).to_owned(), Source::Http(node.up.http.unwrap().to_string())))
        .collect()
}

async fn start_all(lab: &Lab) -> BTreeMap<&'static str, Node> {
    let mut nodes = BTreeMap::new();
    for member in &lab.members {
        nodes.insert(member.name, lab.start_with_pages(member.name).await);
    }
    nodes
}

async fn backed_up(lab: &Lab) -> Vec<u8> {
    let mut file = Vec::new();
    backup::take(&lab.objects, &mut file, "tests").await.unwrap();
    file
}

/// The store is what it was then. Nodes that run write into it meanwhile, what they tell of themselves: that is found out,
/// and it is done again.
async fn put_back(lab: &mut Lab, backup: &[u8], as_it_was: bool) -> Restored {
    for _ in 0..10 {
        lab.empty_store().await;
        match backup::restore(&lab.objects, backup, as_it_was).await {
            Ok(restored) => return restored,
            Err(BackupError::NotEmpty { .. } | BackupError::Contended { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nodes write all the time");
}

/// Until a node is not ready, and says why with these words.
async fn leaves_it_alone(node: &Node, words: &str) {
    let told = async {
        while !{
            let page = page(node, "/ready").await;
            page.starts_with("HTTP/1.1 503")
                && page.contains(words)
                && page.contains("outplane store recover")
        } {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{} goes on", node.up.node));
}

/// What `outplane store recover` does.
async fn recover(
    lab: &Lab,
    sources: &BTreeMap<String, Source>,
    shared: Option<&str>,
    without: &[&str],
) -> (Plan, NetworkId) {
    let (store, config) = recovery::read_store(&lab.objects).await.unwrap();
    let config = config.unwrap_or_else(|| SharedConfig::from_toml(shared.unwrap()).unwrap());
    let mut nodes = recovery::ask_nodes(sources.clone()).await;
    for member in &config.members {
        nodes.entry(member.name.clone()).or_insert_with(|| Err("not asked".to_owned()));
    }
    let targets =
        recovery::targets(&lab.objects, &config, &BTreeMap::new(), lab.folder.path()).await.unwrap();
    let targets = targets.into_values().collect::<Result<Vec<_>, _>>().unwrap();
    let switches = recovery::ask_switches(targets).await;
    let without: BTreeSet<String> = without.iter().map(|name| (*name).to_owned()).collect();
    let plan = recovery::plan(&store, &nodes, &switches, &without);
    assert!(plan.unanswered.is_empty(), "{plan:?}");
    let carried = recovery::carry_out(&lab.objects, &plan, shared, "tests").await.unwrap();
    assert_eq!(carried.is_set, shared.map(|_| true));
    (plan, carried.network)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_restored_from_a_backup_goes_on_after_one_recovery() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 2).await;
    let nodes = start_all(&lab).await;
    lab.converged(lab.apply(3).await).await;
    let backup = backed_up(&lab).await;
    // Two more that the backup does not have.
    lab.converged(lab.apply(4).await).await;
    let last = lab.apply(5).await;
    lab.converged(last).await;
    let before = lab.compiled(last).await;
    let restored = put_back(&mut lab, &backup, false).await;
    assert_eq!((restored.summary.generation, restored.as_it_was), (1, false));
    for node in nodes.values() {
        leaves_it_alone(node, "the store says no network any more").await;
    }
    // Who looks into the store is told, too.
    let estranged = async {
        loop {
            if let Ok(Some(Object::Status(status))) = lab.objects.get(&Key::Status("c1".to_owned())).await
                && status.estranged.is_some()
            {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, estranged).await.expect("c1 says so in its status");
    let sources = sources(&nodes);
    let (plan, network) = recover(&lab, &sources, None, &[]).await;
    assert_eq!((plan.remembered, plan.generation), (last, last + 1), "{plan:?}");
    assert_ne!(network, NETWORK);
    assert!(plan.signs.iter().any(|sign| sign.contains("leaf1 has heard of generation 3")), "{plan:?}");
    let missing = recovery::joined(&lab.objects, &sources, network, PATIENCE).await.missing;
    assert_eq!(missing, BTreeMap::new());
    // Nobody has touched the switches: they hold what the store has lost.
    assert!(lab.holds_as_compiled(&before).await);
    assert_eq!(lab.apply_in(network, 6).await, last + 2);
    assert_eq!(lab.apply_in(network, 7).await, last + 3);
    // The next recovery has nothing to do.
    let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
    let again =
        recovery::plan(&store, &recovery::ask_nodes(sources).await, &BTreeMap::new(), &BTreeSet::new());
    assert_eq!(again.signs, [""; 0]);
    for (_, node) in nodes {
        node.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_goes_on_after_one_recovery() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 2).await;
    let nodes = start_all(&lab).await;
    for rules in [3, 4] {
        lab.converged(lab.apply(rules).await).await;
    }
    lab.empty_store().await;
    for node in nodes.values() {
        leaves_it_alone(node, "the store says no network any more").await;
    }
    let sources = sources(&nodes);
    let (plan, network) = recover(&lab, &sources, Some(&lab.config()), &[]).await;
    assert_eq!((plan.remembered, plan.generation), (2, 3), "{plan:?}");
    let missing = recovery::joined(&lab.objects, &sources, network, PATIENCE).await.missing;
    assert_eq!(missing, BTreeMap::new());
    assert_eq!(lab.apply_in(network, 5).await, 4);
    drop(nodes);
}

/// Everything was down while the store was restored, and one node remembers: it waits. Another one that is not asked is left
/// out by name, and joins when it is started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_remembers_what_was_before() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let path = lab.folder.path().join("c1.json");
    let file =
        |lab: &Lab| outplane_rmdp_node::file::NodeFile { memory: Some(path.clone()), ..lab.file("c1") };
    let nodes = [lab.start("d1").await, lab.start_with_file("c1", file(&lab)).await];
    lab.converged(lab.apply(3).await).await;
    let backup = backed_up(&lab).await;
    let last = lab.apply(4).await;
    lab.converged(last).await;
    let written = async {
        while !Memory::read(&path).is_ok_and(|memory| memory.generation == last) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("it writes down what it knows");
    for node in nodes {
        node.drain().await;
    }
    put_back(&mut lab, &backup, true).await;
    let starts = lab.start_with_file("c1", file(&lab));
    tokio::pin!(starts);
    tokio::select! {
        _ = &mut starts => panic!("it takes the store for what it was"),
        () = sleep(Duration::from_secs(4)) => {}
    }
    let sources = [("c1".to_owned(), Source::File(path.clone()))].into();
    let (plan, network) = recover(&lab, &sources, None, &["d1"]).await;
    assert_eq!(plan.remembered, last);
    assert!(plan.generation > last + 900, "whoever was left out may know of more: {plan:?}");
    let (controller, distributor) = tokio::join!(starts, lab.start("d1"));
    assert!(lab.apply_in(network, 5).await > plan.generation);
    assert_eq!(Memory::read(&path).unwrap().network(), Some(network));
    drop((controller, distributor));
}

/// A distributor was started again after the store was put back; the controllers, which were not, know better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_forgotten_hears_it_from_the_others() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let controller = lab.start_with_pages("c1").await;
    let distributor = lab.start("d1").await;
    lab.converged(lab.apply(3).await).await;
    let backup = backed_up(&lab).await;
    let last = lab.apply(4).await;
    lab.converged(last).await;
    distributor.kill();
    put_back(&mut lab, &backup, true).await;
    leaves_it_alone(&controller, "restored from a backup").await;
    let distributor = lab.start("d1").await;
    let told = async {
        let key = Key::Status("d1".to_owned());
        loop {
            if let Ok(Some(Object::Status(status))) = lab.objects.get(&key).await
                && status.alerts.iter().any(|alert| alert.contains(&format!("c1 tells of generation {last}")))
            {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("d1 says what c1 knows");
    drop((controller, distributor));
}

/// Nothing was applied yet: starts and a configuration are all that tells that there was a network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_before_the_first_generation_waits_for_a_recovery() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let (controller, distributor) = (lab.start("c1").await, lab.start("d1").await);
    let backup = backed_up(&lab).await;
    let last = lab.apply(3).await;
    lab.converged(last).await;
    controller.drain().await;
    distributor.drain().await;
    put_back(&mut lab, &backup, false).await;
    let error = network::ensure(&lab.objects, "tests").await.unwrap_err().to_string();
    assert!(error.contains("outplane store recover"), "{error}");
    let starts = lab.start("c1");
    tokio::pin!(starts);
    tokio::select! {
        _ = &mut starts => panic!("it gives the store a network, and numbers again"),
        () = sleep(Duration::from_secs(3)) => {}
    }
    assert_eq!(lab.objects.get(&Key::Network).await.unwrap(), None);
    let (plan, network) = recover(&lab, &BTreeMap::new(), None, &["c1", "d1"]).await;
    assert_eq!(plan.remembered, last, "the switch knows");
    let (controller, distributor) = tokio::join!(starts, lab.start("d1"));
    assert!(lab.apply_in(network, 5).await > last);
    drop((controller, distributor));
}

/// Nodes that wait for a configuration start when one is set: not before the numbers are lifted. One that is set by another
/// meanwhile stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_set_last_and_over_no_other() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    lab.empty_store().await;
    let plan = |lab: &Lab| {
        let objects = lab.objects.clone();
        async move {
            let (store, _) = recovery::read_store(&objects).await.unwrap();
            recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new())
        }
    };
    let made = plan(&lab).await;
    // The node has no network, no epoch and no configuration.
    let waits = lab.start("c1");
    let recovers = async {
        sleep(Duration::from_secs(1)).await;
        recovery::carry_out(&lab.objects, &made, Some(&lab.config()), "tests").await.unwrap()
    };
    let (node, carried) = tokio::join!(waits, recovers);
    assert_eq!(carried.is_set, Some(true));
    assert_eq!(network::of(&lab.objects).await.unwrap(), Some(carried.network));
    let made = plan(&lab).await;
    let again = recovery::carry_out(&lab.objects, &made, Some("other"), "tests").await.unwrap();
    assert_eq!(again.is_set, Some(false));
    let (_, config) = recovery::read_store(&lab.objects).await.unwrap();
    assert_eq!(config.unwrap().members.len(), lab.members.len());
    drop(node);
}

/// Somebody applies while the store is recovered, who still takes it for what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_amid_a_recovery_is_covered() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    for rules in 1..=3 {
        lab.apply(rules).await;
    }
    let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
    let plan = recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
    assert_eq!(plan.generation, 4);
    assert_eq!(lab.apply(4).await, 4);
    let carried = recovery::carry_out(&lab.objects, &plan, None, "tests").await.unwrap();
    let (after, _) = recovery::read_store(&lab.objects).await.unwrap();
    assert_eq!((after.generation, after.of_generations), (5, Some(carried.network)));
}

/// Two at a time: one network counts, its generations are the newest, and nothing looks as if a recovery had been cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_recoveries_at_once_one_counts_and_nothing_is_left_of_the_other() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    for rules in 1..=3 {
        lab.apply(rules).await;
    }
    for _ in 0..5 {
        let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
        let plan = recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
        let recover = async |by: &str| recovery::carry_out(&lab.objects, &plan, None, by).await;
        let (one, other, third) = tokio::join!(recover("one"), recover("other"), recover("third"));
        let done = [one, other, third].into_iter().filter_map(Result::ok).collect::<Vec<_>>();
        assert_eq!(done.len(), 1, "one counts");
        let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
        assert_eq!((store.network, store.of_generations), (Some(done[0].network), Some(done[0].network)));
        let again = recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(again.signs, [""; 0]);
    }
    // One that waits for its nodes hears that another has come after it.
    let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
    let plan = recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
    let first = recovery::carry_out(&lab.objects, &plan, None, "first").await.unwrap().network;
    let awaits = async |network| {
        let nowhere = [("c1".to_owned(), Source::Http("127.0.0.1:1".to_owned()))].into();
        recovery::joined(&lab.objects, &nowhere, network, Duration::from_millis(100)).await
    };
    let awaited = awaits(first).await;
    assert_eq!((awaited.missing.len(), awaited.overtaken), (1, None));
    let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
    assert!(store.follows.is_superset(&plan.before), "{store:?}");
    let plan = recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new());
    let second = recovery::carry_out(&lab.objects, &plan, None, "second").await.unwrap().network;
    assert_eq!(awaits(first).await.overtaken, Some(second));
    // One that lost and was killed has covered nothing.
    let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
    let (lost, before) = (NetworkId::new(0x1057), store.of_generations.unwrap());
    let newest = store.generation + 1;
    let left = outplane_rmdp_core::object::Generation { network: lost, ..record(newest, Vec::new()) };
    assert!(lab.objects.create(&Key::Generation(newest), &mut Object::Generation(left)).await.unwrap());
    let signs = async || {
        let (store, _) = recovery::read_store(&lab.objects).await.unwrap();
        recovery::plan(&store, &BTreeMap::new(), &BTreeMap::new(), &BTreeSet::new()).signs
    };
    assert!(signs().await[0].contains("has not come to its end"), "nobody knows of which it is");
    let recovery = |of: NetworkId| outplane_rmdp_core::object::Recovery {
        network: lost,
        before: vec![of.to_string()],
        above: 3,
        by: "tests".to_owned(),
        at_ms: 0,
    };
    let key = Key::Recovery(lost);
    lab.objects.put(&key, &mut Object::Recovery(recovery(before))).await.unwrap();
    assert!(signs().await[0].contains("has not come to its end"), "it began with what the store still is");
    lab.objects.put(&key, &mut Object::Recovery(recovery(NETWORK))).await.unwrap();
    assert_eq!(signs().await, [""; 0]);
}
