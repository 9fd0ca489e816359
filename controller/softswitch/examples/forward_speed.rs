//! How many frames a second go through two ports, with a policy of thousands of entries: the embedded switch, and BMv2
//! where it is on PATH. Needs root. `cargo run --release -p outplane-softswitch --example forward_speed`

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod support;

use std::time::Instant;

use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Entry, Match};
use support::device::{Device, is, named, sentinels, version};
use support::frames::Frame;
use support::lab::in_namespace;

const FRAMES: u32 = 200_000;
const CLASSES: u128 = 1000;

/// Addresses to classes, pairs of classes to verdicts, services to port classes: none of it decides before the
/// baseline, so that a frame is looked up in every table.
fn policy(schema: &Schema) -> Vec<Entry> {
    let mut entries = sentinels(schema);
    let prefix = |n: u128| Match::Ternary { value: 0x0a00_0000 | n << 8, mask: 0xffff_ff00 };
    let priority = |n: u128| i32::try_from(n).unwrap() + 1;
    for n in 0..CLASSES {
        for (table, action) in [("src_v4_class", "set_src_class"), ("dst_v4_class", "set_dst_class")] {
            entries.push(named(
                schema,
                table,
                &[("address", prefix(n))],
                priority(n),
                action,
                &[n + 1, n + 1],
            ));
        }
        let port = Match::Range { low: n * 60, high: n * 60 + 59 };
        let matches = [("protocol", is(17, 8)), ("port", port)];
        entries.push(named(schema, "dport_class", &matches, priority(n), "set_dport_class", &[n + 1]));
        for m in 0..5 {
            let pair = [
                ("src_class", is(n + 1, 16)),
                ("dst_class", is((n * 7 + m) % CLASSES + 1, 16)),
                ("protocol", is(6 + m, 8)),
            ];
            entries.push(named(schema, "filter_admin", &pair, priority(n * 5 + m), "admin_pass", &[]));
        }
        let service = [("dst_class", is(n + 1, 16)), ("dport_class", is(n + 1, 16))];
        entries.push(named(schema, "pod_ingress", &service, priority(n), "ingress_permit", &[]));
    }
    for (port, peer) in [(1, 2), (2, 1)] {
        let ingress = [("ingress_port", Match::Exact(port))];
        entries.push(named(schema, "cross_connect", &ingress, 0, "forward", &[peer]));
    }
    entries
}

/// `window` frames are on their way at once.
fn measure(schema: &Schema, mut device: Device, window: usize) {
    let entries = policy(schema);
    for chunk in entries.chunks(1000) {
        device.insert(chunk, &[]);
    }
    device.set_default(&version(schema, 1));
    let frame = |n: usize| {
        let [_, _, a, b] = u32::try_from(n % 250_000).unwrap().to_be_bytes();
        let port = u16::try_from(n % 60_000).unwrap();
        Frame::new().ipv4([10, a, b, 1], [10, b & 3, a, 2]).udp(port, port).bytes(&[0; 22]).build()
    };
    let frames: Vec<Vec<u8>> = (0..10_000).map(frame).collect();
    let begin = Instant::now();
    for sent in 0..FRAMES as usize {
        device.send(1, &frames[sent % frames.len()]);
        if sent >= window {
            device.receive(2);
        }
    }
    for _ in 0..window {
        device.receive(2);
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{}: {} entries, {FRAMES} frames, {:.0} frames/s",
        device.name,
        entries.len(),
        f64::from(FRAMES) / seconds
    );
}

fn main() {
    in_namespace(|| {
        let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
        measure(&schema, Device::soft(), 64);
        if Device::has_bmv2() {
            // With more it loses some.
            measure(&schema, Device::bmv2(), 16);
        }
    });
}
