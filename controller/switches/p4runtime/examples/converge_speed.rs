//! How long a small change takes: `cargo run --release -p outplane-driver-p4runtime --example converge_speed`.
//!
//! A soft switch in this process (or `--address HOST:PORT` of another switch, which is emptied) holds a policy of some
//! 100 entries; a few of them change, a hundred times. Prints the median and the slowest of each step.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_compiler::program::{ActionKind, Field, Program, Table};
use outplane_compiler::state::{Desired, Origin};
use outplane_driver_p4runtime::{Connection, ConvergeOptions, Options, Pipeline, Report, Target};
use outplane_p4runtime::entry::{Entry, Match};
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;

/// Classes of addresses in the policy, and as many filter entries.
const CLASSES: u32 = 50;
const ROUNDS: u32 = 100;

/// A policy in which `changing` has just come and gone: two entries differ from one to the next.
fn policy(changing: u32) -> Desired {
    let program = Program::outplane();
    let ternary = |value: u32, mask| Match::Ternary { value: value.into(), mask };
    let entry = |key, action, n: u32| {
        let origin = Origin { policy: "FilterPolicy/edge".into(), rule: format!("rule-{n}"), order: 1 };
        Entry { key, action, metadata: origin.encode() }
    };
    let of = |n: u32| {
        let address = [(Field::Address, ternary(0x0a00_0000 | n, 0xffff_ffff))];
        let class = [(Field::SrcClass, ternary(n % 1000 + 1, 0xffff)), (Field::Protocol, ternary(6, 0xff))];
        let set = program.action(ActionKind::SetSrcClass, &[u128::from(n % 1000 + 1), 0]);
        let permit = program.action(ActionKind::AdminPermit, &[]);
        [
            entry(program.key(Table::SrcV4Class, 1, address), set, n),
            entry(program.key(Table::FilterAdmin, 10, class), permit, n),
        ]
    };
    let mut entries: Vec<_> = (1..=CLASSES).chain([500 + changing]).flat_map(of).collect();
    entries.sort();
    Desired { entries, ..Desired::default() }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what:<10} median {middle:>9.1?}  slowest {:>9.1?}", times.last().copied().unwrap_or_default());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let elsewhere = arguments.next().filter(|word| word == "--address").and_then(|_| arguments.next());
    let mut switch = None;
    let address = match elsewhere {
        Some(address) => address,
        None => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let config = SwitchConfig {
                listener,
                server: Config::new(1),
                ports: Vec::new(),
                limits: Limits::default(),
            };
            switch.insert(Switch::start(config)?).server().address().to_string()
        }
    };
    let target = Target { name: "leaf1".into(), address, device_id: 1, role: None, tls: None };
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let mut connection = Connection::open(target, pipeline, Options::default()).await?;
    connection.converge(&policy(0), ConvergeOptions::default()).await?;
    let mut reports: Vec<(Duration, Report)> = Vec::new();
    for round in 1..=ROUNDS {
        let start = Instant::now();
        let report = connection.converge(&policy(round % 2), ConvergeOptions::default()).await?;
        reports.push((start.elapsed(), report));
    }
    let times = |of: fn(&(Duration, Report)) -> Duration| reports.iter().map(of).collect::<Vec<_>>();
    if let Some((_, report)) = reports.last() {
        println!("{} updates in {} chunks", report.plan.total, report.written.chunks);
    }
    print("all", times(|(all, _)| *all));
    print("read", times(|(_, report)| report.reading));
    print("plan", times(|(_, report)| report.planning));
    print("write", times(|(_, report)| report.written.elapsed));
    if let Some(switch) = switch {
        drop(connection);
        switch.shutdown().await?;
    }
    Ok(())
}
