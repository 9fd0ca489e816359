//! The compiled program in the kernel, packet by packet through `BPF_PROG_TEST_RUN`: every verdict, every counter.

#[path = "../support/mod.rs"]
mod support;

mod delivery;
mod forgery;
mod frames;
mod limits;

use outplane_rmdp_wire::TransactionId;
use outplane_xdp::{Counters, Program, SenderCounters, Verdict};

/// Sends a frame through once.
fn verdict(program: &Program, frame: &[u8]) -> Verdict {
    program.run(frame, 1).unwrap_or_else(|error| panic!("{}", support::chain(&error))).verdict
}

/// All that was delivered since the last time.
fn delivered(program: &mut Program) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| program.try_next()).map(|delivered| delivered.bytes).collect()
}

fn counters(program: &Program) -> Counters {
    program.control().counters().expect("counters are readable")
}

/// Everything that was counted: reasons, then duplicates and deliveries; without those that were not.
fn reasons(program: &Program) -> Vec<(&'static str, u64)> {
    let counters = counters(program);
    let marked = counters.delivered() - counters.reasons.unmarked;
    let senders = [("duplicate", counters.duplicates()), ("delivered", marked)];
    counters.reasons.all().into_iter().chain(senders).filter(|(_, count)| *count > 0).collect()
}

fn sender(program: &Program, id: u32) -> SenderCounters {
    counters(program).senders.into_iter().find(|sender| sender.sender == id).expect("a known sender")
}

fn remembers(program: &Program, id: TransactionId) -> bool {
    program.control().remembers(id).expect("maps are readable")
}
