use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{FileError, Identity, Loaded, LogFormat, LogLevel, NodeFile, XdpChoice, read};

const KEY: &str = "000102030405060708090a0b0c0d0e0f";

const MINIMAL: &str = r#"
name = "c1"
[store]
endpoints = ["http://127.0.0.1:9000/"]
bucket = "outplane"
access_key = "outplane"
secret_key = "hunter2hunter2"
[keys]
1 = "000102030405060708090a0b0c0d0e0f"
"#;

fn parse(text: &str) -> Result<Loaded, FileError> {
    NodeFile::parse(text, Path::new("c1.toml"), &|name| (name == "THE_KEY").then(|| KEY.to_owned()))
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let error = parse(text).expect_err(text).to_string();
    error.lines().map(str::to_owned).collect()
}

#[test]
fn a_minimal_file_gets_defaults() {
    let Loaded { file, warnings, .. } = parse(MINIMAL).unwrap();
    assert_eq!(file.name, "c1");
    assert_eq!(file.store.endpoints, ["http://127.0.0.1:9000"]);
    assert_eq!((file.store.prefix.as_str(), file.store.region.as_str()), ("", "us-east-1"));
    assert_eq!(file.store.attempt_timeout, Duration::from_millis(150));
    assert_eq!(file.keys[&1].expose()[15], 15);
    assert_eq!((file.network.interface, file.network.xdp), (None, XdpChoice::Auto));
    assert_eq!(file.http, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!((file.log.format, file.log.level), (LogFormat::Text, LogLevel::Info));
    assert_eq!(file.pin_root, Path::new("/sys/fs/bpf/outplane"));
    // The file of the test does not exist, so nobody can read it.
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn secrets_are_not_shown() {
    let file = parse(MINIMAL).unwrap().file;
    let shown = format!("{file:?} {file:#?}");
    assert!(!shown.contains("hunter2") && !shown.contains("14, 15") && !shown.contains(KEY), "{shown}");

    let wrong =
        MINIMAL.replace(KEY, "0badc0de0badc0dez").replace("\"hunter2hunter2\"", "[\"hunter2hunter2\"]");
    let told = problems(&wrong).join("\n");
    assert!(!told.contains("0badc0de") && !told.contains("hunter2"), "{told}");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = r#"
name = "C 1"
nmae = "c1"
[store]
endpoints = ["ftp://a", "http://b:0", "https://[::1]:9000", "https://[::1]:9000"]
buckett = "x"
prefix = "a"
access_key = 5
secret_key = { env = "NOT_SET" }
attempt_timeout_ms = "150"
call_timeout_ms = 5
[keys]
1 = "00"
x = "00"
2 = { file = "/does/not/exist" }
3 = { file = "a", env = "b" }
4 = { vault = "b" }
[network]
xdp = "required"
bind = ["239.1.1.1", "10.0.0.1", "10.0.0.2", "host"]
[http]
listen = "9464"
[log]
level = "loud"
[state]
pin_root = "bpf"
"#;
    let told = problems(text);
    let expected = [
        ("1:1: store.bucket: missing", "add `bucket = \"outplane\"`"),
        ("2:8: name: `C 1` is no name", "the shared configuration"),
        ("3:1: nmae: unknown key", "is `name` meant?"),
        ("5:14: store.endpoints: this is no URL", "http://"),
        ("5:25: store.endpoints: this is no URL", "http://"),
        ("5:61: store.endpoints: `https://[::1]:9000` is there twice", "remove"),
        ("6:1: store.buckett: unknown key", "is `bucket` meant?"),
        ("7:10: store.prefix: `a` does not end", "end it with `/`"),
        ("8:14: store.access_key: a secret is wanted, and this is of type integer", "quotes"),
        ("9:22: store.secret_key.env: the environment has no variable `NOT_SET`", "set it"),
        ("10:22: store.attempt_timeout_ms: a whole number from 10 to 60000 is wanted", "without quotes"),
        ("11:19: store.call_timeout_ms: 5 is not possible", "from 100 to 600000"),
        ("13:5: keys.1: a key has 32 hexadecimal digits", "openssl rand -hex 16"),
        ("14:1: keys.x: this is no key id", "0 to 65535"),
        ("15:14: keys.2.file: /does/not/exist cannot be read", "may read"),
        ("16:5: keys.3: where the secret is must be said once", "one of"),
        ("17:7: keys.4.vault: unknown key", "file"),
        ("19:7: network.xdp: XDP works on one interface", "`interface`"),
        ("20:9: network.bind: `239.1.1.1` is a group", "of this node"),
        ("20:34: network.bind: `10.0.0.2` is the second", "at most one"),
        ("20:46: network.bind: `host` is no IP address", "without a port"),
        ("22:10: http.listen: `9464` is no address", "off"),
        ("24:9: log.level: `loud` is not possible", "\"trace\""),
        ("26:12: state.pin_root: `bpf` is no absolute path", "bpffs"),
    ];
    // A key that is missing is told where its table starts.
    let mut told = told.into_iter().collect::<Vec<_>>();
    let missing = told.iter().position(|line| line.contains("store.bucket: missing")).unwrap();
    let line = told.remove(missing);
    assert!(line.contains(":4:1: "), "{line}");
    told.insert(0, line.replace(":4:1: ", ":1:1: "));
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (line, (what, cure)) in told.iter().zip(expected) {
        assert!(
            line.starts_with(&format!("c1.toml:{what}")) && line.contains(cure),
            "{line}\nnot: {what} .. {cure}"
        );
    }
}

#[test]
fn broken_toml_is_told_with_all_its_places() {
    let told = problems("name = c1\n[store\nbucket = \"a\"\n");
    assert!(told.len() >= 2, "{told:?}");
    assert!(told[0].starts_with("c1.toml:1:8: "), "{told:?}");
    let twice = problems("name = \"a\"\nname = \"b\"\n");
    assert!(twice[0].starts_with("c1.toml:2:1: duplicate key"), "{twice:?}");
}

#[test]
fn an_empty_file_says_what_it_needs() {
    let told = problems("").join("\n");
    for key in ["name", "store.endpoints", "store.bucket", "store.access_key", "store.secret_key", "keys"] {
        assert!(told.contains(&format!(" {key}: ")), "{key}: {told}");
    }
}

#[test]
fn tables_that_are_none_are_told() {
    let told = problems("store = 1\nkeys = []\nname = []\n[network]\nbind = \"10.0.0.1\"");
    for (place, what) in [(1, "store"), (2, "keys"), (3, "name"), (5, "network.bind")] {
        let start = format!("c1.toml:{place}:");
        assert!(told.iter().any(|line| line.starts_with(&start) && line.contains(what)), "{what}: {told:#?}");
    }
}

#[test]
fn secrets_come_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("secret", "s3cret\n", 0o600);
    write("open", &format!("{KEY}\n"), 0o644);
    let text = MINIMAL
        .replace("\"hunter2hunter2\"", "{ file = \"secret\" }")
        .replace("\"outplane\"\nsecret", "{ env = \"THE_KEY\" }\nsecret")
        .replace(&format!("\"{KEY}\""), "{ env = \"THE_KEY\" }\n7 = { file = \"open\" }");
    let path = write("node.toml", &text, 0o644);
    let environment = |name: &str| (name == "THE_KEY").then(|| KEY.to_owned());
    let Loaded { file, warnings, .. } = NodeFile::parse(&text, &path, &environment).unwrap();
    assert_eq!(file.store.secret_key.expose(), "s3cret");
    assert_eq!(file.store.access_key.expose(), KEY);
    assert_eq!(file.keys[&7], file.keys[&1]);
    // The node's file has no secret inside, so that everybody may read it.
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("open can be read by every user"), "{warnings:?}");

    let path = write("inside.toml", MINIMAL, 0o644);
    let warnings = NodeFile::load(&path).unwrap().warnings;
    assert!(warnings[0].contains("inside.toml has secrets and can be read"), "{warnings:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(NodeFile::load(&path).unwrap().warnings.is_empty());
}

#[test]
fn a_file_that_is_none_is_an_error() {
    let error = NodeFile::load(Path::new("/does/not/exist.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/does/not/exist.toml: cannot be read: No such file"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge");
    fs::write(&huge, vec![b'#'; 300 * 1024]).unwrap();
    assert!(NodeFile::load(&huge).unwrap_err().to_string().contains("longer than"));
    assert!(NodeFile::load(Path::new("/dev/zero")).is_err());
    // A pipe that nobody writes to would be read for ever.
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = MINIMAL.replace("\"hunter2hunter2\"", "{ file = \"pipe\" }");
    let error = NodeFile::parse(&text, &folder.path().join("node.toml"), &|_| None).unwrap_err().to_string();
    assert!(error.contains("pipe cannot be read: it is not a regular file"), "{error}");
}

/// The examples are right, and say every key that there is.
#[test]
fn the_examples_are_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/nodes");
    let page = fs::read_to_string(examples.join("../../docs/configuration.md")).unwrap();
    let mut read = 0;
    for entry in fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // Secrets of the examples are files of a machine that has them.
        let here = text.replace("{ file = \"secrets/", "{ env = \"");
        let environment = |_: &str| Some(KEY.to_owned());
        if let Err(error) = NodeFile::parse(&here, &path, &environment) {
            panic!("{error}");
        }
        read += 1;
    }
    assert!(read >= 2);
    let annotated = fs::read_to_string(examples.join("controller.toml")).unwrap();
    for key in [
        "name",
        "endpoints",
        "bucket",
        "prefix",
        "region",
        "access_key",
        "secret_key",
        "ca",
        "attempt_timeout_ms",
        "call_timeout_ms",
        "interface",
        "xdp",
        "bind",
        "listen",
        "format",
        "level",
        "pin_root",
        "memory",
    ] {
        assert!(annotated.contains(&format!("{key} = ")), "the example lacks {key}");
        assert!(page.contains(&format!("`{key}`")), "docs/configuration.md lacks {key}");
    }
}

proptest! {
    /// Whatever is done to a file: it is read or told about, and its secrets are not told.
    #[test]
    fn any_file_is_read_or_told_about(
        edits in prop::collection::vec((0_usize..220, 0_usize..12, "[\\[\\]{}=\".,#a-z0-9é\n]{0,8}"), 1..6),
    ) {
        let mut characters: Vec<char> = MINIMAL.replace(KEY, "5ec2e75ec2e75ec2e75ec2e75ec2e75e").chars().collect();
        for (at, length, text) in edits {
            let start = at.min(characters.len());
            let end = (start + length).min(characters.len());
            characters.splice(start..end, text.chars());
        }
        let text: String = characters.into_iter().collect();
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems.is_empty());
            let lines = text.lines().count() + 1;
            for problem in &error.problems {
                prop_assert!(problem.line <= lines && !problem.what.is_empty() && !problem.cure.is_empty(), "{problem:?}");
            }
            let told = error.to_string();
            prop_assert!(!told.contains("hunter2hunter2") && !told.contains("5ec2e75ec2e7"), "{told}");
        }
    }

    #[test]
    fn any_text_is_told_about(text in any::<String>()) {
        prop_assert!(parse(&text).is_err());
    }
}

/// Off loopback, and only there, unless it is meant.
#[test]
fn plain_text_draws_a_warning() {
    let warnings = |endpoint: &str, more: &str, http: &str| {
        let text = format!(
            "name = \"c1\"\n[store]\nendpoints = [\"{endpoint}\"]\nbucket = \"outplane\"\naccess_key = \"a\"\nsecret_key = \
             \"b\"\n{more}\n[keys]\n1 = \"{}\"\n[http]\n{http}\n",
            "1".repeat(32)
        );
        let loaded = parse(&text).unwrap();
        [loaded.warnings, loaded.of_daemon].concat()
    };
    assert!(warnings("http://127.0.0.1:9000", "", "").is_empty());
    assert!(warnings("https://s3.example", "", "listen = \"[::1]:9\"").is_empty());
    let told = warnings("http://s3.example:9000", "", "listen = \"0.0.0.0:9464\"");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("http://s3.example:9000") && told[0].contains("plain text"), "{told:?}");
    assert!(told[1].contains("0.0.0.0:9464"), "{told:?}");
    let meant =
        warnings("http://s3.example:9000", "insecure = true", "listen = \"0.0.0.0:9464\"\ninsecure = true");
    assert!(meant.is_empty(), "{meant:?}");
}

const CLIENT: &str = r#"
[client]
name = "ci"
network = "00c0ffee00c0ffee"
[store]
endpoints = ["http://127.0.0.1:9000/"]
bucket = "outplane"
access_key = "ci"
secret_key = "hunter2hunter2"
"#;

fn identity(text: &str) -> Result<Identity, String> {
    let read = read::identity(text, Path::new("ci.toml"), &|_| None);
    read.map(|(identity, _)| identity).map_err(|error| error.to_string())
}

#[test]
fn a_clients_file_has_a_store_a_network_and_nothing_of_a_node() {
    let Ok(Identity::Client(client)) = identity(CLIENT) else { panic!("it is a client's") };
    assert_eq!(client.name.as_deref(), Some("ci"));
    assert_eq!(
        (client.network.to_string().as_str(), client.store.bucket.as_str()),
        ("00c0ffee00c0ffee", "outplane")
    );
    assert!(
        matches!(identity(&CLIENT.replace("name = \"ci\"\n", "")), Ok(Identity::Client(file)) if file.name.is_none())
    );
    assert!(matches!(identity(MINIMAL), Ok(Identity::Node(_))));
    for (from, to, words) in [
        ("network = \"00c0ffee00c0ffee\"", "", "client.network: missing"),
        ("00c0ffee00c0ffee", "coffee", "not a network id"),
        ("name = \"ci\"", "name = \"\"", "names nobody"),
        ("name = \"ci\"", "nme = \"ci\"", "is `name` meant?"),
        ("[store]", "[keys]\n1 = \"x\"\n[store]", "a client has none"),
        ("[client]", "name = \"c1\"\n[client]", "a client has none"),
        ("[store]", "[http]\n[store]", "a client has none"),
        ("[store]", "[log]\n[store]", "unknown key"),
        ("bucket = \"outplane\"", "", "store.bucket: missing"),
    ] {
        let error = identity(&CLIENT.replace(from, to)).unwrap_err();
        assert!(error.contains(words), "{to}: {error}");
    }
    // A node does not start with it, and says why.
    let error = problems(CLIENT).join("\n");
    assert!(error.contains("this is a client's file") && !error.contains("missing"), "{error}");
}
