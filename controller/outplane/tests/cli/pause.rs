//! A node that is stopped for a while, as by SIGSTOP or with its machine.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::lab::Lab;
use crate::support::{SoftSwitch, outplane};

/// It says so of itself, once, and that the store is away not at all: it has not asked.
#[test]
fn a_pause_is_told_as_the_nodes_own_and_once() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    let run = |line: &str| outplane(lab.paths(line).split(' ').chain(["--config", &node]));
    run("config set examples/shared.toml").ends(0);
    lab.daemon("distributor", "d1");
    lab.daemon("controller", "c1");
    let controller = lab.newest_daemon();
    let run = |line: &str| outplane(lab.paths(line).split(' ').chain(["--config", &node]));
    run("apply examples/campus").ends(0);
    // The store goes on a little later: nobody has answered when the node looks first.
    let both = [controller, lab.store_process()];
    for process in both {
        kill(process, Signal::SIGSTOP).expect("it runs");
    }
    sleep(Duration::from_secs(7));
    for process in both {
        kill(process, Signal::SIGCONT).expect("it is there");
        sleep(Duration::from_millis(600));
    }
    let told = || {
        let status = run("status -o json").ends(0).json();
        let nodes = status["nodes"].as_array().expect("nodes").iter();
        let of = nodes.filter(|of| of["node"] == "c1");
        let alerts = of.flat_map(|of| {
            let past =
                of["past_alerts"].as_array().expect("alerts").iter().map(|past| past["text"].to_string());
            past.chain(of["alerts"].as_array().expect("alerts").iter().map(Value::to_string))
                .collect::<Vec<_>>()
        });
        alerts.collect::<Vec<_>>()
    };
    let end = Instant::now() + Duration::from_mins(1);
    while !told().iter().any(|alert| alert.contains("this node stood still")) {
        assert!(Instant::now() < end, "it says so: {:?}", told());
        sleep(Duration::from_millis(200));
    }
    // Whatever else it has to say it says by then.
    sleep(Duration::from_secs(6));
    let told = told();
    let count = |words: &str| told.iter().filter(|alert| alert.contains(words)).count();
    assert_eq!((count("this node stood still"), count("the store is away")), (1, 0), "{told:?}");
    lab.kill_daemons();
}
