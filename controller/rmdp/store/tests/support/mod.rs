//! A scripted S3: keeps objects in memory and answers as a test tells it to. Good for answers that no real store gives
//! on demand; what a real store does is in `ceph.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use outplane_rmdp_store::{Secret, Settings, Store};

/// A request, as far as the script looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) conditional: bool,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn is_create(&self) -> bool {
        self.method == "PUT" && self.conditional
    }

    pub(crate) fn is_put(&self) -> bool {
        self.method == "PUT"
    }

    fn key(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// What an honest store does.
    Serve,
    /// Carries it out, then answers this.
    ServeThen(Box<Act>),
    /// This answer, and nothing done.
    Answer(u16, &'static str, Bytes),
    /// Takes the request and says nothing.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Carries it out after this time, however long the client waits, and answers.
    Late(Duration),
    /// Serves with the header's promise broken: looks, waits, then writes.
    CheckThenWrite(Duration),
    /// Serves as if the request had no condition.
    IgnoreCondition,
    /// Sends the head and the first byte of the object, then one byte each time.
    Trickle(Duration),
    /// An answer without a length that goes on for so many bytes.
    Endless(usize),
}

pub(crate) fn error(code: &str) -> Bytes {
    Bytes::from(format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>scripted</Message></Error>"
    ))
}

pub(crate) fn status(status: u16, code: &str) -> Act {
    Act::Answer(status, "application/xml", error(code))
}

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;
type Script = Arc<dyn Fn(&Request, usize) -> Act + Send + Sync>;

/// One endpoint. Ends when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) objects: Objects,
    pub(crate) seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// `script` gets each request and how many came before it.
    pub(crate) async fn start(script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::sharing(Objects::default(), script).await
    }

    /// An endpoint of the store that has these objects.
    pub(crate) async fn sharing(
        objects: Objects,
        script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let task = tokio::spawn(accept(listener, Arc::clone(&objects), Arc::clone(&seen), script));
        Self { url, objects, seen, task }
    }

    pub(crate) fn count(&self, what: impl Fn(&Request) -> bool) -> usize {
        self.seen.lock().expect("no panic").iter().filter(|request| what(request)).count()
    }

    pub(crate) fn object(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().expect("no panic").get(&format!("/tasks/{key}")).cloned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, objects: Objects, seen: Arc<Mutex<Vec<Request>>>, script: Script) {
    // Connections end with the listener.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, Arc::clone(&objects), Arc::clone(&seen), Arc::clone(&script)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, objects: Objects, seen: Arc<Mutex<Vec<Request>>>, script: Script) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        let before = {
            let mut seen = seen.lock().expect("no panic");
            seen.push(request.clone());
            seen.len() - 1
        };
        let mut act = script(&request, before);
        while let Act::ServeThen(next) = act {
            let _ = apply(&objects, &request);
            act = *next;
        }
        if !perform(&mut stream, &objects, request, act).await {
            return;
        }
    }
}

/// Whether the connection goes on.
async fn perform(stream: &mut TcpStream, objects: &Objects, request: Request, act: Act) -> bool {
    match act {
        Act::Serve | Act::ServeThen(_) => {
            let (status, body) = apply(objects, &request);
            answer(stream, status, "application/xml", &body).await
        }
        Act::Answer(status, kind, body) => answer(stream, status, kind, &body).await,
        Act::Hang => std::future::pending().await,
        Act::Close => false,
        Act::Late(time) => {
            let objects = Arc::clone(objects);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                let _ = apply(&objects, &request);
            });
            std::future::pending().await
        }
        Act::CheckThenWrite(time) => {
            if request.is_create() {
                let exists = objects.lock().expect("no panic").contains_key(request.key());
                if exists {
                    return answer(stream, 412, "application/xml", &error("PreconditionFailed")).await;
                }
                tokio::time::sleep(time).await;
            }
            let (status, body) = apply(objects, &Request { conditional: false, ..request });
            answer(stream, status, "application/xml", &body).await
        }
        Act::IgnoreCondition => {
            let (status, body) = apply(objects, &Request { conditional: false, ..request });
            answer(stream, status, "application/xml", &body).await
        }
        Act::Trickle(time) => {
            let (status, body) = apply(objects, &request);
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
            if stream.write_all(head.as_bytes()).await.is_err() {
                return false;
            }
            for byte in body {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                tokio::time::sleep(time).await;
            }
            true
        }
        Act::Endless(size) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..size.div_ceil(4096) {
                if stream.write_all(&[b' '; 4096]).await.is_err() {
                    break;
                }
            }
            false
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = header("content-length").map_or(0, |length| length.parse().expect("a number"));
    let conditional = header("if-none-match").is_some();
    let first = String::from_utf8_lossy(&buffer[..head]).lines().next().unwrap_or_default().to_owned();
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = Bytes::copy_from_slice(&buffer[head..head + length]);
    buffer.drain(..head + length);
    let mut words = first.split(' ');
    Some(Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        conditional,
        body,
    })
}

/// What an honest store does; atomic, as all of it happens under one lock.
fn apply(objects: &Objects, request: &Request) -> (u16, Bytes) {
    let mut objects = objects.lock().expect("no panic");
    match request.method.as_str() {
        "PUT" if request.conditional && objects.contains_key(request.key()) => {
            (412, error("PreconditionFailed"))
        }
        "PUT" => {
            objects.insert(request.key().to_owned(), request.body.clone());
            (200, Bytes::new())
        }
        "GET" if request.path.contains("versioning") => {
            (200, Bytes::from_static(b"<VersioningConfiguration></VersioningConfiguration>"))
        }
        "GET" => match objects.get(request.key()) {
            Some(body) => (200, body.clone()),
            None => (404, error("NoSuchKey")),
        },
        "POST" => {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            for part in text.split("<Key>").skip(1) {
                let key = part.split('<').next().unwrap_or_default();
                objects.remove(&format!("/tasks/{key}"));
            }
            (200, Bytes::from_static(b"<DeleteResult></DeleteResult>"))
        }
        _ => (405, error("MethodNotAllowed")),
    }
}

async fn answer(stream: &mut TcpStream, status: u16, kind: &str, body: &[u8]) -> bool {
    let mut bytes = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\netag: \"e\"\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await.is_ok()
}

/// A client of these endpoints, with short times.
pub(crate) fn store(endpoints: &[&str]) -> Store {
    Store::new(settings(endpoints)).expect("good settings")
}

pub(crate) fn settings(endpoints: &[&str]) -> Settings {
    let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
    let mut settings = Settings::new(endpoints, "tasks", "key", Secret::new("secret"));
    settings.deadline = Duration::from_secs(3);
    settings
}
