//! One packet at a time through `BPF_PROG_TEST_RUN`.
//!
//! What never changes the maps is repeated in the kernel, as usual. A duplicate or a first copy cannot be: its second
//! run would be a replay. Those go in one by one, each with a sequence (and an id) of its own; the kernel times each
//! single run, and what it says of the bare program, run the same way between them, is the clock's share.

use anyhow::Result;
use outplane_xdp::{Program, Settings, Verdict, XdpError};

use crate::median;
use crate::support::{Around, SENDERS, announce_of, frame, settings};

const ROUNDS: usize = 15;
const REPEAT: u32 = 200_000;
const SINGLES: u64 = 4000;

pub(crate) fn table() -> Result<()> {
    let settings = Settings { capacity: 327_680, ring_bytes: 32 << 20, ..settings() };
    let mut program = Program::load(&settings)?;
    let message = 256;
    let ours = announce_of(SENDERS[0], 1, 1, message);
    let foreign = [
        ("other UDP (a port that is not ours)", Around { port: 53, ..Around::default() }.frame(&ours)),
        ("TCP", Around { protocol: 6, ..Around::default() }.frame(&ours)),
        ("not RMDP, to our group and port", frame(&[0x5a; 256])),
    ];
    let seen = frame(&ours);
    program.run(&seen, 1)?;
    let _ = program.try_next();
    let mut forged = ours.clone();
    forged[60] ^= 1;
    let forged = frame(&forged);

    println!("\nXDP, BPF_PROG_TEST_RUN, message of {message} bytes: median of {ROUNDS} rounds, nanoseconds");
    let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
    let mut note = |name: &str, value: u64| match rows.iter_mut().find(|(other, _)| other == name) {
        Some((_, values)) => values.push(value),
        None => rows.push((name.to_owned(), vec![value])),
    };
    let mut next = 1;
    for _ in 0..ROUNDS {
        let bare = nanoseconds(program.run_bare(&foreign[0].1, REPEAT)?.duration);
        note("bare XDP_PASS", bare);
        for (name, frame) in &foreign {
            let run = program.run(frame, REPEAT)?;
            anyhow::ensure!(run.verdict == Verdict::Pass);
            note(&format!("{name}, above bare"), nanoseconds(run.duration).saturating_sub(bare));
        }
        note("forged (wrong tag)", nanoseconds(program.run(&forged, REPEAT / 10)?.duration));
        note("replay", nanoseconds(program.run(&seen, REPEAT / 10)?.duration));
        let [clock, waiting, busy, duplicate] = singles(&mut program, &mut next, message)?;
        note("one run of bare XDP_PASS: the clock", clock);
        note("first copy, reader waiting (clock taken off)", waiting.saturating_sub(clock));
        note("first copy, reader busy (clock taken off)", busy.saturating_sub(clock));
        note("duplicate (clock taken off)", duplicate.saturating_sub(clock));
        program.control().switch_generation()?;
    }
    for (name, values) in rows {
        let (least, most) = (values.iter().min().copied(), values.iter().max().copied());
        println!("  {name:<52} {:>6}   ({} to {})", median(values), least.unwrap_or(0), most.unwrap_or(0));
    }
    Ok(())
}

/// Medians of single runs: bare, first copy with the reader waiting, with the reader busy, duplicate.
fn singles(program: &mut Program, next: &mut u64, message: usize) -> Result<[u64; 4]> {
    let frames: Vec<_> = (*next + 1..=*next + SINGLES)
        .map(|number| SENDERS.map(|sender| frame(&announce_of(sender, number, number, message))))
        .collect();
    *next += SINGLES;
    let once =
        |program: &Program, frame: &[u8]| Ok::<_, XdpError>(nanoseconds(program.run(frame, 1)?.duration));
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for [first, ..] in &frames {
        times[0].push(nanoseconds(program.run_bare(first, 1)?.duration));
    }
    // A record wakes a reader that has read all others: each one, while it keeps up; one of many, while it is behind.
    let (waiting, busy) = frames.split_at(frames.len() / 4);
    for [first, ..] in waiting {
        times[1].push(once(program, first)?);
        anyhow::ensure!(program.try_next().is_some(), "a first copy is delivered");
    }
    // Copies come in a row, as they do.
    for [first, copies @ ..] in busy {
        times[2].push(once(program, first)?);
        for copy in copies {
            times[3].push(once(program, copy)?);
        }
    }
    let delivered = std::iter::from_fn(|| program.try_next()).count();
    anyhow::ensure!(delivered == busy.len(), "one delivery a task");
    Ok(times.map(median))
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
