//! What the XDP program costs, and what the same work costs behind a UDP socket. Needs root.
//!
//! `cargo run --release -p outplane-xdp --example bench [-- --json]`: medians over rounds, everything in the same run.

#[path = "../../tests/support/mod.rs"]
mod support;

mod copies;
mod single;

fn main() -> anyhow::Result<()> {
    if let Some(why) = outplane_testbed::why_not() {
        println!("SKIPPED: bench of the XDP program: {why}");
        return Ok(());
    }
    if std::env::args().len() < 2 { single::table()?; }
    copies::table()
}

/// The middle one.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
