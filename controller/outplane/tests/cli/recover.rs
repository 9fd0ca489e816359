//! A store that is backed up, goes back, and is recovered: real nodes, real switches, one command line after the other.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;
use crate::support::{Run, SoftSwitch, outplane};

/// A command line of the lab's: `node.toml` and `shared.toml` are its own.
fn run(lab: &Lab, line: &str) -> Run {
    outplane(lab.paths(line).split(' '))
}

/// Policies for switch core, of so many rules.
fn policy(lab: &Lab, rules: usize) -> String {
    let mut text = "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {name: core}\nspec: {address: 'core.invalid:1', \
                    ports: [1, 2]}\n---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: edge}\nspec:\n  \
                    default: deny\n  rules:\n"
        .to_owned();
    for rule in 0..rules {
        let port = 1000 + rule;
        let _ = writeln!(
            text,
            "  - {{name: r{rule}, action: allow, to: [{{cidr: 10.0.{rule}.0/24}}], ports: [{{protocol: TCP, port: {port}}}]}}"
        );
    }
    lab.file(&format!("policy-{rules}.yaml"), &text)
}

fn apply(lab: &Lab, rules: usize) -> u64 {
    let line = format!("apply {} --config node.toml --output json", policy(lab, rules));
    let applied = run(lab, &line).ends(0).json();
    applied["generation"].as_u64().expect("a number")
}

/// Until the statuses of all these nodes are as they should be.
fn status(lab: &Lab, what: &str, fits: impl Fn(&[Value]) -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let run = run(lab, "status --config node.toml --output json");
        if run.code == 0 && fits(run.json()["nodes"].as_array().expect("nodes")) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {} {}", run.out, run.err);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A distributor and two controllers at work, and the options that say where they tell what they remember.
fn with_nodes(switch: &SoftSwitch) -> (Lab, String) {
    let mut lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml --config node.toml").ends(0);
    let mut nodes = String::new();
    for (role, name) in [("distributor", "d1"), ("controller", "c1"), ("controller", "c2")] {
        let _ = write!(nodes, " --node {name}={}", lab.daemon_with_pages(role, name));
    }
    (lab, nodes)
}

#[test]
fn a_backup_is_restored_and_one_command_later_the_next_apply_is_done() {
    let switch = SoftSwitch::start();
    let (mut lab, nodes) = with_nodes(&switch);
    assert_eq!(apply(&lab, 2), 1);
    let file = lab.path("store.backup");
    let taken = run(&lab, &format!("store backup {file} --config node.toml --output json")).ends(0).json();
    assert_eq!((taken["generation"].as_u64(), taken["config"].as_u64()), (Some(1), Some(1)));
    run(&lab, &format!("store backup {file} --config node.toml")).ends(1);
    assert_eq!((apply(&lab, 3), apply(&lab, 4)), (2, 3));

    // Not onto what is there, not from half a file, not into a folder with something in it.
    let refused = run(&lab, &format!("store restore {file} --config node.toml")).ends(1);
    assert!(refused.err.contains("not empty"), "{}", refused.err);
    let bytes = std::fs::read(&file).unwrap();
    let half = lab.path("half.backup");
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    let folder = lab.path("restored");
    let refused = run(&lab, &format!("store restore {half} --dir {folder}")).ends(1);
    assert!(refused.err.contains("cut off"), "{}", refused.err);
    assert!(!std::path::Path::new(&folder).exists());
    let refused = run(&lab, &format!("store restore {file} --dir {}", lab.path(""))).ends(1);
    assert!(refused.err.contains("not empty"), "{}", refused.err);

    let restored = run(&lab, &format!("store restore {file} --dir {folder}")).ends(0);
    assert!(restored.out.contains("outplane store recover"), "{}", restored.out);
    assert!(restored.out.contains("restored/keys: give them to the nodes"), "{}", restored.out);
    lab.replace_store("restored");
    status(&lab, "nodes say that the store is not what it was", |nodes| {
        nodes.iter().all(|node| node["estranged"].as_str().is_some_and(|why| why.contains("no network")))
    });
    let refused = run(&lab, &format!("apply {} --config node.toml", policy(&lab, 5))).ends(1);
    // By hand nobody is to write what nodes wait for.
    assert!(
        refused.err.contains("outplane store recover") && !refused.err.contains("schema"),
        "{}",
        refused.err
    );
    let told = run(&lab, "status --config node.toml").ends(0).out;
    assert!(told.contains("the store says no network") && !told.contains("  nobody\n"), "{told}");

    // Nobody is asked who is not known: that is no answer, and it is said.
    let unknown = run(&lab, "store recover --config node.toml").ends(1);
    assert!(
        unknown.out.contains("nothing was written") && unknown.out.contains("--without c1"),
        "{}",
        unknown.out
    );
    let line = format!("store recover --config node.toml{nodes} --output json");
    let dry = run(&lab, &format!("{line} --dry-run")).ends(0).json();
    assert_eq!((dry["needed"].as_bool(), dry["network"].as_str()), (Some(true), None));
    assert_eq!((dry["remembered"].as_u64(), dry["next"].as_u64()), (Some(3), Some(5)));
    let recovered = run(&lab, &line).ends(0).json();
    assert_eq!(recovered["joined"].as_array().map(Vec::len), Some(3), "{recovered}");
    // What the recovery has left has no tasks, and nobody has to hold anything by it.
    let left = run(&lab, "status --config node.toml --output json").ends(0).json();
    assert_eq!((left["placeholder"].as_u64(), left["unusable"].as_str()), (Some(4), None), "{left}");
    let tasks = left["tasks"].as_array().expect("tasks");
    assert!(tasks.iter().all(|task| task["occurrence"].as_u64() < Some(4)), "{left}");
    assert_eq!(apply(&lab, 6), 5);
    // Its keeper may not have told of it yet: the decision has.
    let done = run(&lab, "status --config node.toml --output json").ends(0).json();
    assert_eq!(done["placeholder"].as_u64(), None, "{done}");
    assert!(
        done["switches"]
            .as_array()
            .expect("switches")
            .iter()
            .all(|switch| switch["desired"].as_u64() == Some(5)),
        "{done}"
    );
    // By a name as well as by an address.
    let again = run(&lab, &line.replace("127.0.0.1", "localhost")).ends(0).json();
    assert_eq!(again["needed"].as_bool(), Some(false), "{again}");
    lab.kill_daemons();
}

#[test]
fn an_empty_store_is_recovered_with_a_shared_configuration() {
    let switch = SoftSwitch::start();
    let (mut lab, nodes) = with_nodes(&switch);
    assert_eq!((apply(&lab, 2), apply(&lab, 3)), (1, 2));
    lab.replace_store("empty");
    let missing = run(&lab, &format!("store recover --config node.toml{nodes}")).ends(1);
    assert!(missing.err.contains("--shared FILE"), "{}", missing.err);
    let line = format!("store recover --config node.toml{nodes} --shared examples/shared.toml --output json");
    // A bucket that is not there is an empty one, and stays away.
    let file = std::fs::read_to_string(lab.path("node.toml")).expect("it is there");
    let gone = lab.file("gone.toml", &file.replace("\"outplane\"", "\"gone\""));
    let of_gone = line.replace("node.toml", &gone);
    for _ in 0..2 {
        let dry = run(&lab, &format!("{of_gone} --dry-run")).ends(0).json();
        assert_eq!((dry["needed"].as_bool(), dry["remembered"].as_u64()), (Some(true), Some(2)), "{dry}");
    }
    let away = run(&lab, &format!("status --config {gone}")).ends(4);
    assert!(away.err.contains("`outplane config set` creates it"), "{}", away.err);
    let recovered = run(&lab, &line).ends(0).json();
    assert_eq!(
        (recovered["remembered"].as_u64(), recovered["next"].as_u64()),
        (Some(2), Some(4)),
        "{recovered}"
    );
    assert_eq!(recovered["not_joined"], serde_json::json!({}));
    assert_eq!(apply(&lab, 4), 4);
    lab.kill_daemons();
}

/// Somebody applies while nodes are asked: they know of it before the store was looked at again, and that is no sign.
#[test]
fn an_apply_while_nodes_are_asked_is_no_sign() {
    let switch = SoftSwitch::start();
    let (mut lab, nodes) = with_nodes(&switch);
    assert_eq!(apply(&lab, 2), 1);
    let of_c1 = nodes.split(' ').find_map(|word| word.strip_prefix("c1=")).expect("c1 has pages").to_owned();
    let between = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = between.local_addr().expect("it has an address");
    let line = format!("store recover --config node.toml{nodes} --output json");
    let line = line.replace(&of_c1, &address.to_string());
    let recovered = std::thread::scope(|scope| {
        let asks = scope.spawn(|| run(&lab, &line));
        let (mut asked, _) = between.accept().expect("it asks");
        let request = asked.read(&mut [0; 1024]).expect("it says what it wants");
        assert!(request > 0);
        assert_eq!(apply(&lab, 3), 2);
        // The node has read it by then, and says so.
        let end = Instant::now() + Duration::from_mins(1);
        let page = loop {
            let page = status_page(&of_c1);
            if page.contains("\"generation\":2") {
                break page;
            }
            assert!(Instant::now() < end, "{page}");
            std::thread::sleep(Duration::from_millis(50));
        };
        asked.write_all(page.as_bytes()).expect("it listens");
        drop(asked);
        asks.join().expect("it ends")
    });
    let recovered = recovered.ends(0).json();
    assert_eq!(
        (recovered["needed"].as_bool(), recovered["newest"].as_u64()),
        (Some(false), Some(2)),
        "{recovered}"
    );
    lab.kill_daemons();
}

fn status_page(address: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("it serves pages");
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n").expect("it listens");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    page
}

/// What is in nobody's file is said at once, and never waited for.
#[test]
fn a_pipe_is_no_memory_of_a_node() {
    let switch = SoftSwitch::start();
    let (mut lab, nodes) = with_nodes(&switch);
    let pipe = lab.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let start = Instant::now();
    let refused = run(&lab, &format!("store recover --config node.toml{nodes} --node c1={pipe}")).ends(1);
    assert!(refused.out.contains("no regular file"), "{}", refused.out);
    assert!(start.elapsed() < Duration::from_secs(30));
    lab.kill_daemons();
}

/// Of two restores into one folder one is refused, and takes nothing from the other.
#[test]
fn a_restore_leaves_anothers_folder_alone() {
    let switch = SoftSwitch::start();
    let (mut lab, _) = with_nodes(&switch);
    let file = lab.path("one.backup");
    run(&lab, &format!("store backup {file} --config node.toml")).ends(0);
    let folder = lab.path("into");
    let others = format!("{folder}.unfinished");
    std::fs::create_dir(&others).expect("made");
    std::fs::write(format!("{others}/log"), "another's").expect("written");
    let refused = run(&lab, &format!("store restore {file} --dir {folder}")).ends(1);
    assert!(refused.err.contains("another restore is at work"), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(format!("{others}/log")).expect("it is there"), "another's");
    lab.kill_daemons();
}

/// A backup of a bucket, or under a prefix, that has nothing of Outplane's restores nothing: that is said.
#[test]
fn a_backup_without_objects_is_restored_only_if_that_is_meant() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml --config node.toml").ends(0);
    let file = std::fs::read_to_string(lab.path("node.toml")).expect("it is there");
    let other = lab.file("other.toml", &file.replace("[store]\n", "[store]\nprefix = \"other/\"\n"));
    let (backup, folder) = (lab.path("empty.backup"), lab.path("restored"));
    let taken = run(&lab, &format!("store backup {backup} --config {other}")).ends(0);
    assert!(taken.err.contains("the right prefix?"), "{}", taken.err);
    for more in ["", " --dry-run"] {
        let refused = run(&lab, &format!("store restore {backup} --dir {folder}{more}")).ends(1);
        assert!(refused.err.contains("no objects") && refused.err.contains("--anyway"), "{}", refused.err);
    }
    assert!(!std::path::Path::new(&folder).exists());
    let restored =
        run(&lab, &format!("store restore {backup} --dir {folder} --anyway -o json")).ends(0).json();
    assert!(restored["doubts"][0].as_str().is_some_and(|doubt| doubt.contains("no objects")), "{restored}");
}

/// The store was made anew beside the nodes: they are asked before anything is appended, not after.
#[test]
fn nothing_is_appended_to_another_networks_store() {
    let switch = SoftSwitch::start();
    let (mut lab, nodes) = with_nodes(&switch);
    assert_eq!(apply(&lab, 2), 1);
    lab.replace_store("another");
    let shared = std::fs::read_to_string(lab.path("shared.toml")).expect("it is there");
    let mut with_pages = String::new();
    for line in shared.lines() {
        let _ = writeln!(with_pages, "{line}");
        let name = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"'));
        let page =
            name.and_then(|name| nodes.split(' ').find_map(|word| word.strip_prefix(&format!("{name}="))));
        if let Some(page) = page {
            let _ = writeln!(with_pages, "http = \"{page}\"");
        }
    }
    let with_pages = lab.file("pages.toml", &with_pages);
    run(&lab, &format!("config set {with_pages} --config node.toml")).ends(0);
    let line = format!("apply {} --config node.toml --no-wait", policy(&lab, 3));
    let refused = run(&lab, &line).ends(1).err;
    assert!(refused.contains("nothing was appended") && refused.contains("another store"), "{refused}");
    run(&lab, "intent show 1 --config node.toml").ends(1);
    run(&lab, &format!("{line} --anyway")).ends(0);
    run(&lab, "intent show 1 --config node.toml").ends(0);
    lab.kill_daemons();
}
