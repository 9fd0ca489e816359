use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::metrics::Metrics;

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

async fn serve() -> (SocketAddr, Readiness, CancellationToken, tokio::task::JoinHandle<()>) {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let readiness = Readiness::of_node();
    let pages = Pages {
        metrics: Arc::new(Metrics::new("c1", "controller")).source(readiness.clone()),
        readiness: readiness.clone(),
        status: Arc::new(|| serde_json::json!({"node": "c1"})),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(pages, stop.clone()));
    (address, readiness, stop, running)
}

#[tokio::test]
async fn pages() {
    let (address, readiness, stop, running) = serve().await;
    assert_eq!(get(address, "/health").await.0, 200);

    readiness.lacks(Lacking::Store, "no endpoint of the store answers");
    let (status, answer) = get(address, "/ready").await;
    assert_eq!(status, 503);
    assert!(
        answer.ends_with("no shared configuration has been read yet\nno endpoint of the store answers\n")
    );
    assert!(get(address, "/metrics").await.1.contains("\noutplane_ready 0\n"));

    readiness.has(Lacking::Configuration);
    readiness.has(Lacking::Store);
    assert_eq!(get(address, "/ready").await.0, 200);

    let (status, answer) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("application/openmetrics-text") && answer.contains("\noutplane_ready 1\n"),
        "{answer}"
    );

    let (status, answer) = get(address, "/status").await;
    assert_eq!(status, 200);
    assert!(answer.contains("application/json") && answer.ends_with("{\"node\":\"c1\"}\n"), "{answer}");

    assert_eq!(get(address, "/nothing").await.0, 404);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Whoever opens connections and says nothing, or trickles, keeps nobody out, and nothing from stopping.
#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let (address, _readiness, stop, running) = serve().await;
    let mut silent = Vec::new();
    for number in 0..2 * MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
        }
        silent.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(3), get(address, "/health")).await;
    assert_eq!(answer.unwrap().0, 200);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}

#[tokio::test]
async fn lives_are_bounded() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Bounded::new(listener, 1, Duration::from_millis(50));
    let running = tokio::spawn(async move { axum::serve(listener, Router::new()).await });
    let mut silent = TcpStream::connect(address).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), silent.read(&mut [0; 16])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    running.abort();
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let first = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Server::bind(first.address()).await.unwrap_err().to_string();
    assert!(error.contains(&first.address().to_string()) && error.contains("[http]"), "{error}");
}
