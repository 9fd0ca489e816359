//! How long a small change takes: `cargo run --release -p outplane-driver-p4runtime --example converge_speed`.
//!
//! A soft switch in this process (or `--address HOST:PORT` of another switch, which is emptied) holds a policy of some
//! 100 entries (`--entries N`); a few of them change, a hundred times (`--rounds N`), each as a task with a fence of its own.
//! The session knows what the switch holds, and reads only what entries have counted that go; with `--read` it reads the
//! switch each time, as whoever was not alone. Prints the median and the slowest of each step, and how the memory of the
//! process has grown since a tenth of the rounds.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outplane_compiler::entries::Entries;
use outplane_compiler::program::{ActionKind, Field, Program, Table};
use outplane_compiler::state::{Desired, Origin};
use outplane_driver::{Fence, Session as _};
use outplane_driver_p4runtime::{ConvergeOptions, Counted, Options, Pipeline, Session, Target};
use outplane_p4runtime::entry::{Entry, Match};
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;

/// Two policies of so many classes of addresses and as many filter entries. The second is the first but for two entries that
/// have gone and two that have come.
fn policies(classes: u32) -> [Desired; 2] {
    let program = Program::outplane();
    let ternary = |value: u32, mask| Match::Ternary { value: value.into(), mask };
    let entry = |key, action, n: u32| {
        let origin = Origin { policy: "FilterPolicy/edge".into(), rule: format!("rule-{n}"), order: 1 };
        Entry { key, action, metadata: origin.encode() }
    };
    let of = |n: u32| {
        let address = [(Field::Address, ternary(0x0a00_0000 | n, 0xffff_ffff))];
        let class = [(Field::SrcClass, ternary(n % 1000 + 1, 0xffff)), (Field::Protocol, ternary(6, 0xff))];
        let priority = 10 + i32::try_from(n / 1000).unwrap_or_default();
        let set = program.action(ActionKind::SetSrcClass, &[u128::from(n % 1000 + 1), 0]);
        let permit = program.action(ActionKind::AdminPermit, &[]);
        [
            entry(program.key(Table::SrcV4Class, 1, address), set, n),
            entry(program.key(Table::FilterAdmin, priority, class), permit, n),
        ]
    };
    let (goes, comes) = (of(classes + 500), of(classes + 501));
    let first: Entries = (1..=classes).flat_map(of).chain(goes.clone()).collect();
    let gone = goes.into_iter().map(|entry| (entry.key, None));
    let edits = gone.chain(comes.into_iter().map(|entry| (entry.key.clone(), Some(entry)))).collect();
    let second = first.edited(&edits);
    [first, second].map(|entries| Desired { entries, ..Desired::default() })
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
    let (mut elsewhere, mut rounds, mut entries, mut reads) = (None, 100, 102, false);
    let mut arguments = std::env::args().skip(1);
    let usage = "--address HOST:PORT, --rounds N, --entries N, --read";
    while let Some(option) = arguments.next() {
        if option == "--read" {
            reads = true;
            continue;
        }
        let value = arguments.next().ok_or(usage)?;
        match option.as_str() {
            "--address" => elsewhere = Some(value),
            "--rounds" => rounds = value.parse()?,
            "--entries" => entries = value.parse()?,
            _ => return Err(usage.into()),
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
    let counted = Counted::default();
    let mut session = Session::new(target, pipeline, Options::default()).with_counted(counted.clone());
    let policies = policies((entries / 2u32).saturating_sub(1));
    // Higher than that of the last time, on the same switch.
    let generation = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    session.converge_with(None, Fence::new(generation, 1), &policies[0], ConvergeOptions::default()).await?;
    // All of it, raise, read, plan, write: numbers alone, so that the memory is the driver's.
    let mut times: [Vec<Duration>; 5] = std::array::from_fn(|_| vec![Duration::ZERO; rounds as usize]);
    let mut last = None;
    let mut early = resident()?;
    for round in 1..=rounds {
        if reads {
            session.doubt();
        }
        let start = Instant::now();
        let fence = Fence::new(generation, round + 1);
        let desired = &policies[round as usize % 2];
        let report = session.converge_with(None, fence, desired, ConvergeOptions::default()).await?;
        counted.take();
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
        let how = if report.remembered { "from memory" } else { "read before" };
        println!("{} updates in {} chunks, {how}", report.plan.total, report.written.chunks);
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
