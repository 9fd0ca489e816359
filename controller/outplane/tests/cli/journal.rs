//! The soft switch's journal: who wrote what, and who was refused.

use serde_json::{Value, json};

use crate::other::OtherController;
use crate::support::{SoftSwitch, folder, outplane};

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the journal is there");
    assert!(text.ends_with('\n'), "whole lines");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn id(line: &Value) -> (u64, u64) {
    let id = &line["election_id"];
    (id["high"].as_u64().expect("a number"), id["low"].as_u64().expect("a number"))
}

#[test]
fn the_journal_tells_who_wrote_what() {
    let folder = folder();
    let path = folder.path().join("journal");
    let switch = SoftSwitch::start_with(&["--journal", path.to_str().expect("a path in UTF-8")]);
    let apply = |id: &str| {
        let words = ["apply", "examples/campus", "--address", &switch.address, "--election-id", id];
        outplane([&words[..], &["-o", "json"]].concat())
    };
    // 1 << 64 | 2
    let applied = apply("18446744073709551618").ends(0).json();
    let first = lines(&path);
    assert_eq!((first[0]["event"].as_str(), id(&first[0])), (Some("primary"), (1, 2)));
    assert_eq!(first[1]["event"], "pipeline");
    assert_eq!(first[1]["result"], "OK");
    let writes: Vec<_> = first.iter().filter(|line| line["event"] == "write").collect();
    let mut changes = Vec::new();
    for line in &writes {
        assert_eq!((line["result"].as_str(), id(line)), (Some("OK"), (1, 2)), "{line}");
        assert_eq!(line["refused"], 0, "{line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
        let kinds = ["inserts", "modifies", "deletes"].map(|kind| line[kind].as_u64().expect("a number"));
        assert_eq!(kinds.iter().sum::<u64>(), line["asked"].as_u64().expect("a number"), "{line}");
        assert!(line["digest"].is_string(), "{line}");
        changes.extend(line["changes"].as_array().expect("a list").clone());
    }
    assert_eq!(json!(changes.len()), applied["writes"]);
    let distinct: std::collections::BTreeSet<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), changes.len(), "no write came twice");
    for change in &changes {
        let parts: Vec<_> = change.as_str().expect("a string").split(':').collect();
        assert!(["insert", "modify", "delete"].contains(&parts[0]) && parts.len() == 3, "{change}");
        assert!(parts[1..].iter().all(|digest| digest.len() == 16) && parts[1] != parts[2], "{change}");
    }
    let times: Vec<_> = first.iter().map(|line| line["monotonic_ns"].as_u64()).collect();
    assert!(times.is_sorted() && times[0] > Some(0), "{times:?}");

    // Nothing to change: a new primary, and no writes.
    apply("18446744073709551619").ends(0);
    let second = lines(&path);
    assert_eq!(second.len(), first.len() + 1);
    assert_eq!((second[first.len()]["event"].as_str(), id(&second[first.len()])), (Some("primary"), (1, 3)));

    // Somebody who was overtaken while connected is refused, and that is told.
    let overtaken = OtherController::connect(&switch.address, 1 << 64 | 4);
    let _now = OtherController::connect(&switch.address, 1 << 64 | 5);
    assert!(overtaken.try_to_insert_forwarding(1, 1).is_err());
    let third = lines(&path);
    let last = third.last().expect("lines");
    assert_eq!((last["event"].as_str(), id(last)), (Some("write"), (1, 4)), "{last}");
    assert_eq!(
        (last["result"].as_str(), &last["digest"]),
        (Some("PERMISSION_DENIED"), &Value::Null),
        "{last}"
    );
    assert_eq!((&last["asked"], &last["refused"], &last["changes"]), (&json!(1), &json!(1), &json!([])));
    assert_eq!(switch.terminate(), Some(0));
}

#[test]
fn a_switch_that_cannot_write_its_journal_ends() {
    let there =
        outplane(["softswitch", "--no-ports", "--listen", "127.0.0.1:0", "--journal", "/nowhere/journal"])
            .ends(1);
    assert!(there.err.contains("/nowhere/journal"), "{}", there.err);
    if !std::path::Path::new("/dev/full").exists() {
        println!("SKIPPED: a full disk under the journal: this system has no /dev/full");
        return;
    }
    let mut switch = SoftSwitch::start_with(&["--journal", "/dev/full"]);
    let _client = OtherController::connect(&switch.address, 1);
    assert_eq!(switch.wait(), Some(1));
}
