//! A controller under a hostile store: one that answers everything with bytes without end, and one that is full of garbage.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use outplane_rmdp_store::{Secret, Settings, Store};

use crate::process::{command, run, run_for, start};
use crate::s3::endless;

/// Most memory of a controller, MiB.
const CONTROLLER: u64 = 250;

/// A node's file.
fn node(folder: &Path, address: &str) -> String {
    let file = folder.join("c1.toml");
    let text = format!(
        "name = \"c1\"\n[store]\nendpoints = [\"http://{address}\"]\nbucket = \"tasks\"\naccess_key = \"access-key\"\n\
         secret_key = \"secret-key-of-tests\"\ncall_timeout_ms = 3000\n[keys]\n1 = \"00112233445566778899aabbccddeeff\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_end() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/xml\r\netag: \"a\"\r\n\r\n";
    let address = endless(head).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = node(folder.path(), &address);
    // It waits for a store that makes sense.
    run_for(&mut command(&["controller", "--config", &file]), Duration::from_secs(8), CONTROLLER).await;
}

/// Objects of 64 MiB, where at most 64 KiB are expected, under all prefixes that a controller lists and reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_garbage() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = folder.path().join("objects");
    let mut store =
        command(&["store", "--listen", "127.0.0.1:0", "--bucket", "tasks", "--max-bytes", "4G", "--dir"]);
    store
        .arg(&objects)
        .env("OUTPLANE_STORE_ACCESS_KEY", "access-key")
        .env("OUTPLANE_STORE_SECRET_KEY", "secret-key-of-tests");
    let store = start(&mut store);
    let file = node(folder.path(), &store.address);
    let shared = folder.path().join("shared.toml");
    let member = |name: &str, sender: u16, role: &str| {
        let address = outplane_loopback::address();
        format!(
            "[[member]]\nname = \"{name}\"\nsender = {sender}\nrole = \"{role}\"\naddress = \"{address}\"\n"
        )
    };
    let text = member("c1", 1, "controller")
        + &member("d1", 2, "distributor")
        + "[datagrams]\ngroups = []\n[retention]\nhorizon_s = 3600\n";
    std::fs::write(&shared, text).expect("written");
    let set = run(&mut command(&["config", "set", shared.to_str().expect("text"), "--config", &file])).await;
    set.succeeded();

    let mut settings = Settings::new(
        vec![format!("http://{}", store.address)],
        "tasks",
        "access-key",
        Secret::new("secret-key-of-tests"),
    );
    settings.max_object = 65 << 20;
    settings.deadline = Duration::from_secs(30);
    let client = Store::new(settings).expect("good settings");
    let garbage = Bytes::from(vec![b' '; 64 << 20]);
    let id = "00000000-0000-8000-8000-0000000000";
    let tasks = (10..16).map(|number| format!("q/00/{id}{number}"));
    let others = ["d/00/", "c/00/", "r/00/"].map(|prefix| format!("{prefix}{id}10"));
    let numbers = ["i", "p", "config"].map(|chain| format!("{chain}/{:020}", 2));
    let nodes = ["n/c2", "k/c2", "degraded/c2", "e/c2/00000000000000000001"].map(str::to_owned);
    for key in tasks.chain(others).chain(numbers).chain(nodes) {
        client.put(&key, garbage.clone()).await.expect("put");
    }
    run_for(&mut command(&["controller", "--config", &file]), Duration::from_secs(10), CONTROLLER).await;
}
