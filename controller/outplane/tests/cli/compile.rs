//! `outplane compile`.

use std::fs;

use outplane_p4runtime::p4::v1::WriteRequest;
use outplane_p4runtime::p4::v1::update::Type;
use prost::Message as _;

use crate::support::{folder, golden, outplane, root};

#[test]
fn the_order_of_files_does_not_matter() {
    let (policy, network) = ("examples/campus/policy.yaml", "examples/campus/network.yaml");
    for format in ["text", "json"] {
        let one = outplane(["compile", policy, network, "-o", format]).ends(0);
        let other = outplane(["compile", network, policy, "-o", format]).ends(0);
        let folder = outplane(["compile", "examples/campus", "-o", format]).ends(0);
        assert_eq!(one.out, other.out);
        assert_eq!(one.out, folder.out);
    }
}

#[test]
fn the_order_of_documents_does_not_matter() {
    let text = fs::read_to_string(root().join("examples/campus/policy.yaml")).expect("the example is there");
    let mut documents: Vec<&str> = text.split("\n---\n").collect();
    documents.reverse();
    let folder = folder();
    let path = crate::support::file(folder.path(), "reversed.yaml", &documents.join("\n---\n"));
    let one = outplane(["compile", "examples/campus", "-o", "json"]).ends(0);
    let other = outplane(["compile", &path, "examples/campus/network.yaml", "-o", "json"]).ends(0);
    assert_eq!(one.out, other.out);
}

#[test]
fn dumps_are_stable() {
    for example in ["campus", "kubernetes"] {
        let path = format!("examples/{example}");
        golden(&format!("compile-{example}.txt"), &outplane(["compile", &path]).ends(0).out);
    }
    let found = outplane(["compile", "examples/campus", "-o", "json"]).ends(0).json();
    let switch = &found["switches"][0];
    assert_eq!(switch["switch"], "core");
    assert_eq!(switch["digest"].as_str().map(str::len), Some(64));
    let web = switch["entries"].as_array().expect("a list").iter().find(|entry| {
        entry["table"] == "filter_admin"
            && entry["policy"] == "FilterPolicy/servers"
            && entry["rule"] == "web"
    });
    assert_eq!(web.expect("an entry for the rule")["action"]["name"], "admin_permit");
}

#[test]
fn switches_can_be_chosen_and_written_to_a_folder() {
    let folder = folder();
    let out = folder.path().join("a/b");
    let path = out.to_str().expect("the path is UTF-8");
    let run = outplane(["compile", "examples/campus", "--switch", "core", "--out", path]).ends(0);
    assert_eq!(run.out, "");
    let printed = outplane(["compile", "examples/campus"]).ends(0).out;
    assert_eq!(fs::read_to_string(out.join("core.txt")).expect("the file is there"), printed);
    outplane(["compile", "examples/campus", "--out", path, "-o", "json"]).ends(0);
    let json = fs::read_to_string(out.join("core.json")).expect("the file is there");
    let switch: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(switch["switch"], "core");

    outplane(["compile", "examples/campus", "--out", path, "--requests", "text"]).ends(0);
    let text = fs::read_to_string(out.join("core.txtpb")).expect("the file is there");
    // 145 entries, 3 groups, two meter cells, the version.
    assert_eq!(text.matches("  entity {").count(), 151, "{text}");
    outplane(["compile", "examples/campus", "--out", path, "--requests", "binary"]).ends(0);
    let bytes = fs::read(out.join("core.binpb")).expect("the file is there");
    let request = WriteRequest::decode(bytes.as_slice()).expect("a request");
    let entities = request.updates.iter().filter(|update| update.r#type == i32::from(Type::Insert));
    assert_eq!((request.device_id, request.updates.len(), entities.count()), (1, 151, 148));
    outplane(["compile", "examples/campus", "--requests", "text"]).ends(2);

    let run = outplane(["compile", "examples/campus", "--switch", "leaf"]).ends(2);
    assert!(run.err.contains("no switch `leaf` in the files; there is core"), "{}", run.err);
}
