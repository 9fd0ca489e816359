//! What the XDP program costs, and what the same work costs behind a UDP socket. Needs root.
//!
//! `cargo run --release -p outplane-xdp --example bench [-- single | copies]`: medians over rounds, everything in the same run.

#[path = "../../tests/support/mod.rs"]
mod support;

mod copies;
mod single;

fn main() -> anyhow::Result<()> {
    if let Some(why) = outplane_testbed::why_not() {
        println!("SKIPPED: bench of the XDP program: {why}");
        return Ok(());
    }
    match std::env::args().nth(1).as_deref() {
        None => {
            single::table()?;
            copies::table()
        }
        Some("single") => single::table(),
        Some("copies") => copies::table(),
        Some(other) => anyhow::bail!("no bench is called {other}: there are `single` and `copies`"),
    }
}

/// The middle one.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
