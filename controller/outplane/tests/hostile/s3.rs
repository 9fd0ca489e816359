//! Commands under a hostile store: it answers everything with bytes without end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::process::{command, run};

/// Most memory of a command under a hostile store, MiB.
const COMMAND: u64 = 120;

/// An endpoint that answers with this head, and then sends for as long as somebody reads.
pub(crate) async fn endless(head: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end() {
    let chunked = "transfer-encoding: chunked\r\ncontent-type: application/xml\r\netag: \"a\"\r\n\r\n";
    for head in ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 403 Forbidden"] {
        let address = endless(Box::leak(format!("{head}\r\n{chunked}").into_boxed_str())).await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node.toml");
        let text = format!(
            "name = \"c1\"\n[store]\nendpoints = [\"http://{address}\"]\nbucket = \"tasks\"\naccess_key = \"a\"\nsecret_key = \
             \"b\"\ncall_timeout_ms = 3000\n[keys]\n1 = \"00112233445566778899aabbccddeeff\"\n"
        );
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("text");
        for arguments in
            [&["config", "get", "--config", file][..], &["config", "get", "--version", "1", "--config", file]]
        {
            let ended = run(&mut command(arguments)).await;
            ended.failed_below(head, COMMAND);
        }
    }
}
