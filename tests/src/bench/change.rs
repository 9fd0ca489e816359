//! Policy changes under traffic.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outplane_testbed::{Stream, SwitchKind, Transport};

use crate::{Site, swap, switches};

/// Policy changes while 10,000 packets a second pass the switch.
pub(super) fn change() -> Result<()> {
    println!(
        "\nPolicy changes under 10,000 packets/s: old rules with new classes, or the reverse, would show"
    );
    println!(
        "  {:<12} {:>9} {:>12} {:>12} {:>20}",
        "switch", "changes", "packets", "lost", "through in error"
    );
    for kind in switches("policy changes under 10,000 packets/s")
        .into_iter()
        .filter(|kind| *kind == SwitchKind::Softswitch)
    {
        let mut site = Site::new(kind, 3)?;
        swap::write_policies(&site)?;
        site.outplane(&["apply", "a.yaml"])?;
        site.lab.hosts[1].agent.serve(Transport::Udp, 7)?;
        let stream = Stream {
            destination: site.lab.hosts[1].v4.parse()?,
            port: 7,
            rate: 5000,
            milliseconds: 10_000,
            window: None,
        };
        // Each allowed packet passes the switch twice: there and back.
        let allowed = site.lab.hosts[0].agent.stream(&Stream { rate: 2500, ..stream.clone() })?;
        let denied = site.lab.hosts[2].agent.stream(&stream)?;
        let start = Instant::now();
        let mut changes = 0;
        while start.elapsed() < Duration::from_millis(9500) {
            swap::change(&site, if changes % 2 == 0 { "b.yaml" } else { "a.yaml" })?;
            changes += 1;
        }
        let allowed = site.lab.hosts[0].agent.streamed(allowed)?;
        let denied = site.lab.hosts[2].agent.streamed(denied)?;
        println!(
            "  {:<12} {changes:>9} {:>12} {:>12} {:>20}",
            kind.name(),
            2 * allowed.sent + denied.sent,
            allowed.sent - allowed.received,
            denied.received
        );
        ensure!(allowed.received == allowed.sent && denied.received == 0, "a packet saw a mix of policies");
    }
    Ok(())
}
