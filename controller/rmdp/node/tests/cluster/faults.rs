//! What fails, and what happens then: the design's table, one row a test.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_core::config::Role;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Object, Outcome};
use tokio::time::{sleep, timeout};

use crate::support::{Lab, Node, PATIENCE, QUICK, id, told_of};

/// Between a claim and the first write a controller waits for nothing, so the switch is made to be slow: it is there
/// but does not answer, until the test has killed who executes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_killed_after_its_claim_is_replaced() {
    let lab = Lab::new(&["leaf1"], 1, 3).await;
    // A listener that never speaks stands in for the switch at first.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let real = lab.switches["leaf1"].server().address().to_string();
    lab.set_config(&lab.config().replace(&real, &mute.local_addr().unwrap().to_string())).await;
    let mut nodes = lab.start_all().await;
    let generation = lab.apply(3).await;
    let claim = lab.claim(generation, "leaf1", 1).await;
    nodes.remove(claim.owner.as_str()).unwrap().kill();
    lab.set_config(&lab.config()).await;
    let decision = lab.converged(generation).await.remove("leaf1").unwrap();
    assert!(decision.attempt >= 2, "{decision:?}");
    assert_ne!(decision.owner, claim.owner);
}

/// The same where leases last longer than anything here: silence is enough, since the switch shows that it fences.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_owner_is_taken_over_before_its_lease_ends() {
    let tail = QUICK.replace("lease_base_ms = 2400", "lease_base_ms = 100000");
    let tail = tail.replace("lease_max_ms = 5000", "lease_max_ms = 200000") + "[audit]\ninterval_s = 1\n";
    let lab = Lab::with(&["leaf1"], 1, 3, &tail).await;
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let real = lab.switches["leaf1"].server().address().to_string();
    let mut nodes = lab.start_all().await;
    // The pipeline: who goes over a silent owner pushes none.
    let first = lab.apply(2).await;
    lab.converged(first).await;
    let muted = lab.config().replace(&real, &mute.local_addr().unwrap().to_string());
    let version = lab.set_config(&muted).await;
    follow(&lab, nodes.keys().copied(), version).await;
    let generation = lab.apply(3).await;
    let claim = lab.claim(generation, "leaf1", 1).await;
    nodes.remove(claim.owner.as_str()).unwrap().kill();
    lab.set_config(&lab.config()).await;
    let decision = lab.converged(generation).await.remove("leaf1").unwrap();
    assert_ne!(decision.owner, claim.owner);
    // Its status says so, and later that of whoever keeps the switch what it has shown.
    let told = async {
        let (mut over, mut fenced) = (0, None);
        while over == 0 || fenced.is_none() {
            for name in nodes.keys().filter(|name| name.starts_with('c')) {
                if let Ok(Some(Object::Status(status))) =
                    lab.objects.get(&Key::Status((*name).to_owned())).await
                {
                    over = over.max(status.counters.get("tasks.takeovers").copied().unwrap_or(0));
                }
                if let Ok(Some(Object::Kept(kept))) = lab.objects.get(&Key::Kept((*name).to_owned())).await {
                    fenced = fenced.or(kept.switches.iter().find_map(|switch| switch.is_fenced));
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        fenced
    };
    assert_eq!(timeout(PATIENCE, told).await.expect("it is told"), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_distributors_is_down() {
    let lab = Lab::new(&["leaf1", "leaf2"], 2, 2).await;
    let mut nodes = lab.start_all().await;
    nodes.remove("d1").unwrap().kill();
    let generation = lab.apply(3).await;
    lab.converged(generation).await;
}

/// Every datagram goes to addresses where nobody listens: the queue's poll is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_datagram_the_queue_is_enough() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 2).await;
    let nodes = lab.start_all().await;
    // The nodes keep their sockets; what is sent goes elsewhere.
    for member in &mut lab.members {
        member.address.set_port(member.address.port() ^ 1);
    }
    let version = lab.set_config(&lab.config()).await;
    follow(&lab, nodes.keys().copied(), version).await;
    let generation = lab.apply(3).await;
    for decision in lab.converged(generation).await.values() {
        let key = Key::Claim(id(generation, &decision.event.switch), 1);
        let Some(Object::Claim(claim)) = lab.objects.get(&key).await.unwrap() else { panic!("{key}") };
        assert_eq!(claim.received, "queue");
    }
}

/// Until the status of these nodes names the version.
pub(crate) async fn follow(lab: &Lab, nodes: impl Iterator<Item = &'static str>, version: u64) {
    for node in nodes {
        let key = Key::Status(node.to_owned());
        let followed = async {
            loop {
                if let Ok(Some(Object::Status(status))) = lab.objects.get(&key).await
                    && status.config >= version
                {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, followed)
            .await
            .unwrap_or_else(|_| panic!("{node} does not follow version {version}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_is_followed_live() {
    let mut lab = Lab::new(&["leaf1"], 1, 2).await;
    let nodes = lab.start_all().await;
    let first = lab.apply(3).await;
    lab.converged(first).await;
    // Another switch, and another lease.
    let more = crate::support::start_switch("127.0.0.1:0").await;
    lab.switches.insert("leaf2".to_owned(), more);
    lab.tail = lab.tail.replace("lease_base_ms = 2400", "lease_base_ms = 2600");
    let version = lab.set_config(&lab.config()).await;
    follow(&lab, nodes.keys().copied(), version).await;
    let second = lab.apply(4).await;
    lab.converged(second).await;
    assert!(lab.claim(second, "leaf1", 1).await.lease_ms >= 2600);
    // A version that cannot work is not followed, and whoever looks is told.
    let bad = lab.set_config("nonsense").await;
    let key = Key::Status("c1".to_owned());
    let told = async {
        loop {
            if let Ok(Some(Object::Status(status))) = lab.objects.get(&key).await
                && status.alerts.iter().any(|alert| alert.contains(&format!("version {bad} ")))
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("an alert about the version");
    let third = lab.apply(2).await;
    lab.converged(third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_under_way() {
    let mut lab = Lab::new(&["leaf1"], 1, 2).await;
    let mut nodes: BTreeMap<&str, Node> = BTreeMap::new();
    for name in ["d1", "c1", "c2"] {
        nodes.insert(name, lab.start_with_keys(name, &[1, 2]).await);
    }
    let mut steps = vec![
        "sign_with = 1\naccept = [1, 2]",
        "sign_with = 2\naccept = [1, 2]",
        "sign_with = 2\naccept = [2]",
    ];
    for (round, keys) in steps.drain(..).enumerate() {
        lab.tail = format!("{QUICK}[keys]\n{keys}\n");
        let version = lab.set_config(&lab.config()).await;
        follow(&lab, nodes.keys().copied(), version).await;
        let generation = lab.apply(2 + round).await;
        lab.converged(generation).await;
        let claim = lab.claim(generation, "leaf1", 1).await;
        assert_ne!(claim.received, "queue", "the announce came under the keys of step {round}");
    }
}

/// A node without the secret of an accepted key says so, and is not ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_is_told() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = lab.start_all().await;
    lab.tail = format!("{QUICK}[keys]\nsign_with = 1\naccept = [1, 9]\n");
    let version = lab.set_config(&lab.config()).await;
    follow(&lab, nodes.keys().copied(), version).await;
    let Some(Object::Status(status)) = lab.objects.get(&Key::Status("c1".to_owned())).await.unwrap() else {
        panic!("a status")
    };
    assert!(status.alerts.iter().any(|alert| alert.contains("key 9, whose secret is not")), "{status:?}");
    lab.converged(lab.apply(2).await).await;
}

/// A node with another secret under the same key id: everybody says whose it is, and it says that it is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_told_by_everybody() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let mut nodes = lab.start_all().await;
    lab.converged(lab.apply(2).await).await;
    nodes.remove("c2").unwrap().drain().await;
    let _c2 = lab.start_with_file("c2", lab.file_with_secret("c2", 1, "77")).await;
    let until = async |node: &str, words: &str| {
        let says = async {
            loop {
                if let Ok(Some(Object::Status(status))) = lab.objects.get(&Key::Status(node.to_owned())).await
                    && status.alerts.iter().any(|alert| alert.contains(words))
                {
                    return status;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, says).await.unwrap_or_else(|_| panic!("{node} never says {words}"))
    };
    for node in ["d1", "c1"] {
        let status = until(node, "datagrams of c2 are refused as forged").await;
        let heard = &status.heard["c2"];
        assert_eq!((heard.left, heard.silent), (false, true), "{status:?}");
    }
    until("c2", "this node's secret is not theirs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overtaken_generation_is_superseded_or_done_and_the_newest_stands() {
    let lab = Lab::new(&["leaf1", "leaf2"], 2, 3).await;
    let _nodes = lab.start_all().await;
    let mut newest = 0;
    for rules in 1..=12 {
        newest = lab.apply(rules).await;
    }
    lab.converged(newest).await;
    for generation in 1..newest {
        for switch in lab.switches.keys() {
            // Distributors may have skipped a generation that was old before they saw it.
            if let Some(Object::Decision(decision)) =
                lab.objects.get(&Key::Decision(id(generation, switch))).await.unwrap()
            {
                let fine = matches!(decision.outcome, Outcome::Done { .. } | Outcome::Superseded { .. });
                assert!(fine, "{decision:?}");
            }
        }
    }
    // Nothing of the old ones comes back.
    sleep(Duration::from_millis(500)).await;
    lab.assert_holds(newest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_keeps_failing_ends_as_failed_with_an_alert() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    // Nobody listens there.
    let real = lab.switches["leaf1"].server().address().to_string();
    lab.set_config(&lab.config().replace(&real, "127.0.0.1:1")).await;
    let _nodes = lab.start_all().await;
    let generation = lab.apply(3).await;
    let decision = lab.decision(generation, "leaf1").await;
    let Outcome::Failed { attempts, reason } = &decision.outcome else { panic!("{decision:?}") };
    assert_eq!(*attempts, 4);
    assert!(reason.contains("leaf1") && reason.contains("cannot connect"), "{reason}");
    let key = Key::Status(decision.owner.clone());
    let task = id(generation, "leaf1").to_string();
    let told = async {
        loop {
            if let Ok(Some(Object::Status(status))) = lab.objects.get(&key).await
                && told_of(&status, &task)
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("an alert about the task");
    // The next generation has attempts of its own.
    lab.set_config(&lab.config()).await;
    lab.converged(lab.apply(2).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_away_for_some_seconds() {
    let mut lab = Lab::new(&["leaf1"], 1, 2).await;
    let _nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    lab.stop_store().await;
    sleep(Duration::from_secs(3)).await;
    lab.start_store().await;
    let generation = lab.apply(5).await;
    lab.converged(generation).await;
}

/// The status line and the body of a page.
pub(crate) async fn page(node: &Node, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(node.up.http.unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Neither of them has anything to ask the store for, and each knows all the same that it is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_nobody_is_ready() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = [lab.start_with_pages("d1").await, lab.start_with_pages("c1").await];
    let until = async |code: &str, words: &str| {
        for node in &nodes {
            let says = async {
                while !{
                    let page = page(node, "/ready").await;
                    page.starts_with(&format!("HTTP/1.1 {code}")) && page.contains(words)
                } {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(PATIENCE, says).await.unwrap_or_else(|_| panic!("{} never says {code}", node.up.node));
        }
    };
    until("200", "ready").await;
    lab.stop_store().await;
    until("503", "the store is away").await;
    // Whatever is asked for meanwhile has its own key.
    sleep(Duration::from_secs(4)).await;
    lab.start_store().await;
    until("200", "ready").await;
    for node in &nodes {
        let one = async {
            loop {
                let page = page(node, "/status").await;
                let (_, body) = page.split_once("\r\n\r\n").unwrap();
                let status: serde_json::Value = serde_json::from_str(body).unwrap();
                let past = status["past"].as_array().cloned().unwrap_or_default();
                let away = |past: &&serde_json::Value| past["text"].to_string().contains("the store is away");
                let told = past.iter().filter(away).count();
                assert!(told <= 1, "one outage is told once: {past:?}");
                if told == 1 && !status["alerts"].to_string().contains("the store is away") {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, one).await.unwrap_or_else(|_| panic!("{} does not tell of it", node.up.node));
    }
}

/// What is claimed is finished, nothing new is claimed, and the status says that it has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_leaves() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let mut nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    for name in ["c1", "d1"] {
        nodes.remove(name).unwrap().drain().await;
        let key = Key::Status(name.to_owned());
        let Some(Object::Status(status)) = lab.objects.get(&key).await.unwrap() else { panic!("a status") };
        assert_eq!((status.receiver.as_str(), status.draining), (outplane_rmdp_node::daemon::LEFT, true));
    }
    let again = lab.start("d1").await;
    assert_eq!(again.up.epoch, 2);
    let decision = lab.converged(lab.apply(4).await).await.remove("leaf1").unwrap();
    assert_eq!(decision.owner, "c2");
    assert_eq!(lab.members.iter().filter(|member| member.role == Role::Controller).count(), 2);
}

/// Who is asked to stop ends, also when the store died right after a change and takes nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_store_that_is_gone() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    // Nobody listens there, so the attempt ends at once, and its result has nowhere to go.
    let real = lab.switches["leaf1"].server().address().to_string();
    let closed = lab.config().replace(&real, "127.0.0.1:1");
    lab.set_config(&closed).await;
    let mut nodes = lab.start_all().await;
    let generation = lab.apply(1).await;
    lab.claim(generation, "leaf1", 1).await;
    lab.stop_store().await;
    for name in ["c1", "d1"] {
        nodes.remove(name).unwrap().drain().await;
    }
}
