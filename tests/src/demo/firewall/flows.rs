//! The flows that the demo tries, and what is expected of each.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outplane_testbed::{Flow, Lab, Outcome, Transport};

/// The hosts, in port order.
pub(crate) const NAMES: [&str; 4] = ["web", "db", "admin", "guest"];

/// UDP port of the running traffic.
pub(crate) const ECHO: u16 = 7;

/// What every host serves.
pub(crate) const SERVED: [(Transport, u16); 5] = [
    (Transport::Tcp, 80),
    (Transport::Tcp, 5432),
    (Transport::Tcp, 22),
    (Transport::Udp, 5353),
    (Transport::Udp, ECHO),
];

/// A flow between two hosts, and whether the policy lets it pass before and after the change.
pub(crate) struct Case {
    from: usize,
    to: usize,
    transport: Transport,
    port: u16,
    pub(crate) before: bool,
    pub(crate) after: bool,
}

const fn case(from: usize, to: usize, transport: Transport, port: u16, before: bool, after: bool) -> Case {
    Case { from, to, transport, port, before, after }
}

const WEB: usize = 0;
const DB: usize = 1;
const ADMIN: usize = 2;
const GUEST: usize = 3;

/// Written down by hand from the policy files, and compared with `outplane trace --intent` too.
const CASES: [Case; 13] = [
    case(WEB, DB, Transport::Tcp, 5432, true, true),
    case(WEB, DB, Transport::Tcp, 22, false, false),
    case(WEB, DB, Transport::Udp, 5353, false, true),
    case(WEB, DB, Transport::Icmp, 0, false, false),
    case(DB, WEB, Transport::Tcp, 80, true, true),
    case(ADMIN, DB, Transport::Tcp, 22, true, true),
    case(ADMIN, DB, Transport::Udp, ECHO, true, true),
    case(ADMIN, DB, Transport::Icmp, 0, true, true),
    case(GUEST, WEB, Transport::Tcp, 80, true, false),
    case(GUEST, WEB, Transport::Udp, 5353, false, false),
    case(GUEST, WEB, Transport::Icmp, 0, false, false),
    case(GUEST, DB, Transport::Tcp, 5432, false, false),
    case(GUEST, ADMIN, Transport::Tcp, 22, false, false),
];

/// Each case over both families.
fn flows() -> impl Iterator<Item = (&'static Case, bool)> {
    CASES.iter().flat_map(|case| [(case, false), (case, true)])
}

fn address(lab: &Lab, host: usize, v6: bool) -> Result<IpAddr> {
    let host = &lab.hosts[host];
    Ok(if v6 { &host.v6 } else { &host.v4 }.parse()?)
}

/// What `outplane trace --batch` says of each flow, in the order of [`try_all`].
pub(crate) fn traced(lab: &Lab, trace: &mut Command) -> Result<Vec<bool>> {
    let mut child =
        trace.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run outplane trace")?;
    let mut stdin = child.stdin.take().context("standard input was not piped")?;
    for (case, v6) in flows() {
        let mut packet = serde_json::json!({
            "src": address(lab, case.from, v6)?,
            "dst": address(lab, case.to, v6)?,
            "proto": if v6 && case.transport == Transport::Icmp { "icmpv6".to_owned() }
                     else { case.transport.to_string().to_lowercase() },
        });
        if case.transport == Transport::Icmp {
            packet["icmp_type"] = if v6 { 128 } else { 8 }.into();
        } else {
            packet["sport"] = 40000.into();
            packet["dport"] = case.port.into();
        }
        writeln!(stdin, "{packet}")?;
    }
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`outplane trace` failed: {}", output.status);
    String::from_utf8(output.stdout)?
        .lines()
        .map(|line| match serde_json::from_str::<serde_json::Value>(line)?["verdict"].as_str() {
            Some("allow") => Ok(true),
            Some("deny") => Ok(false),
            _ => bail!("`outplane trace` answered {line}"),
        })
        .collect()
}

/// Tries every flow, all at once, prints the table, and counts those that went otherwise than expected.
pub(crate) fn try_all(lab: &mut Lab, traced: &[bool], expected: fn(&Case) -> bool) -> Result<usize> {
    let mut tries = Vec::new();
    for (case, v6) in flows() {
        let flow =
            Flow { transport: case.transport, destination: address(lab, case.to, v6)?, port: case.port };
        tries.push(lab.hosts[case.from].agent.begin(&flow, Duration::from_millis(1500))?);
    }
    ensure!(
        traced.len() == tries.len(),
        "`outplane trace` answered {} of {} flows",
        traced.len(),
        tries.len()
    );
    println!("  {:<6} -> {:<6} {:<10} {:<5} {:<12} went", "from", "to", "flow", "over", "policy says");
    let mut wrong = 0;
    for (((case, v6), id), traced) in flows().zip(tries).zip(traced) {
        let expected = expected(case);
        let passed = lab.hosts[case.from].agent.tried(id)? == Outcome::Passed;
        let right = passed == expected && *traced == expected;
        wrong += usize::from(!right);
        let flow = match case.transport {
            Transport::Icmp => "ICMP echo".to_owned(),
            transport => format!("{transport} {}", case.port),
        };
        println!(
            "  {:<6} -> {:<6} {flow:<10} {:<5} {:<12} {}{}",
            NAMES[case.from],
            NAMES[case.to],
            if v6 { "IPv6" } else { "IPv4" },
            verdict(expected),
            verdict(passed),
            if right {
                ""
            } else if *traced == expected {
                "   <-- WRONG"
            } else {
                "   <-- WRONG, and trace says otherwise"
            },
        );
    }
    Ok(wrong)
}

fn verdict(passes: bool) -> &'static str {
    if passes { "pass" } else { "drop" }
}
