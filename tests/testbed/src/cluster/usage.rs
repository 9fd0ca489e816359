//! What a process of the cluster has taken so far, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Cluster;

/// Ticks a second of `/proc/PID/stat`, on every Linux that there is (`getconf CLK_TCK`).
const TICKS: u64 = 100;

/// What a process has taken since it started, and what its namespace has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Duration,
    /// Resident memory now, bytes.
    pub resident: u64,
    /// What the interfaces of its namespace have sent, but for loopback, bytes with Ethernet headers.
    pub sent: u64,
}

impl Cluster {
    /// What a process that runs has taken so far.
    pub fn usage(&self, name: &str) -> Result<Usage> {
        let id = self.node(name)?.id()?;
        let read = |file: &str| {
            let path = format!("/proc/{id}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (stat, status, devices) = (read("stat")?, read("status")?, read("net/dev")?);
        parsed(&stat, &status, &devices)
            .with_context(|| format!("the kernel says of {name} what is not known"))
    }
}

fn parsed(stat: &str, status: &str, devices: &str) -> Option<Usage> {
    // The program's name, in parentheses, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let sent = devices.lines().filter_map(|line| {
        let (device, numbers) = line.split_once(':')?;
        let sent = numbers.split_whitespace().nth(8)?.parse::<u64>().ok()?;
        (device.trim() != "lo").then_some(sent)
    });
    let cpu = Duration::from_millis(ticks * 1000 / TICKS);
    Some(Usage { cpu, resident: resident * 1024, sent: sent.sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1 1";
        let status = "Name:\ta\nVmHWM:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        let devices = "Inter-|   Receive\n face |bytes\n    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n  eth0: 9 1 0 0 0 0 0 0 300 2 0 0 0 0 0 0\n";
        let usage = Usage { cpu: Duration::from_secs(3), resident: 1 << 20, sent: 300 };
        assert_eq!(parsed(stat, status, devices), Some(usage));
        assert_eq!(parsed("", status, devices), None);
    }
}
