//! Two distributors and two controllers, the smallest network that survives a loss: there, too, people are told of who is
//! frozen, though ranks are moved for nobody.

use std::time::{Duration, Instant};

use outplane_testbed::{Cluster, ClusterOptions, SharedConfig, StoreKind, Xdp};
use outplane_tests::network::started;
use outplane_tests::skipped;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

fn status(cluster: &Cluster) -> Value {
    let output = cluster.outplane(&["status", "-o", "json"]).expect("a status");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn node<'s>(status: &'s Value, name: &str) -> &'s Value {
    let nodes = status["nodes"].as_array().expect("a list");
    nodes.iter().find(|node| node["node"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
}

fn degraded(status: &Value, name: &str, of: &str) -> bool {
    let degraded = status["degraded"].as_array().expect("a list");
    degraded.iter().any(|alert| alert["node"] == name && alert["of"] == of)
}

fn alerted(status: &Value, by: &str, words: &str) -> bool {
    let alerts = node(status, by)["alerts"].as_array().expect("a list");
    alerts.iter().any(|alert| alert.as_str().is_some_and(|alert| alert.contains(words)))
}

/// Of something that is over.
fn was_alerted(status: &Value, by: &str, words: &str) -> bool {
    let past = node(status, by)["past_alerts"].as_array().expect("a list");
    past.iter().any(|alert| alert["text"].as_str().is_some_and(|text| text.contains(words)))
}

/// The status, once it says so.
fn until(cluster: &Cluster, what: &str, says: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = status(cluster);
        if says(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{what}: {status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn in_a_network_of_two_of_each_kind_silence_and_loss_are_told() {
    if let Some(why) = outplane_testbed::why_not() {
        skipped("two distributors and two controllers", &why);
        return;
    }
    let options = ClusterOptions {
        distributors: 2,
        controllers: 2,
        switches: 10,
        ports: 0,
        store: StoreKind::Embedded,
        xdp: Xdp::Off,
        relays: Vec::new(),
        shared: SharedConfig::default(),
    };
    let cluster = started(options).expect("it starts");
    until(&cluster, "all are up and heard", |status| {
        ["d1", "d2", "c1", "c2"].iter().all(|name| {
            let node = node(status, name);
            node["state"] == "up" && node["heard"]["seconds"].is_number()
        }) && status["degraded"].as_array().is_some_and(Vec::is_empty)
    });

    // Probes are for the switches of a generation.
    let policy = "---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: edge}\nspec:\n  rules:\n  - \
                  {name: telnet, action: deny, ports: [{protocol: TCP, port: 23}]}\n";
    cluster.write("policy.yaml", &(cluster.switch_objects() + policy)).expect("a policy");
    cluster.outplane(&["apply", "policy.yaml"]).expect("a generation");

    // One of two distributors, for as long as tasks come.
    let frozen = Instant::now();
    cluster.pause("d1").expect("it runs");
    for _ in 0..20 {
        cluster.outplane(&["probe", "--no-wait"]).expect("ten tasks");
    }
    let told = until(&cluster, "silence and loss are told", |status| {
        node(status, "d1")["state"] == "silent"
            && degraded(status, "d1", "silent")
            && degraded(status, "d1", "sender")
    });
    println!("a frozen distributor of two was told of after {:.1?}", frozen.elapsed());
    assert!(node(&told, "d1")["heard"]["seconds"].as_f64().is_some_and(|ago| ago > 1.0), "{told:#}");
    for observer in ["d2", "c1", "c2"] {
        assert!(alerted(&told, observer, "d1 has not been heard for"), "{observer}: {told:#}");
    }
    assert!(["c1", "c2"].iter().any(|by| alerted(&told, by, "ranks are not moved for it")), "{told:#}");
    cluster.resume("d1").expect("it was stopped");
    until(&cluster, "it is back", |status| {
        node(status, "d1")["state"] == "up" && !degraded(status, "d1", "silent")
    });

    // One of two controllers: four seconds are enough.
    let frozen = Instant::now();
    cluster.pause("c1").expect("it runs");
    let told = until(&cluster, "a frozen controller is not up", |status| node(status, "c1")["state"] != "up");
    let after = frozen.elapsed();
    println!("a frozen controller of two was told of after {after:.1?}");
    assert_eq!(node(&told, "c1")["state"], "silent", "{told:#}");
    assert!(degraded(&told, "c1", "silent"), "{told:#}");
    cluster.resume("c1").expect("it was stopped");
    until(&cluster, "it says that it stood still", |status| {
        node(status, "c1")["state"] == "up" && was_alerted(status, "c1", "this node stood still for")
    });

    // Who leaves in good order is missed by nobody.
    cluster.stop("d2").expect("it leaves");
    std::thread::sleep(Duration::from_secs(4));
    let after = status(&cluster);
    assert_eq!(node(&after, "d2")["state"], "left", "{after:#}");
    assert!(
        !degraded(&after, "d2", "silent") && !alerted(&after, "c1", "d2 has not been heard"),
        "{after:#}"
    );
}
