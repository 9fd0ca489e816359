//! What a request costs this process in CPU time, beside a bare HTTP/1.1 exchange of the same size over one socket.
//!
//! `cargo bench -p outplane-rmdp-store`. The server, which answers at once, is a process of its own, so that its time
//! does not count.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outplane_rmdp_store::{Secret, Settings, Store};
use tokio::task::JoinSet;

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "only the server is wanted")]
mod support;

const REQUESTS: u32 = 20_000;
const BODY: usize = 300;

fn main() {
    if std::env::args().any(|arg| arg == "serve") {
        return serve();
    }
    let program = std::env::current_exe().expect("this program");
    let mut server = Command::new(program)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut url = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut url).expect("its address");
    let url = url.trim().to_owned();

    let bare = cpu_of(|| bare(&url));
    println!("{:<32} {:>8.1} us CPU a request", "bare exchange", per_request(bare));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for (name, at_once) in [("one after the other", 1_u32), ("32 at once", 32)] {
        for operation in ["create", "put", "get", "list", "delete"] {
            let mut settings = Settings::new(vec![url.clone()], "tasks", "key", Secret::new("secret"));
            settings.attempt_timeout = Duration::from_secs(5);
            let store = Store::new(settings).expect("good settings");
            let started = Instant::now();
            let cpu = cpu_of(|| runtime.block_on(run(&store, operation, at_once)));
            let rate = f64::from(REQUESTS) / started.elapsed().as_secs_f64();
            let stats = &store.endpoints()[0];
            println!(
                "{:<32} {:>8.1} us CPU a request, {:>5.1} x bare, {rate:>6.0}/s, p50 {:?} p99 {:?}",
                format!("{operation}, {name}"),
                per_request(cpu),
                cpu.as_secs_f64() / bare.as_secs_f64(),
                stats.p50.unwrap_or_default(),
                stats.p99.unwrap_or_default(),
            );
        }
    }
    drop(server.stdin.take());
    let _ = server.wait();
}

/// Serves until standard input ends.
fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let server = support::Server::start(move |request, _| match request.method.as_str() {
            "GET" if request.path.contains("list-type") => {
                support::Act::Answer(200, "application/xml", Bytes::from_static(listing.as_bytes()))
            }
            "GET" => support::Act::Answer(200, "application/json", Bytes::from_static(&[b'x'; BODY])),
            "PUT" => support::Act::Answer(200, "application/xml", Bytes::new()),
            _ => support::Act::Answer(
                200,
                "application/xml",
                Bytes::from_static(b"<DeleteResult></DeleteResult>"),
            ),
        })
        .await;
        println!("{}", server.url);
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
    });
}

async fn run(store: &Store, operation: &'static str, at_once: u32) {
    let mut writers = JoinSet::new();
    for writer in 0..at_once {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..REQUESTS / at_once {
                let key = format!("c/{writer:08x}{number:024x}/000001");
                match operation {
                    "create" => {
                        store.create(&key, Bytes::from(vec![b'x'; BODY])).await.expect("created");
                    }
                    "put" => store.put(&key, Bytes::from(vec![b'x'; BODY])).await.expect("written"),
                    "get" => {
                        store.get(&key).await.expect("read");
                    }
                    "list" => {
                        store.list("q/", None, 100).await.expect("listed");
                    }
                    _ => store.delete(&[key]).await.expect("deleted"),
                }
            }
        });
    }
    writers.join_all().await;
}

fn bare(url: &str) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("connected");
    stream.set_nodelay(true).expect("an option");
    let request =
        format!("PUT /tasks/key HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY}\r\n\r\n{}", "x".repeat(BODY));
    let mut answer = [0; 4096];
    for _ in 0..REQUESTS {
        stream.write_all(request.as_bytes()).expect("sent");
        assert!(stream.read(&mut answer).expect("answered") > 0);
    }
}

/// User and system time of this process, from the kernel's ticks of 10 ms.
fn cpu_of(work: impl FnOnce()) -> Duration {
    let now = || {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
        // The name in brackets may contain spaces; utime and stime are the 12th and 13th fields after it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    };
    let before = now();
    work();
    now().saturating_sub(before)
}

fn per_request(cpu: Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / f64::from(REQUESTS)
}
