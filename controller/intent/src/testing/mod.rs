//! Random intents and packets for property tests, large ones for benchmarks, and packets as bytes.
//!
//! Everything is drawn from a small universe ([`universe`]): a few addresses in and around a few CIDRs, a few ports at
//! the edges of a few ranges, a few labels, so that rules overlap and packets hit them. All intents are valid: the
//! reader accepts [`to_yaml`] of each and reads the same intent from it.
//!
//! Property tests take the strategies, which shrink: [`intents`] with [`packets`], or [`cases`] for both. Tests and
//! benchmarks without proptest take [`random_intent`] and [`random_packets`], which answer the same seed with the same
//! value. [`Cluster`] is one large cluster that changes by single edits. Feature `testing`; no part of the product.

mod cluster;
mod documents;
mod filters;
pub mod frame;
mod kubernetes;
mod large;
mod network;
mod packets;
#[cfg(test)]
mod tests;
pub mod universe;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};

pub use cluster::{Cluster, EditKind};
pub use documents::{documents, files, of_kind, texts, to_yaml};
pub use large::{large_filter, large_pods};
pub use packets::{packets, packets_for};

use crate::model::Intent;
use crate::packet::Packet;

/// Valid intents with all features. Filter rules that expire do so around [`universe::now`].
pub fn intents() -> impl Strategy<Value = Intent> {
    (network::networks(), kubernetes::clusters(), filters::policies()).prop_map(
        |(network, cluster, filters)| {
            let mut intent = network;
            cluster.add_to(&mut intent);
            filters::add_to(&mut intent, filters);
            intent
        },
    )
}

/// An intent and up to so many packets of the same universe. Both shrink, each by itself.
pub fn cases(most_packets: usize) -> impl Strategy<Value = (Intent, Vec<Packet>)> {
    (intents(), vec(packets(), 1..=most_packets.max(1)))
}

/// How property tests run here: so many cases, the same ones every time, without files of failures.
pub fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..Config::default() }
}

/// The intent of this seed.
pub fn random_intent(seed: u64) -> Intent {
    draw(&intents(), seed)
}

/// Packets for an intent, the same ones for the same seed.
pub fn random_packets(seed: u64, intent: &Intent, count: usize) -> Vec<Packet> {
    draw(&vec(packets_for(intent), count), seed)
}

fn draw<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = strategy.new_tree(&mut runner);
    // Rejected values cannot occur: no strategy here filters.
    tree.unwrap_or_else(|reason| unreachable!("nothing is rejected: {reason}")).current()
}
