//! Faults of the network between nodes, made by nftables in the bridge's namespace.
//!
//! | fault | where | so |
//! |---|---|---|
//! | loss | bridge forward hook | each forwarded copy of a datagram is drawn for; XDP never sees what is dropped |
//! | duplicates | ingress of the sender's bridge port | a copy more goes to a receiver, even where the first one is lost |
//! | partition | the node's bridge port | it is down |
//!
//! Counters are the kernel's own: what the rules did, not what they were asked for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::netns::Namespace;

/// What nftables did since the rules were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Copies of datagrams that were looked at by the loss rule.
    pub seen: u64,
    /// Of these: dropped.
    pub lost: u64,
    /// Copies that were added.
    pub doubled: u64,
}

/// Why no faults can be made here, if so.
pub fn why_no_faults() -> Option<String> {
    match std::process::Command::new("nft").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        _ => Some("`nft` is not installed (Debian package nftables)".to_owned()),
    }
}

/// Datagrams to `port` are lost and doubled, so many of 100; whatever was set before is gone. They are lost on their way
/// out of the bridge ports `nodes`; each of the senders' datagrams is doubled for each receiver by itself.
pub(crate) fn set(
    bridge: &Namespace,
    port: u16,
    loss: u8,
    duplicate: u8,
    senders: &[String],
    receivers: &[String],
) -> Result<()> {
    let nodes: Vec<_> = senders.iter().chain(receivers).map(|port| format!("{port:?}")).collect();
    let bound_out = format!("oifname {{ {} }} udp dport {port}", nodes.join(", "));
    // A table has to be there to be deleted.
    let mut rules = String::new();
    for family in ["bridge", "netdev"] {
        let _ = writeln!(rules, "table {family} faults\ndelete table {family} faults");
    }
    if loss > 0 {
        let _ = writeln!(
            rules,
            "table bridge faults {{\n counter seen {{\n }}\n counter lost {{\n }}\n chain forward {{\n  \
             type filter hook forward priority 0\n  {bound_out} counter name seen\n  \
             {bound_out} numgen random mod 100 <= {} counter name lost drop\n }}\n}}",
            loss - 1
        );
    }
    if duplicate > 0 {
        rules.push_str("table netdev faults {\n counter doubled {\n }\n");
        for (number, sender) in senders.iter().enumerate() {
            let _ = writeln!(
                rules,
                " chain from{number} {{\n  type filter hook ingress device \"{sender}\" priority 0"
            );
            for receiver in receivers.iter().filter(|receiver| *receiver != sender) {
                let _ = writeln!(
                    rules,
                    "  udp dport {port} numgen random mod 100 <= {} counter name doubled dup to \"{receiver}\"",
                    duplicate - 1
                );
            }
            rules.push_str(" }\n");
        }
        rules.push_str("}\n");
    }
    nft(bridge, &["-f", "-"], &rules).map(drop)
}

/// What the rules did.
pub(crate) fn counts(bridge: &Namespace) -> Result<FaultCounts> {
    let text = nft(bridge, &["list", "counters"], "")?;
    Ok(FaultCounts {
        seen: packets(&text, "seen")?,
        lost: packets(&text, "lost")?,
        doubled: packets(&text, "doubled")?,
    })
}

/// `counter lost {\n packets 12 bytes 345\n }`: 12; without such a counter 0.
fn packets(text: &str, name: &str) -> Result<u64> {
    let Some((_, rest)) = text.split_once(&format!("counter {name} {{")) else { return Ok(0) };
    let number = rest.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    number.and_then(|number| number.parse().ok()).with_context(|| format!("nft said {text:?}"))
}

fn nft(bridge: &Namespace, words: &[&str], input: &str) -> Result<String> {
    let mut command = bridge.command("nft");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run `nft` (Debian package nftables)")?;
    let mut stdin = child.stdin.take().context("standard input was not piped")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("nft: {}\n{input}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("nft said no text")?;
    ensure!(output.stderr.is_empty(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::packets;

    #[test]
    fn counters_are_read() {
        let text = "table bridge faults {\n\tcounter seen {\n\t\tpackets 1600 bytes 2\n\t}\n\tcounter lost {\n\t\t\
                    packets 480 bytes 139200\n\t}\n}\n";
        assert_eq!((packets(text, "seen").unwrap(), packets(text, "lost").unwrap()), (1600, 480));
        assert_eq!(packets(text, "doubled").unwrap(), 0);
        assert!(packets("counter lost {\n nonsense\n}", "lost").is_err());
    }
}
