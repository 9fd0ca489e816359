//! Asks nodes for their pages: for commands that tell what the store does not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lines::line;

/// Most bytes of a page: `/status` is bounded by what it tells.
pub(crate) const MOST: u64 = 4 << 20;
/// Nodes that are asked at a time.
const AT_ONCE: usize = 32;
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;
/// Most reasons of a node that are passed on, and most bytes of each.
const MOST_REASONS: usize = 4;
const MOST_BYTES: usize = 1000;

/// A page.
pub(crate) struct Page {
    /// Of HTTP.
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A page of who listens at HOST:PORT; else why not, in words that begin with the page's address.
pub(crate) async fn page(place: &str, path: &str, within: Duration) -> Result<Page, String> {
    let asked = timeout(within, async {
        let mut stream = connected(place, Instant::now() + within).await?;
        // Of HTTP 1.0 the end of the answer is the end of the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {place}\r\nAccept: application/json\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST + 1).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    let at = format!("http://{place}{path}");
    let answer = match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("{at}: {error}")),
        Err(_) => return Err(format!("{at}: no answer within {} s", within.as_secs())),
    };
    if answer.len() as u64 > MOST {
        return Err(format!("{at}: more than {MOST} bytes: no page of a node"));
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{at}: no answer of HTTP"))?;
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("{at}: no answer of HTTP"))?;
    Ok(Page { status, body: body.to_owned() })
}

/// A connection to HOST:PORT. All addresses of a name are tried, each for its share of what is left.
async fn connected(place: &str, end: Instant) -> std::io::Result<TcpStream> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in lookup_host(place).await? {
        if addresses.len() < MOST_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let count = addresses.len();
    for (place, address) in addresses.into_iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(count - place).unwrap_or(u32::MAX);
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => std::io::Error::new(error.kind(), format!("{address}: {error}")),
            Err(_) => std::io::Error::new(std::io::ErrorKind::TimedOut, format!("{address}: no answer")),
        };
    }
    Err(last)
}

/// What a node says of itself, whatever store it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Why it is not ready; empty: it is.
    pub lacks: Vec<String>,
    /// The network that it is of, where it knows.
    pub network: Option<String>,
}

/// A node's `/status`, as far as it matters here.
#[derive(Deserialize)]
struct Status {
    node: String,
    #[serde(default)]
    remembers: Option<Remembers>,
}

#[derive(Deserialize)]
struct Remembers {
    network: String,
}

/// What nodes say of themselves on their pages, by name. Who does not answer in time says nothing.
pub async fn told(nodes: BTreeMap<String, SocketAddr>, within: Duration) -> BTreeMap<String, Told> {
    let (mut told, mut waiting, mut asked) = (BTreeMap::new(), nodes.into_iter(), JoinSet::new());
    loop {
        while asked.len() < AT_ONCE
            && let Some((name, address)) = waiting.next()
        {
            asked.spawn(async move {
                let answer = of(&name, address, within).await;
                (name, answer)
            });
        }
        match asked.join_next().await {
            None => return told,
            Some(Ok((name, Some(answer)))) => drop(told.insert(name, answer)),
            // It did not answer; or a panic, which its own message has told.
            Some(Ok((_, None)) | Err(_)) => {}
        }
    }
}

async fn of(name: &str, address: SocketAddr, within: Duration) -> Option<Told> {
    let place = address.to_string();
    let (ready, status) = tokio::join!(page(&place, "/ready", within), page(&place, "/status", within));
    let status: Status = serde_json::from_str(&status.ok()?.body).ok()?;
    // An address may be another's by now.
    if status.node != name {
        return None;
    }
    let ready = ready.ok()?;
    let reason = |said: &str| line(&said[..said.floor_char_boundary(MOST_BYTES)]).into_owned();
    let lacks = match ready.status {
        200 => Vec::new(),
        _ => ready.body.lines().take(MOST_REASONS).map(reason).collect(),
    };
    Some(Told { lacks, network: status.remembers.map(|remembers| line(&remembers.network).into_owned()) })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers so many requests, each page with its text.
    async fn serve(ready: &'static str, status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                let is_ready = request[..length].starts_with(b"GET /ready");
                stream.write_all(if is_ready { ready } else { status }.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn nodes_say_what_they_lack_and_of_which_network_they_are() {
        let waits = serve(
            "HTTP/1.0 503 Service Unavailable\r\n\r\nthe store has gone back\n",
            "HTTP/1.0 200 OK\r\n\r\n{\"node\": \"c1\", \"remembers\": {\"network\": \"17\", \"epochs\": {}}}",
        );
        let (waits, works) = (waits.await, "HTTP/1.0 200 OK\r\n\r\nready\n");
        let fine = serve(works, "HTTP/1.0 200 OK\r\n\r\n{\"node\": \"c2\"}").await;
        let garbage = serve(works, "nothing of HTTP").await;
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nodes = [
            ("c1", waits),
            ("c2", fine),
            // It is c2's.
            ("c3", fine),
            ("c4", garbage),
            ("c5", mute.local_addr().unwrap()),
        ];
        let nodes = nodes.map(|(name, address)| (name.to_owned(), address)).into();
        let told = told(nodes, Duration::from_millis(500)).await;
        let of_c1 =
            Told { lacks: vec!["the store has gone back".to_owned()], network: Some("17".to_owned()) };
        assert_eq!(told, [("c1".to_owned(), of_c1), ("c2".to_owned(), Told::default())].into());
    }

    /// `localhost` may have two addresses, of which one listens.
    #[tokio::test]
    async fn a_name_is_asked_at_all_its_addresses() {
        let ready = "HTTP/1.0 200 OK\r\n\r\nready\n";
        let port = serve(ready, ready).await.port();
        let found = page(&format!("localhost:{port}"), "/ready", Duration::from_secs(5)).await.unwrap();
        assert_eq!((found.status, found.body.as_str()), (200, "ready\n"));
        let nowhere = page("nobody.invalid:80", "/ready", Duration::from_secs(5)).await.err().unwrap();
        assert!(nowhere.starts_with("http://nobody.invalid:80/ready: "), "{nowhere}");
    }
}
