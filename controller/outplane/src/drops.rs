//! What a switch has dropped, for people and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use outplane_driver_p4runtime::Drops;
use outplane_p4runtime::entry::Counter;
use serde::Serialize;

use crate::names::Names;
use crate::output::{HEAD, columns, grouped, styled};

/// Frames that a switch has dropped since its program was pushed.
#[derive(Debug, Serialize)]
pub(crate) struct DropsForm {
    /// Every reason, by name.
    reasons: BTreeMap<&'static str, Count>,
    /// By segment; those that have dropped some.
    segments: Vec<OfSegment>,
    /// By rate limit; those that have dropped some.
    rate_limits: Vec<OfLimit>,
    /// By where frames entered whose source address may not enter there.
    spoofed: Vec<OfPlace>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl From<Counter> for Count {
    fn from(Counter { packets, bytes }: Counter) -> Self {
        Self { packets, bytes }
    }
}

#[derive(Debug, Serialize)]
struct OfSegment {
    /// 0 for none.
    id: u16,
    /// Its name, if the files say it.
    segment: Option<String>,
    #[serde(flatten)]
    count: Count,
}

#[derive(Debug, Serialize)]
struct OfLimit {
    /// The cell of the rate limiter.
    cell: u16,
    /// Whose it is, if entries say it: policy and rule.
    rule: Option<String>,
    #[serde(flatten)]
    count: Count,
}

#[derive(Debug, Serialize)]
struct OfPlace {
    /// Null: any port, since the address is that of a host on another one, or in none of the segment's subnets.
    port: Option<u16>,
    /// What people call the port, if the files say it.
    name: Option<String>,
    /// 0 for none. Null: any in which no host is on the port.
    id: Option<u16>,
    /// The segment's name, if the files say it.
    segment: Option<String>,
    #[serde(flatten)]
    count: Count,
}

impl DropsForm {
    pub(crate) fn new(drops: &Drops, names: &Names) -> Self {
        let segments = drops.segments.iter().map(|(id, counter)| OfSegment {
            id: *id,
            segment: names.segment(*id),
            count: (*counter).into(),
        });
        let limits = drops.limiters.iter().map(|(cell, counter)| OfLimit {
            cell: *cell,
            rule: names.limiter(*cell),
            count: (*counter).into(),
        });
        let places = drops.spoofed.iter().map(|(at, counter)| OfPlace {
            port: at.port,
            name: at.port.and_then(|port| names.port_name(port)),
            id: at.segment,
            segment: at.segment.and_then(|id| names.segment(id)),
            count: (*counter).into(),
        });
        Self {
            reasons: drops.reasons.iter().map(|(name, counter)| (*name, (*counter).into())).collect(),
            segments: segments.collect(),
            rate_limits: limits.collect(),
            spoofed: places.collect(),
        }
    }

    pub(crate) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}", styled(HEAD, "Drops"))?;
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut row = |kind: &str, what: String, count: Count| {
            if count.packets > 0 {
                rows.push(vec![kind.to_owned(), what, grouped(count.packets), grouped(count.bytes)]);
            }
        };
        let segment_name = |id: u16, name: &Option<String>| match (id, name) {
            (0, _) => "none".to_owned(),
            (_, Some(name)) => name.clone(),
            (id, None) => format!("of id {id}"),
        };
        // In the order in which a frame meets them.
        for name in outplane_p4::Dropped::ALL.iter().map(|dropped| dropped.name()) {
            if let Some(count) = self.reasons.get(name) {
                row("reason", reason_text(name).to_owned(), *count);
            }
        }
        for of in &self.segments {
            row("segment", segment_name(of.id, &of.segment), of.count);
        }
        for of in &self.rate_limits {
            row("rate limit", of.rule.clone().unwrap_or_else(|| format!("cell {}", of.cell)), of.count);
        }
        for of in &self.spoofed {
            let port = match (of.port, &of.name) {
                (Some(port), Some(name)) => format!("port {port} ({name})"),
                (Some(port), None) => format!("port {port}"),
                (None, _) => "any port".to_owned(),
            };
            let segment = of.id.map_or_else(
                || "other segments".to_owned(),
                |id| format!("segment {}", segment_name(id, &of.segment)),
            );
            row("source", format!("{port}, {segment}"), of.count);
        }
        if rows.is_empty() {
            return writeln!(out, "  none");
        }
        columns(out, &["by", "what", "packets", "bytes"], &[2, 3], rows)
    }
}

/// A reason of the program in words.
fn reason_text(name: &str) -> &str {
    match name {
        "too_short" => "ends inside a header",
        "too_many_tags" => "more than two VLAN tags",
        "ipv4_header" => "bad IPv4 header",
        "ipv6_header" => "bad IPv6 header",
        "ip_length" => "IP packet shorter than its headers",
        "ipv6_extensions" => "more than four IPv6 extension headers",
        "parser" => "not parsed",
        "no_policy" => "no policy installed yet",
        "tiny_fragment" => "TCP fragment at offset 1",
        "spoofed" => "source address not allowed there",
        "denied" => "denied by a policy",
        "denied_logged" => "denied by a policy, and logged",
        "rate_limited" => "above a rate limit",
        "blocked" => "blocked by an entry of l2_forward",
        "no_way_out" => "no port to leave by",
        other => other,
    }
}
