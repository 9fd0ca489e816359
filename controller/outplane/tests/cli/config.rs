//! The shared configuration by commands; and who is said to be up.

use crate::lab::Lab;
use crate::support::{Run, outplane};

fn run(lab: &Lab, line: &str) -> Run {
    outplane(lab.paths(line).split(' '))
}

#[test]
fn every_key_is_shown_and_every_fault_is_told() {
    let lab = Lab::start("127.0.0.1:9559");
    run(&lab, "config set examples/shared.toml --config node.toml").ends(0);
    let set = run(&lab, "config get --config node.toml").ends(0).out;
    assert!(!set.contains("lease_per_entry_us"), "{set}");
    let effective = run(&lab, "config get --effective --config node.toml").ends(0).out;
    for key in ["lease_per_entry_us = 100", "[packet_log]", "sign_with = 1", "silent_after = 5"] {
        assert!(effective.contains(key), "{key}: {effective}");
    }
    let again = lab.file("effective.toml", &effective);
    run(&lab, &format!("config set {again} --config node.toml")).ends(0);

    let faulty = lab.file(
        "faulty.toml",
        &(set + "\n[claims]\nlease = 5\nbudget_ms = 9000\n[queue]\npoll_ms = \"often\"\n"),
    );
    let told = run(&lab, &format!("config set {faulty} --config node.toml")).ends(1).err;
    for fault in ["claims.lease: unknown field", "claims.budget_ms: 9000", "queue.poll_ms: invalid type"] {
        assert!(told.contains(fault), "{fault}: {told}");
    }
    assert_eq!(told.matches("line ").count(), 3, "{told}");
}

#[test]
fn a_key_that_nodes_lack_is_not_signed_with() {
    let mut lab = Lab::start("127.0.0.1:9559");
    run(&lab, "config set examples/shared.toml --config node.toml").ends(0);
    lab.daemon("controller", "c1");
    let text = run(&lab, "config get --config node.toml").ends(0).out;
    let next = lab.file("next.toml", &format!("{text}\n[keys]\nsign_with = 2\naccept = [1, 2]\n"));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !run(&lab, "status --config node.toml --output json").out.contains("\"keys\": [") {
        assert!(std::time::Instant::now() < end, "it says which keys it has");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // Whatever is accepted, it is known that this does not work.
    let refused = run(&lab, &format!("config set {next} --config node.toml --unproven-keys")).ends(1).err;
    assert!(refused.contains("c1 cannot verify it"), "{refused}");
    lab.kill_daemons();
}

#[test]
fn silence_is_no_proof_that_a_node_has_a_key() {
    let lab = Lab::start("127.0.0.1:9559");
    run(&lab, "config set examples/shared.toml --config node.toml").ends(0);
    let text = run(&lab, "config get --config node.toml").ends(0).out;
    let next = lab.file("next.toml", &format!("{text}\n[keys]\nsign_with = 2\naccept = [1, 2]\n"));
    let refused = run(&lab, &format!("config set {next} --config node.toml")).ends(1).err;
    assert!(refused.contains("--unproven-keys") && refused.contains("d1 (no status)"), "{refused}");
    run(&lab, &format!("config set {next} --config node.toml --unproven-keys")).ends(0);
}

#[test]
fn a_connection_that_is_refused_is_told_once() {
    let mut lab = Lab::start("127.0.0.1:9559");
    lab.end_store();
    let told = run(&lab, "status --config node.toml").ends(4).err;
    assert_eq!(told.matches("Connection refused").count(), 1, "{told}");
    assert!(told.contains("is the store up, and is this its address (`endpoints` of [store]"), "{told}");
}

#[test]
fn that_nobody_is_up_is_said_as_such_and_once() {
    let lab = Lab::start("127.0.0.1:9559");
    run(&lab, "config set examples/shared.toml --config node.toml").ends(0);
    let status = run(&lab, "status --config node.toml").ends(0).out;
    for lacking in [
        "no distributor is up (d1 was never seen)",
        "no controller is up (c1 was never seen, c2 was never seen)",
    ] {
        assert!(status.contains(lacking), "{status}");
    }
    assert!(
        status.contains("Degraded\n  nobody up has a role that has to be there, see above\n"),
        "{status}"
    );
    let applied = run(&lab, "apply examples/campus --config node.toml --timeout 6").ends(3);
    // Nobody tells of the switch yet, and it is there.
    let status = run(&lab, "status --config node.toml").ends(0).out;
    assert!(status.contains("core: generation 1 is not done yet: waiting"), "{status}");
    assert!(status.lines().all(|line| line.chars().count() <= 100), "{status}");
    assert_eq!(applied.err.matches("no distributor is up").count(), 1, "{}", applied.err);
    assert_eq!(applied.err.matches("no controller is up").count(), 1, "{}", applied.err);
    assert!(
        applied.out.contains("no task after 6s: no distributor is up (d1 was never seen)"),
        "{}",
        applied.out
    );
}
