//! How it starts and ends.

use std::io::{BufRead as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use outplane_rmdp_store::Created;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixDatagram;

use crate::process::{command, fails, start};

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_it_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    for (round, signal) in ["TERM", "INT"].into_iter().enumerate() {
        let mut process = start(&mut command(folder.path(), &["--bucket", "bucket"]));
        let key = format!("k/{round}");
        let created = process.client().create(&key, Bytes::from_static(b"x")).await.expect("created");
        assert_eq!(created, Created::Ours);
        assert_eq!(process.end(signal), Some(0), "{signal}");
    }
    let process = start(&mut command(folder.path(), &[]));
    assert_eq!(process.client().list("k/", None, 10).await.expect("listed").entries.len(), 2);
    let (code, text) = fails(&mut command(folder.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(text.contains("in use by another process"), "{text}");
}

/// The kernel says that a write did not get to the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_ends_it() {
    let traced = |arguments: &[&str]| {
        let mut command = Command::new("strace");
        command.args(arguments);
        command
    };
    let inject = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:when=15+",
    ];
    if !traced(&[&inject[..], &["true"]].concat()).output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: a disk that fails: strace is absent, or may not trace");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let plain = command(folder.path(), &["--bucket", "bucket"]);
    let mut failing = traced(&inject);
    // With -D the store is our child, and strace its.
    failing.arg(plain.get_program()).args(plain.get_args()).stderr(Stdio::piped());
    failing.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut process = start(&mut failing);
    let client = process.client();
    let mut written = 0;
    while client.create(&format!("k/{written}"), Bytes::from_static(b"x")).await.is_ok() {
        written += 1;
    }
    assert!(written > 5, "{written}");
    assert_eq!(process.child.wait().expect("it ends").code(), Some(1), "by itself");
    let mut text = String::new();
    process.child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("readable");
    assert!(text.contains("nothing more is acknowledged"), "{text}");
    let process = start(&mut command(folder.path(), &[]));
    let found = process.client().list("k/", None, 1000).await.expect("listed").entries.len();
    // The write that failed may be there.
    assert!(found == written || found == written + 1, "{found} {written}");
}

#[test]
fn keys_are_made_once_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut command = command(folder.path(), &[]);
        command.env_remove("OUTPLANE_STORE_ACCESS_KEY").env_remove("OUTPLANE_STORE_SECRET_KEY");
        let mut process = start(&mut command);
        let mut line = String::new();
        process.output.read_line(&mut line).expect("it says where the keys are");
        assert_eq!(line.trim_end(), format!("keys in {}", path.display()));
        assert_eq!(path.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
        texts.push(std::fs::read_to_string(&path).expect("readable"));
        assert_eq!(process.end("TERM"), Some(0));
    }
    assert_eq!(texts[0], texts[1]);
    let mut command_json = command(folder.path(), &["-o", "json"]);
    command_json.env_remove("OUTPLANE_STORE_ACCESS_KEY").env_remove("OUTPLANE_STORE_SECRET_KEY");
    let mut child = command_json.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    std::io::BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert!(ready["listening"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{ready}");
    assert_eq!(ready["keys"].as_str(), path.to_str());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let (code, text) = fails(command(folder.path(), &["--keys", path.to_str().expect("a path")]).env_clear());
    assert_eq!(code, Some(1));
    assert!(text.contains("chmod 600"), "{text}");
}

#[test]
fn wrong_arguments_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, code, words) in [
        (&["--bucket", "No"][..], 2, "can't be a bucket's name"),
        (&["--max-bytes", "much"], 2, "500M"),
        (&["--max-objects", "0"], 2, "max-objects"),
        (&["--tls-cert", "cert.pem"], 2, "--tls-key"),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.pem"], 1, "/nowhere.pem"),
        (&["--keys", "/nowhere"], 1, "/nowhere"),
    ] {
        let (found, text) = fails(&mut command(folder.path(), arguments));
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    let (code, text) = fails(command(folder.path(), &[]).env("OUTPLANE_STORE_SECRET_KEY", "short"));
    assert_eq!(code, Some(1));
    assert!(text.contains("OUTPLANE_STORE_SECRET_KEY") && !text.contains("short\""), "{text}");
}

async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), answer)
}

/// What a service manager and a monitor see.
#[tokio::test(flavor = "multi_thread")]
async fn it_tells_how_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut command = command(folder.path(), &["--bucket", "bucket", "--http", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").env_remove("WATCHDOG_PID");
    let mut process = start(&mut command);
    let mut line = String::new();
    process.output.read_line(&mut line).expect("it says where its metrics are");
    let address =
        line.trim_end().strip_prefix("metrics on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    let mut buffer = [0; 256];
    let mut told = async || {
        let received = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut buffer)).await;
        let length = received.expect("in time").expect("readable");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(told().await, format!("READY=1\nSTATUS=serving S3 on {}\n", process.address));
    for _ in 0..3 {
        assert_eq!(told().await, "WATCHDOG=1\n");
    }
    process.client().create("k", Bytes::from_static(b"x")).await.expect("created");
    assert_eq!(get(&address, "/health").await.0, 200);
    assert_eq!(get(&address, "/ready").await.0, 200);
    let (status, metrics) = get(&address, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "outplane_embedded_store_ready 1.0",
        "outplane_embedded_store_put_object_total 1",
        "outplane_embedded_store_objects 1.0",
        "# TYPE outplane_embedded_store_live_bytes gauge",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let (_, status) = get(&address, "/status").await;
    assert!(status.contains("\"ready\":true") && status.contains("\"objects\":1"), "{status}");
    assert_eq!(process.end("TERM"), Some(0));
    let stopping = loop {
        let said = told().await;
        if said != "WATCHDOG=1\n" {
            break said;
        }
    };
    assert_eq!(stopping, "STOPPING=1\nSTATUS=asked to stop\n");
}
