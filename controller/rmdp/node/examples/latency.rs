//! From a generation that is appended to its last write at the switch, beside the two things that it cannot do without:
//! one conditional PUT and one switch write, measured in the same run.
//!
//! `cargo run --release -p outplane-rmdp-node --example latency -- [ROUNDS] [DISTRIBUTORS] [CONTROLLERS]`, over the
//! embedded store and then over Ceph with two gateways, where it is installed.
//!
//! Each change moves one of three rules to a port that it never had, so that its desired state is a new one for all.
//! The embedded store, switches and nodes are in this process, with real sockets between them. The time starts when the append is
//! acknowledged (the hint goes out then) and ends when the switch has carried out the last write of that generation's
//! fence, by the switch's own witness. Packets follow the new policy one write before that; the last one cleans up.

#[expect(dead_code, reason = "the tests' lab, of which this needs a part")]
#[path = "../tests/cluster/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outplane_compiler::program::{ActionKind, Program, Table};
use outplane_compiler::state::{Change, Installed, Plan, Step};
use outplane_driver_p4runtime::{Connection, Options, Pipeline, Push, Target, WriteOptions};
use outplane_p4runtime::entry::DefaultEntry;
use outplane_rmdp_core::object::{Outcome, PolicyFile};
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_wire::HintOf;
use outplane_softswitch::server::{Config, Event, Witness};
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use outplane_testbed::Ceph;
use support::{Lab, StoreAccess};
use tokio::net::TcpListener;

const TAIL: &str = "
[datagrams]
groups = []
";

/// When the writes of each generation were carried out.
type Writes = Arc<Mutex<BTreeMap<u64, Vec<Instant>>>>;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let mut next = |default| arguments.next().unwrap_or(default);
    let (rounds, distributors, controllers) = (next(200), next(1), next(2));
    println!("\nembedded store");
    Box::pin(measure(Lab::with(&[], distributors, controllers, TAIL).await, rounds)).await;
    if let Some(why) = Ceph::why_not() {
        println!("SKIPPED: a change over Ceph: {why}");
        return;
    }
    let ceph = tokio::task::spawn_blocking(|| Ceph::start(2)).await.unwrap().unwrap();
    let access = StoreAccess {
        endpoints: ceph.endpoints(),
        access_key: ceph.access_key().to_owned(),
        secret_key: ceph.secret_key().to_owned(),
    };
    println!("\nCeph RGW");
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::over(access, folder, &[], distributors, controllers, TAIL).await;
    Box::pin(measure(lab, rounds)).await;
}

async fn measure(mut lab: Lab, rounds: usize) {
    let writes = Writes::default();
    lab.switches.insert("leaf1".to_owned(), witnessed(Arc::clone(&writes)).await);
    lab.set_config(&lab.config()).await;
    let _nodes = lab.start_all().await;
    let other = support::start_switch("127.0.0.1:0").await;
    let bare = bare(&other).await;
    let (_, config) = outplane_rmdp_node::daemon::newest_config(&lab.objects).await.unwrap().unwrap();
    let mut hinter = Hinter::new(&lab.objects, &lab.file("d1"), &config).await.unwrap();
    // The first change pushes the pipeline.
    lab.converged(lab.append(changed(&lab, 0)).await).await;

    let mut measured = Measured::default();
    for round in 0..rounds {
        measured.puts.push(put(&lab, round).await);
        measured.switch_writes.push(write(&bare, round).await);
        let generation = lab.append(changed(&lab, round + 1)).await;
        let start = Instant::now();
        hinter.hint(HintOf::Intent, generation);
        // Nothing is asked of the store before that: it shall serve the nodes.
        while !writes.lock().unwrap().contains_key(&generation) {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let decision = lab.decision(generation, "leaf1").await;
        let Outcome::Done { report, steps } = decision.outcome else { panic!("{decision:?}") };
        let written = writes.lock().unwrap().remove(&generation).expect("it was written");
        let [.., flip, last] = written.as_slice() else { panic!("{} writes", written.len()) };
        measured.changes.push(*last - start);
        measured.effects.push(*flip - start);
        measured.waits.push(Duration::from_micros(steps.claim_sent_us));
        measured.claims.push(Duration::from_micros(steps.claimed_us - steps.claim_sent_us));
        measured.executions.push(Duration::from_micros(steps.executed_us - steps.claimed_us));
        if round + 1 == rounds {
            println!("the last: {report}");
        }
    }
    println!("{rounds} changes, {} nodes; ms, p50 and p99", lab.members.len());
    measured.print();
}

#[derive(Default)]
struct Measured {
    puts: Vec<Duration>,
    switch_writes: Vec<Duration>,
    changes: Vec<Duration>,
    effects: Vec<Duration>,
    waits: Vec<Duration>,
    claims: Vec<Duration>,
    executions: Vec<Duration>,
}

impl Measured {
    fn print(mut self) {
        let put = row("one conditional PUT", &mut self.puts);
        let write = row("one switch write", &mut self.switch_writes);
        row("appended to in effect", &mut self.effects);
        let change = row("appended to last switch write", &mut self.changes);
        row("  known to claim sent", &mut self.waits);
        row("  claim sent to owned", &mut self.claims);
        row("  owned to executed", &mut self.executions);
        println!("bar 1.3 x (PUT + write) + 3 ms: {:.2}, measured {change:.2}", 1.3 * (put + write) + 3.0);
    }
}

fn row(what: &str, times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let at =
        |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!("{what:32} {:8.2} {:8.2}", at(50), at(99));
    at(50)
}

/// The lab's policy of three rules, one of which no other round has.
fn changed(lab: &Lab, round: usize) -> Vec<PolicyFile> {
    let mut files = support::policy(lab.switches.keys(), 3);
    for file in &mut files {
        file.text = file.text.replace("port: 1002", &format!("port: {}", 20_000 + round % 40_000));
    }
    files
}

async fn witnessed(writes: Writes) -> Switch {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = Config::new(1);
    server.witness = Some(Witness::new(move |event| {
        if let Event::Write { by, outcome: Ok(_), .. } = event
            && let Some(election_id) = by.election_id
        {
            let generation = outplane_driver_p4runtime::fence_of(election_id).generation;
            writes.lock().unwrap().entry(generation).or_default().push(Instant::now());
        }
    }));
    let config = SwitchConfig { listener, server, ports: Vec::new(), limits: Limits::default() };
    Switch::start(config).unwrap()
}

async fn put(lab: &Lab, round: usize) -> Duration {
    let body = vec![b'x'; 300].into();
    let start = Instant::now();
    lab.objects.store().create(&format!("measured/{round}"), body).await.unwrap();
    start.elapsed()
}

async fn bare(switch: &Switch) -> Connection {
    let target = Target {
        name: "bare".to_owned(),
        address: switch.server().address().to_string(),
        device_id: 1,
        role: None,
        tls: None,
    };
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let connection = Connection::open(target, pipeline, Options::default()).await.unwrap();
    connection.ensure_pipeline(Push::Always).await.unwrap();
    connection
}

/// One request with one update.
async fn write(connection: &Connection, round: usize) -> Duration {
    let program = Program::outplane();
    let version = 1 + u128::from(round % 2 == 1);
    let change = Change::SetDefault(DefaultEntry {
        table: program.table(Table::PolicyVersion),
        action: Some(program.action(ActionKind::SetVersion, &[version])),
    });
    let steps = vec![Step { title: "flip", changes: vec![change] }];
    let plan = Plan { steps, from_version: 0, to_version: 1 };
    let start = Instant::now();
    connection.write(&plan, &Installed::default(), WriteOptions::default()).await.unwrap();
    start.elapsed()
}
