//! How long a small change takes: `cargo run --release -p outplane-driver-p4runtime --example converge_speed`.
//!
//! A soft switch in this process (or `--address HOST:PORT` of another switch, which is emptied) holds a policy of some
//! 100 entries; a few of them change, a hundred times (`--rounds N`), each as a task with a fence of its own. Prints
//! the median and the slowest of each step, and how the memory of the process has grown since a tenth of the rounds.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outplane_compiler::program::{ActionKind, Field, Program, Table};
use outplane_compiler::state::{Desired, Origin};
use outplane_driver::Fence;
use outplane_driver_p4runtime::{ConvergeOptions, Options, Pipeline, Session, Target};
use outplane_p4runtime::entry::{Entry, Match};
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;

/// Classes of addresses in the policy, and as many filter entries.
const CLASSES: u32 = 50;

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
    let entries = (1..=CLASSES).chain([500 + changing]).flat_map(of).collect();
    Desired { entries, ..Desired::default() }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what:<10} median {middle:>9.1?}  slowest {:>9.1?}", times.last().copied().unwrap_or_default());
}

/// Memory of this process, in kB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut elsewhere, mut rounds) = (None, 100);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or("--address HOST:PORT, --rounds N")?;
        match option.as_str() {
            "--address" => elsewhere = Some(value),
            "--rounds" => rounds = value.parse()?,
            _ => return Err("--address HOST:PORT, --rounds N".into()),
        }
    }
    let mut switch = None;
    let address = if let Some(address) = elsewhere {
        address
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (server, limits) = (Config::new(1), Limits::default());
        let config = SwitchConfig { listener, server, ports: Vec::new(), limits };
        switch.insert(Switch::start(config)?).server().address().to_string()
    };
    let target = Target { name: "leaf1".into(), address, device_id: 1, role: None, tls: None };
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let mut session = Session::new(target, pipeline, Options::default());
    // Higher than that of the last time, on the same switch.
    let generation = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    session.converge_with(None, Fence::new(generation, 1), &policy(0), ConvergeOptions::default()).await?;
    // All of it, raise, read, plan, write: numbers alone, so that the memory is the driver's.
    let mut times: [Vec<Duration>; 5] = std::array::from_fn(|_| vec![Duration::ZERO; rounds as usize]);
    let mut last = None;
    let mut early = resident()?;
    for round in 1..=rounds {
        let start = Instant::now();
        let fence = Fence::new(generation, round + 1);
        let report =
            session.converge_with(None, fence, &policy(round % 2), ConvergeOptions::default()).await?;
        let steps = [report.connecting, report.reading, report.planning, report.written.elapsed];
        for (times, time) in times.iter_mut().zip([start.elapsed()].into_iter().chain(steps)) {
            times[round as usize - 1] = time;
        }
        last = Some(report);
        if round == rounds.div_ceil(10) {
            early = resident()?;
        }
    }
    if let Some(report) = last {
        println!("{} updates in {} chunks", report.plan.total, report.written.chunks);
    }
    for (what, times) in ["all", "raise", "read", "plan", "write"].into_iter().zip(times) {
        print(what, times);
    }
    println!("connects {}, resident {early} kB, at the end {} kB", session.connects(), resident()?);
    if let Some(switch) = switch {
        drop(session);
        switch.shutdown().await?;
    }
    Ok(())
}
