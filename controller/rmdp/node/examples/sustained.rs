//! Many tasks a second for a while: do the controllers keep up, and does memory stay where it is?
//!
//! `cargo run --release -p outplane-rmdp-node --example sustained -- [RATE] [SECONDS] [DISTRIBUTORS] [SWITCHES]`
//! (1,000 tasks a second, 60 s, 1 distributor, 100 switches)
//!
//! Store, distributors and two controllers are processes of `outplane`, found beside this program or in `$OUTPLANE`, and
//! talk over loopback. The soft switches are in this process, which also appends the probes: ten entries a second, each for
//! as many switches as the rate asks for. Latency is from the append's acknowledgement to when the decision goes out, by
//! the clock of this machine, of every tenth task.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Object, Outcome};
use outplane_rmdp_core::task::{Event, NetworkId};
use outplane_rmdp_node::clock::unix_millis;
use outplane_rmdp_node::daemon;
use outplane_rmdp_node::file::NodeFile;
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_node::probes;
use outplane_rmdp_store::Store;
use outplane_rmdp_wire::HintOf;
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use outplane_testbed::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Entries of the log of probes a second.
const ENTRIES: usize = 10;
/// Between two lines of the table.
const WINDOW: Duration = Duration::from_secs(5);
/// How long what is open at the end may take.
const PATIENCE: Duration = Duration::from_mins(2);
const SECRET: &str = "a-secret-of-a-measurement";
const OPERATIONS: [&str; 5] = ["create", "get", "list", "delete", "put"];

/// A process of `outplane`.
struct Daemon {
    name: String,
    process: Process,
    /// What it said when it was up.
    said: serde_json::Value,
}

impl Daemon {
    fn start(name: &str, folder: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(outplane());
        command.args(words).args(["--output", "json"]).current_dir(folder);
        command.env("OUTPLANE_STORE_ACCESS_KEY", "bench").env("OUTPLANE_STORE_SECRET_KEY", SECRET);
        let mut process = Process::start(name, &mut command).expect("outplane starts");
        let line = process.line(PATIENCE).expect("it says something");
        let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{name} is not up: {line}"));
        Self { name: name.to_owned(), process, said }
    }

    fn http(&self) -> Option<SocketAddr> {
        self.said["http"].as_str().and_then(|address| address.parse().ok())
    }

    /// Resident memory in MiB, and processor time since its start.
    fn usage(&self) -> (f64, Duration) {
        usage(&self.process.id().to_string())
    }
}

fn outplane() -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().expect("this program has a path");
        own.ancestors().nth(2).expect("it lies in a folder of examples").join("outplane")
    };
    std::env::var_os("OUTPLANE").map_or_else(beside, PathBuf::from)
}

fn usage(pid: &str) -> (f64, Duration) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    // Of user and system, in hundredths of a second; what comes before is a name in parentheses.
    let stat = read("stat");
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split(' ').skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    (kib.unwrap_or(0.0) / 1024.0, Duration::from_millis(ticks * 10))
}

/// Sums of the nodes' metrics.
#[derive(Clone, Debug, Default)]
struct Counts {
    decided: f64,
    failed: f64,
    requests: BTreeMap<String, f64>,
}

async fn counts(nodes: &[Daemon]) -> Counts {
    let mut counts = Counts::default();
    for address in nodes.iter().filter_map(Daemon::http) {
        let mut stream = TcpStream::connect(address).await.expect("the node is there");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("it takes a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if series.starts_with("outplane_tasks_ended_total") {
                counts.decided += value;
                counts.failed += if series.contains("done") { 0.0 } else { value };
            } else if let Some(rest) = series.strip_prefix("outplane_store_operations_total{operation=\"") {
                *counts.requests.entry(rest.trim_end_matches("\"}").to_owned()).or_default() += value;
            }
        }
    }
    counts
}

struct Site {
    folder: tempfile::TempDir,
    processes: Vec<Daemon>,
    _switches: Vec<Switch>,
    objects: Objects,
    network: NetworkId,
    file: NodeFile,
    names: Vec<String>,
}

impl Site {
    async fn start(distributors: usize, switches: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let words = ["store", "--listen", "127.0.0.1:0", "--dir", "store", "--bucket", "outplane"];
        let store = Daemon::start("store", path, &words);
        let endpoint = format!("http://{}", store.said["listening"].as_str().expect("it says where"));
        let nodes: Vec<_> = (1..=distributors)
            .map(|number| (format!("d{number}"), "distributor"))
            .chain((1..=2).map(|number| (format!("c{number}"), "controller")))
            .collect();
        let mut shared = String::new();
        // Held until all are known, so that they differ.
        let sockets: Vec<_> = nodes.iter().map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
        for (sender, ((name, role), socket)) in nodes.iter().zip(&sockets).enumerate() {
            let address = socket.local_addr().expect("it has one");
            let _ = writeln!(
                shared,
                "[[member]]\nname = \"{name}\"\nsender = {}\nrole = \"{role}\"\naddress = \"{address}\"",
                sender + 1
            );
            let file = format!(
                "name = \"{name}\"\n[store]\nendpoints = [\"{endpoint}\"]\nbucket = \"outplane\"\naccess_key = \
                 \"bench\"\nsecret_key = \"{SECRET}\"\nattempt_timeout_ms = 1000\n[network]\nxdp = \"off\"\n[http]\n\
                 listen = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n[keys]\n1 = \"000102030405060708090a0b0c0d0e0f\"\n"
            );
            write(&path.join(format!("{name}.toml")), &file);
        }
        drop(sockets);
        shared.push_str("[datagrams]\ngroups = []\n");
        let (mut running, mut names, mut policy) = (Vec::new(), Vec::new(), String::new());
        for number in 1..=switches {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let config = SwitchConfig {
                listener,
                server: Config::new(1),
                ports: Vec::new(),
                limits: Limits::default(),
            };
            let switch = Switch::start(config).expect("it starts");
            let (name, address) = (format!("leaf{number}"), switch.server().address());
            let _ = writeln!(shared, "[switch.{name}]\naddress = \"{address}\"");
            let _ = writeln!(
                policy,
                "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: {name}}}\nspec: {{address: \
                 '{address}', ports: [1, 2]}}\n---"
            );
            running.push(switch);
            names.push(name);
        }
        policy.push_str(
            "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: edge}\nspec: {default: deny}\n",
        );
        write(&path.join("shared.toml"), &shared);
        write(&path.join("policy.yaml"), &policy);
        command(path, &["config", "set", "shared.toml", "--config", "d1.toml"]);
        let mut processes = vec![store];
        for (name, role) in &nodes {
            processes.push(Daemon::start(name, path, &[role, "--config", &format!("{name}.toml")]));
        }
        // So that each controller is connected to its switches, as it is where it keeps them at a policy.
        command(path, &["apply", "policy.yaml", "--config", "d1.toml"]);
        let text = std::fs::read_to_string(path.join("d1.toml")).expect("it was written");
        let file = NodeFile::parse(&text, &path.join("d1.toml"), &|_| None).expect("it is right").file;
        let objects = Objects::new(Store::new(daemon::store_settings(&file.store)).expect("good settings"));
        let network = network::of(&objects).await.expect("it answers").expect("it is issued");
        Self { folder, processes, _switches: running, objects, network, file, names }
    }

    fn nodes(&self) -> &[Daemon] {
        &self.processes[1..]
    }
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("a file is written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

fn command(folder: &Path, words: &[&str]) {
    let output = Command::new(outplane()).args(words).current_dir(folder).output().expect("outplane runs");
    assert!(
        output.status.success(),
        "outplane {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}

/// An entry that was appended.
struct Asked {
    number: u64,
    at_ms: u64,
    switches: Vec<String>,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let mut next = |default: usize| arguments.next().unwrap_or(default);
    let (rate, seconds, distributors, switches) = (next(1000), next(60), next(1), next(100));
    let site = Site::start(distributors, switches).await;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{rate} tasks/s for {seconds} s, {distributors} distributors, 2 controllers, {switches} switches; load {}",
        load.split(' ').next().unwrap_or_default()
    );
    let (_, config) = daemon::newest_config(&site.objects).await.expect("it answers").expect("it is set");
    let mut hinter = Hinter::new(&site.objects, &site.file, &config).await.expect("hints go out");
    print!("{:>5} {:>9} {:>9} {:>7}", "s", "offered", "decided", "open");
    for process in &site.processes {
        print!(" {:>6} MiB {:>4} %", process.name, "cpu");
    }
    println!(" {:>10}", "this, %");
    let before = counts(site.nodes()).await;
    let at_start: Vec<_> = site.processes.iter().map(Daemon::usage).collect();
    let own_start = usage("self").1;
    let (start, mut asked, mut offered) = (Instant::now(), Vec::new(), 0_usize);
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(ENTRIES).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut windows = interval(WINDOW);
    windows.tick().await;
    let mut last: Vec<_> = at_start.iter().map(|(_, time)| *time).collect();
    let mut own = own_start;
    let mut opens = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds as u64) {
        tokio::select! {
            _ = ticks.tick() => {
                // So many of the switches, going round.
                let until = rate * (asked.len() + 1) / ENTRIES;
                let of_entry = |place: usize| site.names[place % site.names.len()].clone();
                let mut names: Vec<_> = (offered..until).map(of_entry).collect();
                names.sort_unstable();
                names.dedup();
                offered += names.len();
                let number = probes::append(&site.objects, site.network, &names, "sustained").await.expect("it is appended");
                hinter.hint(HintOf::Probes, number);
                asked.push(Asked { number, at_ms: unix_millis(), switches: names });
            }
            _ = windows.tick() => {
                let decided = counts(site.nodes()).await.decided - before.decided;
                opens.push(float(offered) - decided);
                line(&site, start, offered, decided, &mut last, &mut own);
            }
        }
    }
    let load_end = counts(site.nodes()).await;
    let at_end: Vec<_> = site.processes.iter().map(Daemon::usage).collect();
    let own_end = usage("self").1;
    let (ended, mut decided) = (Instant::now(), load_end.decided - before.decided);
    while decided < float(offered) && ended.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50)).await;
        decided = counts(site.nodes()).await.decided - before.decided;
    }
    let last_ones = ended.elapsed();
    println!(
        "the last ones were decided {:.2} s after the last offer; {} of {offered} in all",
        last_ones.as_secs_f64(),
        decided
    );
    sleep(Duration::from_secs(3)).await;
    let after = counts(site.nodes()).await;
    let tasks = decided.max(1.0);
    let most = |opens: &[f64]| opens.iter().copied().fold(0.0, f64::max);
    let (earlier, later) = opens.split_at(opens.len() / 2);
    println!("most open tasks: {} in the first half, {} in the second", most(earlier), most(later));
    println!("not done: {}", after.failed - before.failed);
    print!("requests a task:");
    for operation in OPERATIONS {
        let of = |counts: &Counts| counts.requests.get(operation).copied().unwrap_or(0.0);
        print!(" {operation} {:.3}", (of(&after) - of(&before)) / tasks);
    }
    println!();
    let in_time = (load_end.decided - before.decided).max(1.0);
    print!("processor time a task, us:");
    for (process, (from, to)) in site.processes.iter().zip(at_start.iter().zip(&at_end)) {
        print!(" {} {:.0}", process.name, to.1.saturating_sub(from.1).as_secs_f64() * 1e6 / in_time);
    }
    println!(
        " switches and this program {:.0}",
        own_end.saturating_sub(own_start).as_secs_f64() * 1e6 / in_time
    );
    latencies(&site, &asked).await;
    let folder = site.folder.path().to_owned();
    drop(site);
    assert!(!folder.exists(), "the folder goes with the site");
}

fn line(
    site: &Site,
    start: Instant,
    offered: usize,
    decided: f64,
    last: &mut [Duration],
    own: &mut Duration,
) {
    print!(
        "{:>5.0} {offered:>9} {decided:>9} {:>7}",
        start.elapsed().as_secs_f64(),
        float(offered) - decided
    );
    for (process, last) in site.processes.iter().zip(last) {
        let (resident, time) = process.usage();
        let share = time.saturating_sub(*last).as_secs_f64() * 100.0 / WINDOW.as_secs_f64();
        print!(" {resident:>10.1} {share:>6.0}");
        *last = time;
    }
    let time = usage("self").1;
    println!(" {:>10.0}", time.saturating_sub(*own).as_secs_f64() * 100.0 / WINDOW.as_secs_f64());
    *own = time;
}

/// Every tenth task's, by window.
async fn latencies(site: &Site, asked: &[Asked]) {
    let Some(first) = asked.first().map(|asked| asked.at_ms) else { return };
    let mut reads = JoinSet::new();
    let mut windows: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut missing = 0;
    let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
    let mut take = |(at_ms, decided): (u64, Option<u64>)| match decided {
        Some(decided) => {
            windows.entry((at_ms - first) / window).or_default().push(decided.saturating_sub(at_ms));
        }
        None => missing += 1,
    };
    for Asked { number, at_ms, switches } in asked {
        for switch in switches.iter().skip(usize::try_from(*number % 10).unwrap_or(0)).step_by(10) {
            let key = Key::Decision(Event::probe(site.network, *number, switch).id().expect("a good event"));
            let (objects, at_ms) = (site.objects.clone(), *at_ms);
            reads.spawn(async move {
                let found = objects.get(&key).await.expect("the store answers");
                let Some(Object::Decision(decision)) = found else { return (at_ms, None) };
                let done = matches!(decision.outcome, Outcome::Done { .. });
                (at_ms, done.then_some(decision.at_ms))
            });
            if reads.len() >= 32
                && let Some(read) = reads.join_next().await
            {
                take(read.expect("no panic"));
            }
        }
    }
    while let Some(read) = reads.join_next().await {
        take(read.expect("no panic"));
    }
    println!(
        "latency, ms (every tenth task; {missing} were not done)\n{:>5} {:>7} {:>7} {:>7}",
        "s", "p50", "p99", "max"
    );
    for (number, mut times) in windows {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!("{:>5} {:>7} {:>7} {:>7}", number * 5, at(50), at(99), at(100));
    }
}
