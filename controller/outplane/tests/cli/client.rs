//! A client's file: what people and CI apply with, without being a node.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

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
    // Once more, also with other comments, or under another name: nothing has changed.
    let same = run(&ci, "apply examples/campus -o json --author alice").ends(0).json();
    assert_eq!((&same["generation"], &same["unchanged"]), (&applied["generation"], &json!(true)), "{same}");
    assert_eq!((&applied["unchanged"], &same["converged"]), (&json!(false), &json!(true)), "{same}");
    let comment = file(folder.path(), "comment.yaml", "# nothing\n");
    let same = run(&ci, &format!("apply examples/campus {comment}")).ends(0);
    assert!(same.out.contains("nothing has changed since generation 1"), "{}", same.out);
    run(&ci, "apply examples/campus --anyway --no-wait --author alice").ends(0);
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
    let refused = outplane(["apply", "examples/campus", "--address", &switch.address, "--anyway"]).ends(2);
    assert!(refused.err.contains("--anyway goes with --config"), "{}", refused.err);
    // Only a log keeps who applied.
    let direct = ["apply", "examples/campus", "--address", &switch.address, "--author", "eve"];
    let refused = outplane(direct).ends(2);
    assert!(refused.err.contains("--author goes with --config"), "{}", refused.err);
}

/// Who asks again after a failure is told of the failure again, or makes another attempt.
#[test]
fn an_unchanged_policy_is_as_good_as_its_switches() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    run(&node, &lab.paths("config set examples/shared.toml")).ends(0);
    for (role, name) in [("distributor", "d1"), ("controller", "c1")] {
        lab.daemon(role, name);
    }
    run(&node, "apply examples/campus").ends(0);
    drop(switch);
    // Its keeper tells that it cannot be reached, soon or at the next look; before, a new attempt is made and fails.
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let again = run(&node, "apply examples/campus -o json --timeout 30");
        if again.code == 3 {
            let answer = again.json();
            assert_eq!(answer["converged"], json!(false), "{answer}");
            let switch = &answer["switches"][0];
            assert!(switch["error"].as_str().is_some_and(|error| error.contains("connect")), "{answer}");
            break;
        }
        assert!(Instant::now() < end, "{}", again.out);
        std::thread::sleep(Duration::from_millis(200));
    }
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

/// Between a command and the store: what begins with this is refused, as by a bucket policy. Ends with the process.
fn refusing(store: String, begins: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&store).expect("the store listens");
            let (mut from, mut to) =
                (server.try_clone().expect("a copy"), client.try_clone().expect("a copy"));
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || carry(client, server, begins));
        }
    });
    address
}

fn carry(mut client: TcpStream, mut server: TcpStream, begins: &[u8]) {
    let mut piece = vec![0; 65_536];
    while let Ok(length @ 1..) = client.read(&mut piece) {
        if piece[..length].starts_with(begins) {
            let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
            let head = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: application/xml\r\ncontent-length:";
            let _ = write!(client, "{head} {}\r\n\r\n{body}", body.len());
            // What is left of the request.
            while matches!(client.read(&mut piece), Ok(1..)) {}
            return;
        }
        if server.write_all(&piece[..length]).is_err() {
            return;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

/// Whoever may read and not append is told which right that is, and of what.
#[test]
fn an_apply_without_the_right_to_append_says_so() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    run(&node, &lab.paths("config set examples/shared.toml")).ends(0);
    let folder = folder();
    let text = std::fs::read_to_string(client(&lab, folder.path())).expect("it is there");
    let (_, store) = text.split_once("http://").expect("an endpoint");
    let store = store.split('"').next().expect("an address").to_owned();
    let between = refusing(store.clone(), b"PUT /outplane/i/");
    let reads = file(folder.path(), "reads.toml", &text.replace(&store, &between));
    run(&reads, "status").ends(0);
    let refused = run(&reads, "apply examples/campus").ends(4).err;
    for words in ["the intent log", "create i/", "AccessDenied", "may not"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let empty = run(&node, "intent history").ends(1).err;
    assert!(empty.contains("no generation yet"), "{empty}");
}

/// Totals that are there and cannot be read are no totals that are not there: the object is named, with the cure.
#[test]
fn totals_that_cannot_be_read_are_named() {
    use outplane_rmdp_core::key::{Key, switch_id};
    use outplane_rmdp_store::{Secret, Settings, Store};

    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    run(&node, &lab.paths("config set examples/shared.toml")).ends(0);
    run(&node, "apply examples/campus --no-wait").ends(0);
    let empty = run(&node, "show counters").ends(0);
    assert!(empty.out.contains("no totals yet"), "{}", empty.out);
    let text = std::fs::read_to_string(&node).expect("it is there");
    let endpoint = text.split('"').find(|word| word.starts_with("http://")).expect("an endpoint");
    let settings = Settings::new(
        vec![endpoint.to_owned()],
        "outplane",
        "tests".to_owned(),
        Secret::new("a-secret-of-tests".to_owned()),
    );
    let key = Key::Totals(switch_id("core").expect("a name")).path();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let put = async { Store::new(settings).expect("settings").put(&key, "{\"schema\":9}".into()).await };
    runtime.block_on(put).expect("it is put");
    for line in ["show counters", "show counters --switch core"] {
        let told = run(&node, line).ends(0);
        let words = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("core: totals that cannot be read") && words.contains(&key), "{words}");
        assert!(words.contains("delete the object") && !words.contains("no totals yet"), "{words}");
    }
    let told = run(&node, "show counters -o json").ends(0).json();
    assert_eq!(
        (&told["unreadable"][0]["switch"], &told["unreadable"][0]["key"]),
        (&json!("core"), &json!(key))
    );
    run(&node, "show counters --switch other").ends(2);
}

/// Nobody makes the tasks of a generation that is not the newest: whoever waits for them is told at once, and by which one.
#[test]
fn who_is_overtaken_before_there_is_a_task_does_not_wait() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    let node = lab.paths("node.toml");
    run(&node, &lab.paths("config set examples/shared.toml")).ends(0);
    // No distributor runs.
    let applying = || run(&node, "apply examples/campus --anyway --timeout 60 -o json");
    std::thread::scope(|scope| {
        let start = Instant::now();
        let first = scope.spawn(applying);
        let is_there =
            || run(&node, "intent history -o json").out.replace(' ', "").contains("\"generation\":1");
        while !is_there() && start.elapsed() < Duration::from_secs(30) {
            std::thread::yield_now();
        }
        let second = run(&node, "apply examples/campus --anyway --no-wait -o json").ends(0).json();
        assert_eq!(second["generation"], 2, "{second}");
        let ended = first.join().expect("it ends").ends(3).json();
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        let core = &ended["switches"][0];
        let said = (&core["state"], &core["error"]);
        let words = json!("superseded by generation 2, before it had a task");
        assert_eq!(said, (&json!("superseded"), &words), "{ended}");
    });
}
