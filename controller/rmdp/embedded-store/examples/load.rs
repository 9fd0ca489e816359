//! Measures the store: conditional creates of 400 bytes by 1, 8 and 64 clients at a time, beside what the disk needs
//! for one durable append. The store is a process of its own, so its processor time is known.
//!
//! `cargo run --release -p outplane-embedded-store --example load [FOLDER [SECONDS]]`; the folder decides which disk
//! is measured.

#[path = "../tests/s3/client.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod client;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::Client;
use outplane_embedded_store::{Keys, Server, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Objects that are read.
const READ: usize = 100;
const BODY: [u8; 400] = [b'x'; 400];

fn keys() -> Keys {
    Keys::new("access-key".into(), "secret-key-of-the-bench".into()).expect("good keys")
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "serve") {
        return serve(Path::new(&arguments[2])).await;
    }
    let root = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.get(2).map_or(5, |text| text.parse().expect("a number of seconds"));
    let folder = root.join(format!("outplane-store-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    println!("| what | per second | p50 us | p99 us | store's CPU us per request | creates per sync |");
    println!("|---|---|---|---|---|---|");
    let (rate, p50, p99) = disk(&folder, Duration::from_secs(seconds));
    println!("| append + fdatasync, no store | {rate} | {p50} | {p99} | | |");
    let mut store = Store::start(&folder.join("store"));
    store.prepare().await;
    for clients in [1, 8, 64] {
        let run = store.creates(clients, Duration::from_secs(seconds)).await;
        println!("| create, {clients} at a time | {run} |");
    }
    for clients in [1, 8, 64] {
        let run = store.gets(clients, Duration::from_secs(seconds)).await;
        println!("| get, {clients} at a time | {run} |");
    }
    let memory = store.memory();
    let objects = store.metrics().0;
    drop(store);
    println!("\n{objects} objects, the store has {memory} MiB resident");
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// The store's process: says where it listens, and its counters at each line it is given.
async fn serve(folder: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut settings = Settings::new(folder, keys());
    settings.buckets = vec!["bucket".to_owned()];
    let server = Server::start(listener, settings).await.expect("it starts");
    println!("{}", server.address());
    let metrics = std::sync::Arc::clone(server.metrics());
    let asked = tokio::task::spawn_blocking(move || {
        for _ in std::io::stdin().lines() {
            println!("{} {}", metrics.objects.get(), metrics.syncs.get());
        }
    });
    asked.await.expect("it ends");
    server.shutdown().await.expect("an orderly end");
}

struct Store {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
    round: usize,
}

impl Store {
    fn start(folder: &Path) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["serve".as_ref(), folder.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its address");
        let address = line.trim().parse().expect("an address");
        Self { child, output, address, round: 0 }
    }

    /// Objects and syncs.
    fn metrics(&mut self) -> (u64, u64) {
        self.child.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("written");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its counters");
        let (objects, syncs) = line.trim().split_once(' ').expect("two numbers");
        (objects.parse().expect("a number"), syncs.parse().expect("a number"))
    }

    /// Processor time so far, user and system: fields 14 and 15, in ticks of 10 ms.
    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = text.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
    }

    /// Objects that can be read later.
    async fn prepare(&self) {
        let mut tasks = JoinSet::new();
        for number in 0..READ {
            let address = self.address;
            tasks.spawn(async move {
                let mut client = Client::connect(address, &keys()).await;
                assert_eq!(client.create(&format!("/bucket/g/{number}"), &BODY).await, 200);
            });
        }
        tasks.join_all().await;
    }

    async fn creates(&mut self, clients: usize, time: Duration) -> String {
        self.round += 1;
        let round = self.round;
        let target = move |client, number| format!("/bucket/q/{round}/{client}/{number}");
        self.run(clients, time, move |client, number| ("PUT", target(client, number))).await
    }

    async fn gets(&mut self, clients: usize, time: Duration) -> String {
        self.run(clients, time, |client, number| ("GET", format!("/bucket/g/{}", (client + number) % READ)))
            .await
    }

    async fn run<F>(&mut self, clients: usize, time: Duration, request: F) -> String
    where
        F: Fn(usize, usize) -> (&'static str, String) + Copy + Send + 'static,
    {
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(Client::connect(self.address, &keys()).await);
        }
        let (cpu, syncs, start) = (self.cpu(), self.metrics().1, Instant::now());
        let mut tasks = JoinSet::new();
        for (number, mut client) in connected.into_iter().enumerate() {
            tasks.spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < time {
                    let (method, target) = request(number, times.len());
                    let (headers, body) = match method {
                        "PUT" => (&[("if-none-match", "*")][..], &BODY[..]),
                        _ => (&[][..], &b""[..]),
                    };
                    let before = Instant::now();
                    let status = client.send(method, &target, headers, body).await.status;
                    assert_eq!(status, 200);
                    times.push(before.elapsed());
                }
                times
            });
        }
        let times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
        let (elapsed, count) = (start.elapsed(), times.len());
        let cpu = self.cpu().saturating_sub(cpu).as_micros() / count as u128;
        let syncs = self.metrics().1 - syncs;
        let (rate, p50, p99) = summary(times, elapsed);
        let grouped = if syncs == 0 { String::new() } else { tenths(count as u64, syncs) };
        format!("{rate} | {p50} | {p99} | {cpu} | {grouped}")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        let _ = self.output.read_to_string(&mut rest);
        let _ = self.child.wait();
    }
}

/// A ratio with one decimal.
fn tenths(number: u64, of: u64) -> String {
    format!("{}.{}", number / of, number * 10 / of % 10)
}

/// Rate, p50 and p99 in microseconds.
fn summary(mut times: Vec<Duration>, elapsed: Duration) -> (u128, u128, u128) {
    times.sort();
    let rate = times.len() as u128 * 1_000_000 / elapsed.as_micros();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_micros();
    (rate, at(50), at(99))
}

/// What the disk does by itself.
fn disk(folder: &Path, time: Duration) -> (u128, u128, u128) {
    let mut file = std::fs::File::create(folder.join("append")).expect("a file");
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let before = Instant::now();
        file.write_all(&BODY).expect("written");
        file.sync_data().expect("durable");
        times.push(before.elapsed());
    }
    summary(times, start.elapsed())
}
