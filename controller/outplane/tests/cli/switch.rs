//! `plan`, `apply`, `show` against the embedded switch.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::other::OtherController;
use crate::support::{
    SoftSwitch, big_policy, command, file, folder, outplane, outplane_reading, root, signal,
};

const CAMPUS: &str = "examples/campus";

/// The result of the one switch that a command was about.
#[track_caller]
fn only(found: &Value) -> &Value {
    let switches = found["switches"].as_array().expect("a list");
    assert_eq!(switches.len(), 1, "{found}");
    assert_eq!(switches[0]["error"], Value::Null, "{found}");
    &switches[0]
}

fn apply(files: &str, switch: &SoftSwitch) -> Value {
    let found = outplane(["apply", files, "--address", &switch.address, "-o", "json"]).ends(0).json();
    only(&found).clone()
}

/// Nothing is left to do.
#[track_caller]
fn converged(files: &str, switch: &SoftSwitch) {
    let run =
        outplane(["plan", files, "--address", &switch.address, "--detailed-exitcode", "-o", "json"]).ends(0);
    assert_eq!(run.json()["writes"], json!(0));
    assert_eq!(apply(files, switch)["writes"], json!(0));
}

/// What the switch holds of ours, without versions.
fn held(switch: &SoftSwitch) -> Vec<Value> {
    let found = outplane(["show", "tables", "--address", &switch.address, "-o", "json"]).ends(0).json();
    entries(&only(&found)["entries"])
}

/// Entries without versions, in an order of their own.
fn entries(list: &Value) -> Vec<Value> {
    let mut entries = list.as_array().expect("a list").clone();
    for entry in &mut entries {
        entry["match"].as_array_mut().expect("a list").retain(|field| field["field"] != "version");
    }
    entries.sort_by_key(ToString::to_string);
    entries
}

#[test]
fn a_policy_goes_in_stays_and_changes() {
    let switch = SoftSwitch::start();
    let address = ["--address", &switch.address];
    let plan = outplane([&["plan", CAMPUS, "--detailed-exitcode", "-o", "json"], &address[..]].concat())
        .ends(2)
        .json();
    assert_eq!(only(&plan)["pipeline"], "push");

    let first = apply(CAMPUS, &switch);
    assert_eq!(first["pipeline"], "pushed");
    assert_eq!(first["writes"], plan["writes"]);
    assert_eq!((&first["from_version"], &first["to_version"]), (&json!(0), &json!(1)));
    let compiled = outplane(["compile", CAMPUS, "-o", "json"]).ends(0).json();
    assert_eq!(first["digest"], compiled["switches"][0]["digest"]);
    assert_eq!(held(&switch), entries(&compiled["switches"][0]["entries"]));
    converged(CAMPUS, &switch);

    // One rule more.
    let folder = folder();
    let more = "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: more}\nspec:\n  priority: 1\n  rules:\n  - {name: telnet, action: deny, ports: [{port: 23}]}\n";
    let more = file(folder.path(), "more.yaml", more);
    let with = |command: &'static str| [&[command, CAMPUS, &more], &address[..]].concat();
    let plan = outplane([with("plan"), vec!["--entries", "-o", "json"]].concat()).ends(0).json();
    let writes = only(&plan)["entries"].as_array().expect("a list").clone();
    assert_eq!(json!(writes.len()), plan["writes"]);
    assert!(writes.iter().any(|write| write["change"] == "insert" && write["rule"] == "telnet"), "{plan}");
    let before = held(&switch);
    let dry = outplane([with("apply"), vec!["--dry-run"]].concat()).ends(0);
    assert!(dry.out.contains("\n  + FilterPolicy/more, rule telnet\n"), "{}", dry.out);
    // Nothing is said of any rule that means what it did.
    assert!(!dry.out.contains("rule web") && !dry.out.contains("insert"), "{}", dry.out);
    let rules = only(&plan)["rules"].as_array().expect("a list").clone();
    let added = json!({"policy": "FilterPolicy/more", "rule": "telnet", "change": "added"});
    assert!(rules.contains(&added), "{plan}");
    assert!(rules.iter().all(|rule| *rule == added || rule["change"] == "rewritten"), "{plan}");
    assert_eq!(held(&switch), before);
    let run = outplane(with("apply")).ends(0);
    assert!(run.out.contains("packets see version 2 after 1"), "{}", run.out);
    let run = outplane(with("apply")).ends(0);
    assert!(run.out.contains("nothing to change"), "{}", run.out);

    let counters =
        outplane([&["show", "counters", "--entries", "-o", "json"], &address[..]].concat()).ends(0).json();
    let rules = only(&counters)["rules"].as_array().expect("a list").clone();
    for (policy, rule) in [("FilterPolicy/more", "telnet"), ("FilterPolicy/servers", "web")] {
        assert!(
            rules.iter().any(|found| found["policy"] == policy && found["rule"] == rule),
            "{rule}: {counters}"
        );
    }
    // Source guards belong to no rule; what they drop stands among the drops.
    let of_rules =
        |entry: &&Value| !entry["table"].as_str().is_some_and(|table| table.starts_with("source_guard"));
    let counted = only(&counters)["entries"].as_array().expect("a list").iter().filter(of_rules).count();
    assert!(only(&counters)["drops"]["reasons"]["spoofed"]["packets"].is_u64(), "{counters}");
    assert_eq!(rules.iter().filter_map(|rule| rule["entries"].as_u64()).sum::<u64>(), counted as u64);

    let capacity = outplane([&["show", "capacity", "-o", "json"], &address[..]].concat()).ends(0).json();
    let resources = only(&capacity)["resources"].as_array().expect("a list").clone();
    let filter = resources.iter().find(|found| found["resource"] == "filter_admin").expect("the table");
    // Its rule is the first that may deny what cannot be read, too.
    assert_eq!(filter["policies"]["FilterPolicy/more"], json!(2), "{filter}");

    // Back to what it was.
    apply(CAMPUS, &switch);
    assert_eq!(held(&switch), entries(&compiled["switches"][0]["entries"]));
    converged(CAMPUS, &switch);
    assert_eq!(switch.terminate(), Some(0));
}

/// One rule more, before others, and a rule that goes behind all: what they have counted stays, whatever entries they have
/// now.
#[test]
fn counters_go_on_where_rules_are_written_anew() {
    let switch = SoftSwitch::start();
    apply(CAMPUS, &switch);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    let other = OtherController::connect(&switch.address, now);
    other.count("web", 67);
    other.count("not-to-us", 5);
    drop(other);

    let folder = folder();
    let read = |name: &str| std::fs::read_to_string(root().join(CAMPUS).join(name)).expect("it is there");
    let network = file(folder.path(), "network.yaml", &read("network.yaml"));
    let policy = read("policy.yaml");
    let first = "  rules:\n  - {name: first, action: deny, to: [{host: web}], ports: [{port: 8080}]}\n  - name: web\n";
    let more = policy.replace("  rules:\n  - name: web\n", first);
    assert_ne!(more, policy);
    let apply = |policy: &str| {
        let policy = file(folder.path(), "policy.yaml", policy);
        outplane(["apply", &network, &policy, "--address", &switch.address]).ends(0)
    };
    // Nobody else has another place or class for it.
    let run = apply(&more);
    assert!(run.out.contains("\n  + FilterPolicy/servers, rule first\n"), "{}", run.out);
    assert!(!run.out.contains("with other entries") && !run.out.contains("~ FilterPolicy"), "{}", run.out);
    let start = more.find("  - name: web\n").expect("it is there");
    let length = more[start + 1..].find("\n  - ").expect("a rule follows") + 2;
    let (before, web, after) = (&more[..start], &more[start..start + length], &more[start + length..]);
    let end = after.find("\n---").expect("another object follows") + 1;
    let run = apply(&format!("{before}{}{web}{}", &after[..end], &after[end..]));
    assert!(run.out.contains("with other entries") || run.out.contains("order"), "{}", run.out);

    let show = ["show", "counters", "--address", &switch.address, "-o", "json"];
    let counters = outplane(show).ends(0).json();
    let count = |rule: &str| {
        let rules = only(&counters)["rules"].as_array().expect("a list");
        let rule = rules.iter().find(|found| found["rule"] == rule).expect("it is there");
        (rule["packets"].clone(), rule["bytes"].clone())
    };
    assert_eq!(count("web"), (json!(67), json!(6700)), "{counters}");
    assert_eq!(count("not-to-us"), (json!(5), json!(500)), "{counters}");
    assert_eq!(count("first").0, json!(0), "{counters}");
}

#[test]
fn files_say_where_switches_are() {
    let (one, two) = (SoftSwitch::start(), SoftSwitch::start());
    let folder = folder();
    let object = |name: &str, address: &str| {
        format!(
            "---\napiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: {name}}}\nspec: {{address: '{address}'}}\n"
        )
    };
    // Nobody listens at the third.
    let nowhere = outplane_loopback::address().to_string();
    let network =
        [object("one", &one.address), object("two", &two.address), object("gone", &nowhere)].concat();
    let network = file(folder.path(), "network.yaml", &network);
    let policy = file(folder.path(), "policy.yaml", &big_policy("p", 10, 100));
    let files = [network.as_str(), policy.as_str()];

    let run = outplane([&["apply"], &files[..], &["--timeout", "2", "-o", "json"]].concat()).ends(3);
    let found = run.json();
    let by_name = |name: &str| {
        found["switches"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|switch| switch["switch"] == name)
            .expect("it is there")
    };
    assert!(
        by_name("gone")["error"].as_str().is_some_and(|error| error.contains("cannot connect")),
        "{found}"
    );
    assert!(
        by_name("one")["writes"].as_u64() > Some(10) && by_name("two")["writes"] == by_name("one")["writes"]
    );
    let run = outplane([&["apply"], &files[..], &["--switch", "one", "--switch", "two"]].concat()).ends(0);
    assert_eq!(run.out.matches("nothing to change").count(), 2, "{}", run.out);
    let run = outplane(["show", "counters", &network, "--switch", "two"]).ends(0);
    assert!(run.out.contains("FilterPolicy/p"), "{}", run.out);
    let run = outplane(["show", "capacity", &network, "--timeout", "2"]).ends(3);
    assert!(run.out.contains("Switch gone") && run.out.contains("cannot connect"), "{}", run.out);
    // Of several, the address says which is meant if one has it.
    let run = outplane([&["apply"], &files[..], &["--address", &one.address]].concat()).ends(0);
    assert!(run.out.starts_with("Switch one at"), "{}", run.out);
    let run = outplane([&["apply"], &files[..], &["--address", "127.0.0.1:2"]].concat()).ends(2);
    assert!(run.err.contains("say which with --switch"), "{}", run.err);
    assert!(run.err.contains("Usage: outplane apply [OPTIONS] <FILES>"), "{}", run.err);
    // Without files nobody says what the switch is called.
    let shown = outplane(["show", "capacity", "--address", &one.address]).ends(0);
    assert!(shown.out.starts_with("Switch at "), "{}", shown.out);
}

/// Starts an apply and lets it come to a step of its plan.
fn apply_up_to(step: &str, files: &str, switch: &SoftSwitch) -> std::process::Child {
    let mut child = command(["apply", files, "--address", &switch.address])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let reached = stderr.lines().map_while(Result::ok).any(|line| line.contains(step));
    assert!(reached, "the apply ended before the step {step}");
    child
}

#[test]
fn a_killed_apply_is_repaired_by_the_next() {
    let switch = SoftSwitch::start();
    let folder = folder();
    let old = file(folder.path(), "old.yaml", &big_policy("old", 1000, 100));
    let new = file(folder.path(), "new.yaml", &big_policy("new", 1000, 1000));

    // Into the empty switch.
    let mut child = apply_up_to("prepare", &old, &switch);
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let plan =
        outplane(["plan", &old, "--address", &switch.address, "--detailed-exitcode", "-o", "json"]).ends(2);
    assert_eq!(only(&plan.json())["from_version"], json!(0), "nothing passes yet");
    assert_eq!(apply(&old, &switch)["to_version"], json!(1));
    converged(&old, &switch);

    // From one policy to another, killed in every step.
    for step in ["prepare", "clean up"] {
        let mut child = apply_up_to(step, &new, &switch);
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        assert!(apply(&new, &switch)["writes"].as_u64() > Some(0));
        converged(&new, &switch);
        let compiled = outplane(["compile", &new, "-o", "json"]).ends(0).json();
        assert_eq!(held(&switch), entries(&compiled["switches"][0]["entries"]));
        apply(&old, &switch);
    }
}

#[test]
fn an_interrupted_apply_stops_between_chunks() {
    let switch = SoftSwitch::start();
    let folder = folder();
    let big = file(folder.path(), "big.yaml", &big_policy("big", 1500, 100));
    let mut child = apply_up_to("prepare", &big, &switch);
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(apply(&big, &switch)["writes"].as_u64() > Some(0));
    converged(&big, &switch);
}

#[test]
fn what_others_wrote_is_not_touched() {
    let switch = SoftSwitch::start();
    outplane(["apply", CAMPUS, "--address", &switch.address, "--election-id", "1"]).ends(0);
    let other = OtherController::connect(&switch.address, 2);
    other.insert_forwarding(0x1234, 5);
    assert_eq!(other.forwarding_of_others(), 1);

    // While it is there, it is the primary.
    let run = outplane(["apply", "examples/kubernetes", "--address", &switch.address, "--election-id", "1"])
        .ends(3);
    assert!(run.out.contains("primary"), "{}", run.out);
    for files in ["examples/kubernetes", CAMPUS] {
        let plan = outplane(["plan", files, "--address", &switch.address, "-o", "json"]).ends(0).json();
        assert_eq!(only(&plan)["others"], json!({"l2_forward": 1}));
        outplane(["apply", files, "--address", &switch.address]).ends(0);
        assert_eq!(other.forwarding_of_others(), 1, "{files}");
    }
    let run = outplane(["show", "capacity", "--address", &switch.address]).ends(0);
    assert!(run.out.contains("l2_forward: 1 entry more of others"), "{}", run.out);
    drop(other);
    let found = outplane(["show", "tables", "--address", &switch.address, "-o", "json"]).ends(0).json();
    assert_eq!(only(&found)["others"], json!({"l2_forward": 1}));
}

#[test]
fn a_controller_with_a_higher_election_id_is_only_replaced_on_request() {
    let switch = SoftSwitch::start();
    let other = OtherController::connect(&switch.address, u128::MAX - 10);
    let run = outplane(["apply", CAMPUS, "--address", &switch.address]).ends(3);
    assert!(run.out.contains("not the primary controller"), "{}", run.out);
    // Reading needs no arbitration.
    outplane(["plan", CAMPUS, "--address", &switch.address]).ends(0);
    outplane(["apply", CAMPUS, "--address", &switch.address, "--take-over"]).ends(0);
    drop(other);
}

#[test]
fn a_switch_without_our_program_is_not_shown() {
    let switch = SoftSwitch::start();
    let run = outplane(["show", "tables", "--address", &switch.address]).ends(3);
    assert!(run.out.contains("`apply` pushes ours"), "{}", run.out);
    let run = outplane(["show", "tables", "--table", "nonsense", "--address", &switch.address]).ends(2);
    assert!(run.err.contains("there is filter_admin") || run.err.contains("policy_version"), "{}", run.err);
    outplane(["apply", CAMPUS, "--address", &switch.address]).ends(0);
    outplane(["apply", CAMPUS, "--address", &switch.address, "--device-id", "7"]).ends(3);
    let run =
        outplane(["apply", CAMPUS, "--address", &switch.address, "--force-pipeline", "--verify"]).ends(0);
    assert!(run.out.contains("pipeline pushed"), "{}", run.out);
}

#[test]
fn tls_with_certificates_on_both_sides() {
    let folder = folder();
    let write = |name: &str, text: String| file(folder.path(), name, &text);
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let ca = write("ca.pem", authority.pem());
    let issuer = rcgen::Issuer::new(params, authority_key);
    let issue = |name: &str, host: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (write(&format!("{name}.pem"), certificate.pem()), write(&format!("{name}.key"), key.serialize_pem()))
    };
    let (cert, key) = issue("switch", "127.0.0.1");
    let (our_cert, our_key) = issue("us", "outplane");
    let switch = SoftSwitch::start_with(&["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca]);
    let ours = ["--tls-ca", &ca, "--tls-cert", &our_cert, "--tls-key", &our_key];
    let arguments = ["apply", CAMPUS, "--address", &switch.address, "--timeout", "2"];
    outplane([&arguments[..], &ours].concat()).ends(0);
    // Without our certificate, and without TLS at all.
    outplane([&arguments[..], &["--tls-ca", &ca]].concat()).ends(3);
    outplane(arguments).ends(3);
}

#[test]
fn nothing_is_no_intention() {
    let switch = SoftSwitch::start();
    let address = ["--address", &switch.address];
    let folder = folder();
    let policy = file(folder.path(), "policy.yaml", &big_policy("p", 10, 100));
    let pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1}\n";
    let pods = file(folder.path(), "pods.yaml", pods);
    let skipped =
        file(folder.path(), "skipped.yaml", "{apiVersion: v1, kind: Service, metadata: {name: a}}\n");
    // Even a switch that has nothing: this is what a command that failed prints.
    for words in [&["apply", "-"][..], &["apply", &skipped]] {
        let run = outplane_reading([words, &address[..]].concat(), b"").ends(1);
        assert!(run.err.contains("no objects") && run.err.contains("--allow-empty"), "{}", run.err);
    }
    outplane([&["apply", &pods], &address[..]].concat()).ends(0);
    apply(&policy, &switch);
    let before = held(&switch);
    // A switch that has a policy keeps one, whatever else the input holds.
    for words in [&["apply", "-"][..], &["apply", &pods], &["apply", &pods, "--force-pipeline"]] {
        let run = outplane_reading([words, &address[..]].concat(), b"---\n# nothing\n").ends(1);
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains("--allow-empty"), "{words:?}: {said}");
        assert_eq!(held(&switch), before, "{words:?}");
    }
    // Looking is free, and says what would come of it.
    for (words, why) in [
        (&["apply", "-", "--dry-run"][..], "no objects"),
        (&["plan", "-"], "no objects"),
        (&["plan", &pods], "it has 1 policy"),
        (&["plan", &pods, "--force-pipeline"], "--force-pipeline empties"),
    ] {
        let ends = i32::from(words[0] == "apply");
        let run = outplane_reading([words, &address[..]].concat(), b"").ends(ends);
        assert!(run.out.contains("apply would refuse this: ") && run.out.contains(why), "{}", run.out);
    }
    let words = ["apply", "-", "--dry-run", "--allow-empty"];
    let run = outplane_reading([&words, &address[..]].concat(), b"").ends(0);
    assert!(run.out.contains("- FilterPolicy/p, rule r0") && !run.out.contains("refuse"), "{}", run.out);
    let run = outplane_reading([&["apply", "-", "--allow-empty"], &address[..]].concat(), b"").ends(0);
    assert!(run.out.contains("- FilterPolicy/p, rule r0"), "{}", run.out);
    assert_ne!(held(&switch), before);
}

/// Without the line breaks that fit a text to a terminal.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A pipe that ended early looks like a smaller policy.
#[test]
fn much_less_out_of_a_pipe_has_to_be_meant() {
    let switch = SoftSwitch::start();
    let folder = folder();
    let address = ["--address", &switch.address];
    apply(&file(folder.path(), "whole.yaml", &big_policy("p", 10, 100)), &switch);
    let before = held(&switch);
    let piped = |words: &[&str], rules: usize| {
        outplane_reading([words, &address[..]].concat(), big_policy("p", rules, 100).as_bytes())
    };
    let run = piped(&["apply", "-"], 4).ends(1);
    for word in
        ["packets see 10 rules of FilterPolicies there", "has 4", "nothing was written", "--allow-shrink"]
    {
        assert!(run.out.contains(word), "{word}: {}", run.out);
    }
    assert_eq!(held(&switch), before);
    for (words, ends) in [(&["plan", "-"][..], 0), (&["apply", "-", "--dry-run"], 1)] {
        let run = piped(words, 4).ends(ends);
        assert!(
            run.out.contains("apply would refuse this: ") && run.out.contains("--allow-shrink"),
            "{}",
            run.out
        );
    }
    // YAML may have been cut off anywhere: nothing new, and less, looks so. What is new is no part of what there was.
    let run = piped(&["apply", "-"], 9).ends(1);
    let told = unwrapped(&run.out);
    assert!(
        told.contains(" rules there, and no rule that is new") && told.contains("--allow-shrink"),
        "{told}"
    );
    let whole = big_policy("p", 10, 100);
    let cut = outplane_reading([&["apply", "-"], &address[..]].concat(), whole.trim_end().as_bytes()).ends(1);
    assert!((cut.out + &cut.err).contains("the last line of <stdin> is not complete"), "{}", cut.code);
    assert_eq!(held(&switch), before);
    // Neither is a new rule at the end, unless the end is marked.
    let run = piped(&["apply", "-"], 11).ends(1);
    let told = unwrapped(&run.out);
    assert!(told.contains("rule r10 is new there") && told.contains("`...`"), "{told}");
    assert_eq!(held(&switch), before);
    let marked = big_policy("p", 11, 100) + "...\n";
    outplane_reading([&["apply", "-"], &address[..]].concat(), marked.as_bytes()).ends(0);
    // A file, and who means it.
    let less = file(folder.path(), "less.yaml", &big_policy("p", 2, 100));
    outplane([&["apply", &less], &address[..]].concat()).ends(0);
    apply(&file(folder.path(), "whole.yaml", &big_policy("p", 10, 100)), &switch);
    piped(&["apply", "-", "--allow-shrink"], 1).ends(0);
    assert_ne!(held(&switch), before);
}

/// A switch that is new, or has restarted empty, says nothing of what a text may lack.
#[test]
fn an_empty_switch_takes_no_text_without_an_end() {
    let switch = SoftSwitch::start();
    let folder = folder();
    let address = ["--address", &switch.address];
    // Up to the action of a rule, its conditions may be missing.
    let open = "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: p}\nspec:\n  rules:\n    - name: web\n      \
                action: allow\n";
    for text in [open.to_owned(), big_policy("p", 4, 100)] {
        for (words, ends) in
            [(&["apply", "-"][..], 1), (&["plan", "-"], 0), (&["apply", "-", "--dry-run"], 1)]
        {
            let run = outplane_reading([words, &address[..]].concat(), text.as_bytes()).ends(ends);
            for word in ["the end of the input is not marked", "`...`", "--allow-shrink"] {
                assert!(unwrapped(&run.out).contains(word), "{word}: {}", run.out);
            }
        }
    }
    let run = outplane(["show", "tables", "--address", &switch.address]);
    assert!(!run.out.contains("FilterPolicy/p"), "{}", run.out);
    // Who means it says so: by the marker, the option, or a file.
    for (words, text) in [
        (&["apply", "-", "--allow-shrink", "--dry-run"][..], open.to_owned()),
        (&["apply", "-", "--dry-run"], open.to_owned() + "...\n"),
        (&["apply", &file(folder.path(), "open.yaml", open)], String::new()),
    ] {
        outplane_reading([words, &address[..]].concat(), text.as_bytes()).ends(0);
    }
}

#[test]
fn a_switch_with_another_device_id_names_the_cure() {
    let switch = SoftSwitch::start_with(&["--device-id", "7"]);
    let folder = folder();
    let policy = file(folder.path(), "policy.yaml", &big_policy("p", 1, 100));
    let run = outplane(["apply", &policy, "--address", &switch.address]).ends(3);
    // Lines are broken at 100 columns.
    let said =
        |out: &str| out.split_whitespace().collect::<Vec<_>>().join(" ").contains("another device id than 1");
    assert!(said(&run.out) && run.out.contains("--device-id"), "{}", run.out);
    assert!(run.out.lines().all(|line| line.len() <= 100), "{}", run.out);
    // Nothing is planned for a device that is not there.
    let run = outplane(["plan", &policy, "--address", &switch.address]).ends(3);
    assert!(said(&(run.out.clone() + &run.err)), "{} {}", run.out, run.err);
    let run = outplane(["show", "counters", &policy, "--address", &switch.address]).ends(3);
    assert!(said(&(run.out.clone() + &run.err)), "{} {}", run.out, run.err);
    outplane(["apply", &policy, "--address", &switch.address, "--device-id", "7"]).ends(0);
}
