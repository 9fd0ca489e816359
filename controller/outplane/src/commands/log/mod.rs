//! `outplane log`: packets that rules with `log` denied: as the controllers wrote them into the store, or straight from a
//! switch.

mod store;
mod switch;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use outplane_rmdp_core::object::PacketLine;
use outplane_rmdp_node::packets::frame;
use serde::Serialize;

use crate::exit::{Exit, Usage};
use crate::node::NodeArguments;
use crate::options::Format;
use crate::output::{self, FAINT, HEAD, WARN, styled};
use crate::plain::Plain;
use crate::targets::Targets;
use crate::times;

/// Arguments of `log`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// With --address: files and folders with the policies that the switch runs, for the names of segments
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Go on: print packets as they come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Only packets that this policy denied, as FilterPolicy/edge or edge; may be repeated
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    /// Only packets that this rule denied; may be repeated
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// Only the last so many packets of those that are there
    #[arg(long, short = 'n', value_name = "NUMBER", conflicts_with = "address")]
    lines: Option<usize>,
    #[command(flatten)]
    node: NodeArguments,
    #[command(flatten)]
    targets: Targets,
}

/// A packet, and which controller had it from the switch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    /// The controller; null with `--address`: this command.
    node: Option<String>,
    /// When, RFC 3339.
    at: String,
    #[serde(flatten)]
    line: PacketLine,
}

impl Shown {
    pub(crate) fn new(node: Option<&str>, line: PacketLine) -> Self {
        Self { node: node.map(str::to_owned), at: times::time(line.at_ms), line }
    }
}

/// Packets that have no line.
#[derive(Serialize)]
struct LeftOut<'a> {
    node: Option<&'a str>,
    /// When it was told, RFC 3339.
    at: String,
    #[serde(rename = "left_out")]
    packets: u64,
}

/// Prints what is asked for.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    if arguments.targets.has_address() {
        if arguments.node.is_named() {
            let text = "--address reads one switch itself, --config asks the controllers: say one of them";
            return Err(Usage(text.to_owned()).into());
        }
        return switch::run(arguments, format);
    }
    if !arguments.files.is_empty() {
        let text = "files go with --address HOST:PORT, which reads one switch itself; without it the controllers are \
                    asked, whose store the node's file (--config) names";
        return Err(Usage(text.to_owned()).into());
    }
    store::run(arguments, format)
}

impl Arguments {
    /// Whether a packet is asked for. Where two rules share a tag, both are.
    fn wants(&self, line: &PacketLine) -> bool {
        let policy = |wanted: &String| {
            let names = line.policy.as_deref().unwrap_or_default().split(" or ");
            names
                .into_iter()
                .any(|name| name == wanted || name.split_once('/').is_some_and(|(_, rest)| rest == wanted))
        };
        let rule = |wanted: &String| {
            line.rule.as_deref().unwrap_or_default().split(" or ").any(|name| name == wanted)
        };
        (self.policy.is_empty() || self.policy.iter().any(policy))
            && (self.rule.is_empty() || self.rule.iter().any(rule))
            && self.targets.wants(&line.switch)
    }
}

impl Arguments {
    /// Says on standard error that of these lines none is of the policies and rules that are asked for, and of which they
    /// are: a name that nobody has looks like one that denied nothing.
    fn tell_if_none<'l>(&self, lines: impl Iterator<Item = &'l PacketLine>) {
        const TOLD: usize = 10;
        if self.policy.is_empty() && self.rule.is_empty() {
            return;
        }
        let mut others = BTreeSet::new();
        for line in lines {
            if self.wants(line) {
                return;
            }
            if let (Some(policy), Some(rule)) = (&line.policy, &line.rule) {
                others.insert(format!("{policy}, rule {rule}"));
            }
        }
        let more = others.len().saturating_sub(TOLD);
        let told: Vec<String> = others.into_iter().take(TOLD).collect();
        let there = match (told.is_empty(), more) {
            (true, _) => "there are none at all".to_owned(),
            (false, 0) => format!("there are some of {}", told.join("; ")),
            (false, more) => format!("there are some of {}; and {more} more", told.join("; ")),
        };
        let text = format!("no packet that is asked for has a line: {there}");
        let _ = writeln!(anstream::stderr(), "{}", styled(WARN, text));
    }
}

/// Prints a packet: a line of text or of JSON, at once.
fn print(format: Format, node: Option<&str>, line: PacketLine) -> anyhow::Result<()> {
    let shown = Shown::new(node, line);
    let text = match format {
        Format::Json => serde_json::to_string(&shown)?,
        Format::Text => text(&shown),
    };
    output::write(|out| {
        let person = format == Format::Text && out.is_terminal();
        let mut out = Plain(anstream::AutoStream::auto(out));
        // A line for a packet stays whole for programs.
        if person {
            output::wrapped(&mut out, 0, 4, &text)?;
        } else {
            writeln!(out, "{text}")?;
        }
        out.flush()
    })
}

fn text(shown: &Shown) -> String {
    let Shown { at, line, .. } = shown;
    let who = match (&line.policy, &line.rule) {
        (Some(policy), Some(rule)) => format!("{policy} rule {rule}"),
        _ => format!("unknown rule, tag {}", line.tag),
    };
    let port = line.packet.port.map_or_else(String::new, |port| format!(" port {port}"));
    let segment = line.segment.as_ref().map_or_else(String::new, |segment| format!(" segment {segment}"));
    format!(
        "{} {}{port}{segment}: {}; denied by {who}; {} bytes",
        styled(FAINT, at),
        styled(HEAD, &line.switch),
        frame::sentence(&line.packet),
        line.length
    )
}

/// Says that packets have no line.
fn print_left_out(format: Format, node: Option<&str>, at_ms: u64, left_out: u64) -> anyhow::Result<()> {
    if left_out == 0 {
        return Ok(());
    }
    let at = times::time(at_ms);
    match format {
        Format::Json => {
            let text = serde_json::to_string(&LeftOut { node, at, packets: left_out })?;
            output::write(|mut out| writeln!(out, "{text}"))
        }
        Format::Text => {
            let who = node.map_or_else(String::new, |node| format!("{node}: "));
            let text = format!("{at} {who}{left_out} more packets have no line: there were too many");
            Ok(writeln!(anstream::stderr(), "{}", styled(WARN, text))?)
        }
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::LoggedPacket;

    use super::*;

    #[test]
    fn a_line_says_who_denied_what_where() {
        let packet = LoggedPacket {
            src: Some("10.3.0.9".into()),
            dst: Some("10.2.0.10".into()),
            proto: Some("tcp".into()),
            sport: Some(49152),
            dport: Some(22),
            tcp_flags: Some("SYN".into()),
            port: Some(3),
            ..LoggedPacket::default()
        };
        let mut line = PacketLine {
            switch: "core".into(),
            policy: Some("FilterPolicy/guests".into()),
            rule: Some("not-to-us".into()),
            tag: "0x00000001".into(),
            segment: Some("guests".into()),
            length: 74,
            packet,
            ..PacketLine::default()
        };
        let shown = |line: &PacketLine| {
            let shown = Shown { node: None, at: "T".into(), line: line.clone() };
            anstream::adapter::strip_str(&text(&shown)).to_string()
        };
        assert_eq!(
            shown(&line),
            "T core port 3 segment guests: TCP SYN 10.3.0.9:49152 -> 10.2.0.10:22; denied by FilterPolicy/guests rule \
             not-to-us; 74 bytes"
        );
        (line.policy, line.rule) = (None, None);
        assert!(shown(&line).contains("denied by unknown rule, tag 0x00000001"), "{}", shown(&line));
    }
}
