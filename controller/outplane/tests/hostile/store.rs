//! The embedded store under hostile clients.

use std::time::Duration;

use bytes::Bytes;
use outplane_rmdp_store::{Created, Secret, Settings, Store};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::process::{Daemon, command, start};

/// Most memory of the store under hostile clients, MiB.
const STORE: u64 = 200;

fn daemon(folder: &tempfile::TempDir) -> Daemon {
    let folder = folder.path().to_str().expect("text");
    let arguments =
        ["store", "--listen", "127.0.0.1:0", "--bucket", "bucket", "--max-bytes", "1G", "--dir", folder];
    let mut command = command(&arguments);
    command
        .env("OUTPLANE_STORE_ACCESS_KEY", "access-key")
        .env("OUTPLANE_STORE_SECRET_KEY", "secret-key-of-tests");
    start(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = daemon(&folder);
    let mut held = Vec::new();
    for number in 0..700 {
        let Ok(mut stream) = TcpStream::connect(&store.address).await else { continue };
        // Silence, half a head, a head whose body trickles, bodies without a signature.
        let text = match number % 4 {
            0 => String::new(),
            1 => "GET /bucket/k HTTP/1.1\r\nhost:".to_owned(),
            2 => format!(
                "POST /bucket?delete HTTP/1.1\r\nhost: {}\r\ncontent-length: 4000000\r\n\r\n<",
                store.address
            ),
            _ => format!(
                "PUT /bucket/k HTTP/1.1\r\nhost: {}\r\ncontent-length: 60000000\r\n\r\n",
                store.address
            ),
        };
        let _ = stream.write_all(text.as_bytes()).await;
        if number % 4 == 3 {
            let _ = tokio::time::timeout(Duration::from_millis(5), stream.write_all(&vec![7; 1 << 20])).await;
        }
        held.push(stream);
    }
    let endpoints = vec![format!("http://{}", store.address)];
    let settings = Settings::new(endpoints, "bucket", "access-key", Secret::new("secret-key-of-tests"));
    let client = Store::new(settings).expect("good settings");
    let created =
        tokio::time::timeout(Duration::from_secs(3), client.create("k/1", Bytes::from_static(b"x"))).await;
    assert_eq!(created.expect("at once").expect("created"), Created::Ours);
    let deleted = tokio::time::timeout(Duration::from_secs(3), client.delete(&["k/1".to_owned()])).await;
    deleted.expect("at once").expect("deleted");
    store.stays_below(STORE);
}
