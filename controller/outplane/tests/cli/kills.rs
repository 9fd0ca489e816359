//! Whoever appends, carries out or stores is killed at any moment: the intent log is whole all the same.

use std::fmt::Write as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::lab::Lab;
use crate::support::{SoftSwitch, command, outplane};

/// So many addresses that a snapshot of them lies beside its generation, and other ones in every round here and there.
fn group(round: u64) -> String {
    let mut text =
        "apiVersion: outplane.dev/v1alpha1\nkind: AddressGroup\nmetadata: {name: many}\nspec:\n  addresses:\n".to_owned();
    for place in 0..2000_u64 {
        let seed = if place % 400 == round % 400 { place + round } else { place };
        let chance = seed.wrapping_add(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let [first, second, third, ..] = chance.to_le_bytes();
        let _ = writeln!(text, "  - 10.{first}.{second}.{third}/32");
    }
    text
}

#[test]
fn whoever_appends_or_stores_is_killed_at_any_moment() {
    const ROUNDS: u64 = 80;
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    let node = lab.path("node.toml");
    outplane(["config", "set", &lab.path("shared.toml"), "--config", &node]).ends(0);
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..ROUNDS {
        if round % 16 == 0 {
            lab.kill_daemons();
            for (role, name) in [("distributor", "d1"), ("controller", "c1"), ("controller", "c2")] {
                lab.daemon(role, name);
            }
        }
        let many = lab.file("many.yaml", &group(round));
        let arguments = ["apply", "examples/campus", &many, "--config", &node, "--no-wait"];
        let mut apply = command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        sleep(Duration::from_millis(random.u64(0..400)));
        if round % 5 == 4 {
            lab.end_store();
            lab.replace_store("store");
        }
        apply.kill().expect("it can be killed");
        apply.wait().expect("it has ended");
        // Whatever has become of it, the next one is appended, and rests on nothing that is not there.
        if round % 8 == 7 {
            outplane(["apply", "examples/campus", &many, "--config", &node, "--no-wait", "--anyway"]).ends(0);
        }
    }
    let last = lab.file("many.yaml", &group(ROUNDS));
    let applied =
        outplane(["apply", "examples/campus", &last, "--config", &node, "-o", "json"]).ends(0).json();
    assert_eq!(applied["converged"], true, "{applied}");
    let history =
        outplane(["intent", "history", "--limit", "200", "--config", &node, "-o", "json"]).ends(0).json();
    let generations = history["generations"].as_array().expect("a list");
    assert!(generations.len() as u64 > ROUNDS / 8, "{} were appended", generations.len());
    for generation in generations {
        assert!(generation["error"].is_null(), "{generation}");
        assert_eq!(generation["files"].as_array().map(Vec::len), Some(4), "{generation}");
    }
}
