//! A client's file: what people and CI apply with, without being a node.

use std::path::Path;

use serde_json::json;

use crate::lab::Lab;
use crate::support::{Run, SoftSwitch, file, folder, outplane};

fn run(config: &str, line: &str) -> Run {
    let words = line.split_whitespace().map(str::to_owned);
    outplane(words.chain(["--config".to_owned(), config.to_owned()]))
}

/// The file that `config client` prints, with the secrets of the lab in the environment's place.
fn client(lab: &Lab, folder: &Path) -> String {
    let printed = run(&lab.paths("node.toml"), "config client ci-campus").ends(0).out;
    assert!(printed.contains("name = \"ci-campus\"\nnetwork = \""), "{printed}");
    assert!(!printed.contains("[keys]") && !printed.contains("a-secret-of-tests"), "{printed}");
    let text = printed
        .replace("{ env = \"OUTPLANE_ACCESS_KEY\" }", "\"tests\"")
        .replace("{ env = \"OUTPLANE_SECRET_KEY\" }", "\"a-secret-of-tests\"");
    file(folder, "ci.toml", &(text + "attempt_timeout_ms = 2000\n"))
}

#[test]
fn a_client_applies_and_reads_and_is_no_node() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    let folder = folder();
    // There is nothing to be a client of yet.
    run(&node, "config client").ends(1);
    run(&node, &lab.paths("config set examples/shared.toml")).ends(0);
    let ci = client(&lab, folder.path());
    for (role, name) in [("distributor", "d1"), ("controller", "c1")] {
        lab.daemon(role, name);
    }
    let applied = run(&ci, "apply examples/campus -o json").ends(0).json();
    assert_eq!((&applied["converged"], &applied["told"]), (&json!(true), &json!(0)), "{applied}");
    run(&ci, "apply examples/campus --no-wait --author alice").ends(0);
    let history = run(&ci, "intent history -o json").ends(0).json();
    let by = |place: usize| history["generations"][place]["by"].clone();
    assert_eq!((by(0), by(1)), (json!("alice"), json!("ci-campus")), "{history}");
    for line in ["status", "tasks", "log", "config get", "config history", "intent show 1", "intent diff"] {
        run(&ci, line).ends(0);
    }
    run(&ci, "apply examples/campus --dry-run").ends(0);
    // A rollback says who, too.
    let group = "apiVersion: outplane.dev/v1alpha1\nkind: AddressGroup\nmetadata: {name: more}\nspec: {addresses: [192.0.2.0/24]}\n";
    let more = file(folder.path(), "more.yaml", group);
    run(&ci, &format!("apply examples/campus {more} --no-wait")).ends(0);
    run(&ci, "intent rollback 1 --no-wait --author bob").ends(0);
    let history = run(&ci, "intent history --limit 1 -o json").ends(0).json();
    let newest = &history["generations"][0];
    assert_eq!((&newest["by"], &newest["same_as"]), (&json!("bob"), &json!(2)), "{history}");
    // What needs a node says so.
    for line in [&lab.paths("config set examples/shared.toml"), "probe"] {
        let refused = run(&ci, line).ends(1);
        assert!(refused.err.contains("needs a node's own file"), "{line}: {}", refused.err);
    }
    let refused = outplane(["controller", "--config", &ci]).ends(1);
    assert!(refused.err.contains("this is a client's file"), "{}", refused.err);
    // Only a log keeps who applied.
    let direct = ["apply", "examples/campus", "--address", &switch.address, "--author", "eve"];
    let refused = outplane(direct).ends(2);
    assert!(refused.err.contains("--author goes with --config"), "{}", refused.err);
}

#[test]
fn a_client_of_another_network_is_told() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    run(&node, &lab.paths("config set examples/shared.toml")).ends(0);
    let folder = folder();
    let ci = client(&lab, folder.path());
    let text = std::fs::read_to_string(&ci).expect("it is there");
    let id = run(&node, "config client -o json").ends(0).json()["network"].clone();
    let id = id.as_str().expect("text");
    let other = file(folder.path(), "other.toml", &text.replace(id, "00000000000000aa"));
    for line in ["apply examples/campus", "status", "intent history"] {
        let refused = run(&other, line).ends(1).err;
        let told = refused.contains(&format!("the store is of network {id}"));
        assert!(told && refused.contains("00000000000000aa"), "{line}: {refused}");
    }
    let keys = text.replace("[store]", "[keys]\n1 = \"x\"\n[store]");
    let refused = run(&file(folder.path(), "keys.toml", &keys), "status").ends(1);
    assert!(refused.err.contains("a client has none"), "{}", refused.err);
}
