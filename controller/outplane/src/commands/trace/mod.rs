//! `outplane trace`: what happens to a packet, and why.

mod batch;
mod delivery;
pub(crate) mod judge;
mod live;
mod logged;
mod report;

use std::cell::Cell;
use std::io::BufWriter;

use anyhow::{Context as _, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use outplane_intent::described::{
    EtherType, Fate, LlcSpec, Mac, PacketSpec, PortSpec, Protocol, Side, Snap, TagSpec, TcpFlags,
    port_number, sentence,
};
use outplane_intent::model::Intent;
use serde::Serialize;

use self::judge::{Judge, Said};
use crate::compiled;
use crate::exit::{Exit, Usage};
use crate::input::{self, Input};
use crate::options::{Format, PolicyFiles};
use crate::output;
use crate::targets::Targets;

/// Arguments of `trace`.
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: PolicyFiles,
    /// Ask what the switches hold now, and say where the files say something else
    #[arg(long, conflicts_with_all = ["intent", "both"])]
    live: bool,
    /// Ask the intent itself instead of the compiled entries: a plain evaluation that shares no code with the compiler
    #[arg(long)]
    intent: bool,
    /// Ask both, and fail where they disagree (which is an error of Outplane's)
    #[arg(long, conflicts_with = "intent")]
    both: bool,
    /// Fail unless that becomes of it on every switch
    #[arg(long, value_name = "FATE", value_parser = fates(), conflicts_with = "batch")]
    expect: Option<Fate>,
    /// Read packets as JSON lines from standard input and answer each with a JSON line
    #[arg(long, conflicts_with = "packet")]
    batch: bool,
    #[command(flatten)]
    packet: PacketArguments,
    #[command(flatten)]
    targets: Targets,
}

/// The packet. What stands in for absent fields is said in docs/command.md.
#[derive(clap::Args, Debug)]
#[group(id = "packet", multiple = true)]
#[command(next_help_heading = "Packet")]
struct PacketArguments {
    /// Source: an address, a pod as NAMESPACE/POD, or a host or node of the files
    #[arg(long, value_name = "ADDRESS")]
    src: Option<String>,
    /// Destination, likewise
    #[arg(long, value_name = "ADDRESS")]
    dst: Option<String>,
    /// tcp, udp, sctp, icmp, icmpv6, or an IP protocol's number [default: tcp; ICMP if a type is given]
    #[arg(long, value_name = "PROTOCOL")]
    proto: Option<Protocol>,
    /// Source port [default: 49152]
    #[arg(long, value_name = "PORT", value_parser = port_number)]
    sport: Option<u16>,
    /// Destination port [default: 0]
    #[arg(long, value_name = "PORT", value_parser = port_number)]
    dport: Option<u16>,
    /// TCP flags, as in SYN,ACK [default: SYN, a new connection]
    #[arg(long, value_name = "FLAGS")]
    tcp_flags: Option<TcpFlags>,
    /// ICMP type [default: echo request]
    #[arg(long, value_name = "TYPE")]
    icmp_type: Option<u8>,
    /// ICMP code [default: 0]
    #[arg(long, value_name = "CODE")]
    icmp_code: Option<u8>,
    /// A fragment after the first: it has no ports, flags and types
    #[arg(long)]
    fragment: bool,
    /// An ARP packet; --src and --dst are the sender's and the target's address
    #[arg(long, conflicts_with = "proto")]
    arp: bool,
    /// A frame that is neither IP nor ARP, of this EtherType, as in 0x88cc
    #[arg(long, value_name = "TYPE")]
    ether_type: Option<EtherType>,
    /// A frame with an LLC and a SNAP header: an EtherType, or an organization's protocol as in 00000c:0x2000
    #[arg(long, value_name = "TYPE", conflicts_with = "ether_type")]
    snap: Option<Snap>,
    /// A frame with this LLC header, three to eight bytes in hexadecimal, as in 424203
    #[arg(long, value_name = "HEX", conflicts_with_all = ["ether_type", "snap"])]
    llc: Option<LlcSpec>,
    /// VLAN id of its tag [default: without a tag]
    #[arg(long, value_name = "ID")]
    vlan: Option<u16>,
    /// A VLAN tag, as in 10 or 0x88a8:10; repeated, from the outermost inwards
    #[arg(long, value_name = "TAG", conflicts_with = "vlan")]
    tag: Vec<TagSpec>,
    /// MAC address that its frame is for [default: that of the Host with the destination address, in the same segment]
    #[arg(long, value_name = "MAC")]
    dst_mac: Option<Mac>,
    /// Switch port that it enters by, a number or a name [default: derived from the source address]
    #[arg(long, value_name = "PORT", conflicts_with = "segment")]
    port: Option<PortSpec>,
    /// Segment that it enters in, whatever the port
    #[arg(long, value_name = "NAME")]
    segment: Option<String>,
}

/// One of the words for a fate.
fn fates() -> impl TypedValueParser<Value = Fate> {
    PossibleValuesParser::new(Fate::WORDS.map(|(word, _)| word)).try_map(|word| word.parse::<Fate>())
}

impl PacketArguments {
    fn spec(&self) -> PacketSpec {
        PacketSpec {
            expect: None,
            src: self.src.as_deref().map(Side::from),
            dst: self.dst.as_deref().map(Side::from),
            proto: if self.arp { Some(Protocol::Arp) } else { self.proto },
            sport: self.sport,
            dport: self.dport,
            icmp_type: self.icmp_type,
            icmp_code: self.icmp_code,
            tcp_flags: self.tcp_flags,
            fragment: self.fragment.then_some(true),
            ether_type: self.ether_type,
            llc: self.llc,
            snap: self.snap,
            vlan: self.vlan,
            tags: (!self.tag.is_empty()).then(|| self.tag.clone()),
            dst_mac: self.dst_mac,
            port: self.port.clone(),
            segment: self.segment.clone(),
        }
    }
}

/// Traces one packet, or those of standard input.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    if arguments.batch && arguments.sources.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(
            Usage("with --batch standard input is packets: give the policies as files".to_owned()).into()
        );
    }
    let input = input::load(&arguments.sources)?;
    let asked = arguments.targets.names(&input.intent)?;
    let compiled = if arguments.intent { None } else { Some(compiled::compile(&input)?) };
    let live::Found { live, missing } = match &compiled {
        Some(compiled) if arguments.live => {
            let targets = arguments.targets.resolve(&input.intent)?;
            live::read(targets, &arguments.targets.options(), compiled)?
        }
        _ if arguments.targets.has_address() => {
            return Err(Usage("--address is about what a switch holds: say --live, too".to_owned()).into());
        }
        _ => live::Found::default(),
    };
    let is_read = |name: &&String| missing.iter().all(|(switch, _)| switch != *name);
    let switches = asked.iter().filter(is_read).cloned().collect();
    let judge = Judge::new(&input, compiled.as_ref(), &live, switches, arguments.intent || arguments.both);
    let exit = if arguments.batch {
        for (switch, why) in &missing {
            tracing::error!("switch {switch} cannot be read: {why}");
        }
        if !missing.is_empty() && live.is_empty() {
            return Ok(Exit::Switch);
        }
        converse(&input.intent, &judge)?
    } else {
        one(arguments, &input, &judge, (&asked, &missing), format)?
    };
    Ok(if missing.is_empty() { exit } else { Exit::Switch })
}

fn one(
    arguments: &Arguments,
    input: &Input,
    judge: &Judge<'_>,
    (asked, missing): (&[String], &[(String, String)]),
    format: Format,
) -> anyhow::Result<Exit> {
    let spec = arguments.packet.spec();
    let packets = spec.packets(&input.intent, asked.iter().map(String::as_str)).map_err(Usage)?;
    // Words mean one packet.
    let packet = packets.into_iter().next().context("a packet has two sides")?;
    let no_port = packet.ports().is_some() && arguments.packet.dport.is_none();
    if no_port {
        tracing::warn!("without --dport the packet is one to port 0, which hardly a rule names");
    }
    let mut traced = report::Traced::new(&packet, judge.explain(&packet, spec.dst_mac), &input.sources);
    traced.unread(missing);
    let wanted = traced.expecting(arguments.expect);
    output::print(format, &traced)?;
    Ok(if wanted && traced.agreed() { Exit::Done } else { Exit::Failed })
}

/// What a line is answered with.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    said: Said,
    /// What should have become of it, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Fate>,
    /// Where sides mean several pods.
    #[serde(flatten)]
    pair: Option<Pair>,
    /// Only where switches differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    switches: Vec<SwitchLine>,
}

/// Which of several packets is told.
#[derive(Serialize)]
struct Pair {
    /// How many were judged.
    packets: usize,
    /// This one, in words.
    packet: String,
}

impl Line {
    /// What is told first of several.
    fn weight(&self) -> (bool, u8) {
        let fate = match self.said.outcome().0 {
            Fate::Deny => 2,
            Fate::Drop => 1,
            Fate::Allow => 0,
        };
        (self.expected.is_some(), fate)
    }
}

#[derive(Serialize)]
struct SwitchLine {
    switch: String,
    #[serde(flatten)]
    said: Said,
}

fn converse(intent: &Intent, judge: &Judge<'_>) -> anyhow::Result<Exit> {
    let unexpected = Cell::new(0);
    let answer = |line: &[u8]| -> Result<Option<Line>, String> {
        // Lists of a struct's fields are JSON to serde, but no packets to us.
        if line.first() != Some(&b'{') {
            return Err("this is no JSON object: a packet is {\"src\": .., \"dst\": .., ..}".to_owned());
        }
        let logged::Asked { spec, switch } = match serde_json::from_slice(line) {
            Ok(spec) => logged::Asked { spec, switch: None },
            Err(error) => match logged::read(line) {
                None => return Err(unread(&error)),
                Some(Ok(Some(asked))) => asked,
                Some(Ok(None)) => return Ok(None),
                Some(Err(error)) => return Err(unread(&error)),
            },
        };
        // Switches that no file says have no names to compare.
        let switch = switch.filter(|_| !intent.switches.is_empty());
        let is_asked = |name: &&str| switch.as_deref().is_none_or(|only| only == *name);
        if !judge.switches().any(|name| is_asked(&name)) {
            let known: Vec<&str> = judge.switches().collect();
            let switch = switch.unwrap_or_default();
            return Err(format!("no switch `{switch}` is asked; there are {}", known.join(", ")));
        }
        let packets = spec.packets(intent, judge.switches().filter(is_asked))?;
        let number = packets.len();
        let mut told: Option<Line> = None;
        for packet in packets {
            let mut answers = judge.outcomes(&packet, spec.dst_mac)?;
            answers.retain(|(name, _)| is_asked(name));
            let expected =
                spec.expect.filter(|expect| answers.iter().any(|(_, said)| said.outcome().0 != *expect));
            let pair = (number > 1).then(|| Pair { packets: number, packet: sentence(&packet) });
            let line = Line { expected, pair, ..merged(answers) };
            // Of several the first is told that is not as expected, or else that passes least.
            if told.as_ref().is_none_or(|told| line.weight() > told.weight()) {
                told = Some(line);
            }
        }
        let line = told.ok_or_else(|| "no packet is meant".to_owned())?;
        unexpected.set(unexpected.get() + u64::from(line.expected.is_some()));
        Ok(Some(line))
    };
    let output = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    match batch::converse(std::io::stdin().lock(), output, answer) {
        // Nothing was asked, so nothing is as it should be either: what should have written it may have failed.
        Ok(batch::Conversed { lines: 0, .. }) => bail!("there are no packets in standard input"),
        Ok(batch::Conversed { bad: 0, .. }) if unexpected.get() == 0 => Ok(Exit::Done),
        Ok(_) => Ok(Exit::Failed),
        // Whoever asked has gone.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(error).context("cannot read packets from standard input"),
    }
}

/// What is wrong with a line of JSON, without the line number, which is always 1.
fn unread(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&position) {
        Some(text) => format!("column {}: {text}", error.column()),
        None => text,
    }
}

/// One answer for all switches: deny if any denies, and else dropped if any does not forward it, and the first that does
/// so says who decided.
fn merged(answers: Vec<(&str, Said)>) -> Line {
    let differ = answers.windows(2).any(|pair| pair[0].1 != pair[1].1);
    let first = |fate| answers.iter().position(|(_, said)| said.outcome().0 == fate);
    let decisive = first(Fate::Deny).or_else(|| first(Fate::Drop)).unwrap_or(0);
    let switches = if differ {
        let line =
            |(switch, said): &(&str, Said)| SwitchLine { switch: (*switch).to_owned(), said: said.clone() };
        answers.iter().map(line).collect()
    } else {
        Vec::new()
    };
    let said = answers.into_iter().nth(decisive).map(|(_, said)| said).unwrap_or_default();
    Line { said, expected: None, pair: None, switches }
}
