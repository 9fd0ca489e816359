//! A datagram behind more VLAN tags than the switch looks behind. Hosts take off tags with VLAN 0, however many there are,
//! and deliver what is behind them, so the switch may let no such frame pass.

use std::time::Duration;

use anyhow::{Result, ensure};
use outplane_intent::packet::Packet;
use outplane_intent::testing::frame::{Layout, frame};
use outplane_testbed::{Host, Lab};

const DB: usize = 1;
const GUEST: usize = 3;
/// A port that nobody may reach.
const PORT: u16 = 6000;
const PATIENCE: Duration = Duration::from_secs(1);

/// What `outplane` is asked about it.
pub(crate) const TRACE: [&str; 21] = [
    "trace",
    "network.yaml",
    "policy.yaml",
    "--src",
    "guest",
    "--dst",
    "shop/db",
    "--proto",
    "udp",
    "--dport",
    "6000",
    "--tag",
    "0",
    "--tag",
    "0",
    "--tag",
    "0",
    "--intent",
    "--expect",
    "deny",
    "--port=4",
];

/// Sends it past the switch, where the host takes it, and through the switch, where it must end.
pub(crate) fn try_it(lab: &mut Lab) -> Result<()> {
    let (guest, db) = (&lab.hosts[GUEST], &lab.hosts[DB]);
    let packet =
        Packet::udp(guest.v4.parse()?, 40_000, db.v4.parse()?, PORT).in_vlan(0).in_vlan(0).in_vlan(0);
    let layout = Layout { source: mac(guest)?, destination: mac(db)?, ..Layout::default() };
    let bytes = frame(&packet, &layout);
    let port = db.port;

    println!("  guest sends db a datagram behind three tags of VLAN 0");
    lab.hosts[DB].agent.listen(PORT)?;
    lab.send_to_host(port, &bytes)?;
    let taken = lab.hosts[DB].agent.hears(PORT, PATIENCE)?;
    println!(
        "  past the switch:    {}",
        if taken { "db takes the tags off and delivers it" } else { "db drops it" }
    );
    lab.hosts[GUEST].agent.send_frame("eth0", &bytes)?;
    let slipped = lab.hosts[DB].agent.hears(PORT, PATIENCE)?;
    println!("  through the switch: {}", if slipped { "IT SLIPPED BY" } else { "dropped" });
    ensure!(taken, "the host does not take off tags, so this shows nothing");
    ensure!(!slipped, "a frame behind three tags has passed the policy");
    Ok(())
}

fn mac(host: &Host) -> Result<[u8; 6]> {
    let bytes: Vec<u8> =
        host.mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{} is no MAC address", host.mac))
}
