//! `Expectation`: packets in the words of `outplane trace --batch`, and what should become of them.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::decode::{Decoder, Fields, Problem};
use super::diagnostic::Code;
use super::selector::selector;
use super::source::{Place, Placed};
use super::tree::{Cursor, Said};
use crate::described::{EtherType, Fate, PacketSpec, Side, TagSpec, TcpFlags};
use crate::model::LabelSelector;
use crate::packet::TPIDS;

/// An `Expectation` as it was said.
#[derive(Debug, Default)]
pub(crate) struct ExpectationDecl {
    pub(crate) packets: Vec<PacketDecl>,
}

/// A packet of it.
#[derive(Debug)]
pub(crate) struct PacketDecl {
    pub(crate) name: String,
    pub(crate) at: Place,
    pub(crate) packet: PacketSpec,
    pub(crate) expect: Option<Fate>,
    pub(crate) switch: Option<Placed<String>>,
    pub(crate) policy: Option<Placed<String>>,
    pub(crate) rule: Option<Placed<String>>,
    /// Errors were found in it: what follows from its fields would only be noise.
    pub(crate) broken: bool,
    /// Where its fields are.
    pub(crate) places: BTreeMap<&'static str, Place>,
}

pub(crate) fn expectation(
    decoder: &mut Decoder<'_>,
    spec: Option<Cursor<'_>>,
    at: Place,
    rules: &mut Vec<(String, Place)>,
) -> ExpectationDecl {
    let mut declared = ExpectationDecl::default();
    let Some(mut fields) = decoder.spec(spec, at) else { return declared };
    if let Some(list) = fields.require(decoder, "packets", "[{src: .., dst: .., expect: allow}]")
        && let Some(list) = decoder.list(list, "`packets`")
    {
        if list.len() == 0 {
            decoder.error(
                Code::InvalidValue,
                fields.key("packets").unwrap_or(at),
                "`packets` is empty",
                "say at least one packet, or remove the object",
            );
        }
        let mut names: BTreeMap<String, Place> = BTreeMap::new();
        for (number, item) in list.iter().enumerate() {
            let Some(packet) = packet(decoder, item, number + 1) else { continue };
            if let Some(first) = names.get(&packet.name) {
                let message = format!("two packets are called {}", packet.name);
                let problem =
                    Problem::error(Code::DuplicateName, packet.at, message).also(*first, "first here");
                decoder.report(problem.help("rename one of them"));
            }
            names.entry(packet.name.clone()).or_insert(packet.at);
            rules.push((packet.name.clone(), packet.at));
            declared.packets.push(packet);
        }
    }
    fields.finish(decoder);
    declared
}

fn packet(decoder: &mut Decoder<'_>, at: Cursor<'_>, number: usize) -> Option<PacketDecl> {
    let before = decoder.sink.error_count();
    let fields = decoder.fields(at, "a packet")?;
    let mut said = Packet { decoder, at: fields.place(), fields, places: BTreeMap::new() };
    let name = said.get("name").and_then(|at| said.decoder.plain_name(at, "`name`"));
    let name = name.map_or_else(|| format!("packet-{number}"), str::to_owned);
    let expect = said.fields.require(said.decoder, "expect", "allow");
    let expect = expect.and_then(|at| said.decoder.choice(at, "`expect`", &Fate::WORDS));
    let packet = PacketSpec {
        expect: None,
        src: said.side("src"),
        dst: said.side("dst"),
        proto: said.parsed("proto"),
        sport: said.number("sport", 0..=65535),
        dport: said.number("dport", 0..=65535),
        icmp_type: said.number("icmp_type", 0..=255),
        icmp_code: said.number("icmp_code", 0..=255),
        tcp_flags: said.tcp_flags(),
        fragment: said.get("fragment").and_then(|at| said.decoder.boolean(at, "`fragment`")),
        ether_type: said.parsed("ether_type"),
        llc: said.parsed("llc"),
        snap: said.parsed("snap"),
        vlan: said.number("vlan", 0..=4095),
        tags: said.tags(),
        dst_mac: said.parsed("dst_mac"),
        port: said.parsed("port"),
        segment: said.text("segment"),
    };
    let switch = said.placed("switch");
    let policy = said.placed("policy");
    let rule = said.placed("rule");
    if let (Some(rule), None) = (&rule, &policy) {
        let help = "say whose rule it is, as in `policy: FilterPolicy/edge`";
        said.decoder.error(Code::MissingField, rule.at, "`rule` without `policy`", help);
    }
    let Packet { decoder, at, fields, places } = said;
    fields.finish(decoder);
    let broken = decoder.sink.error_count() > before;
    Some(PacketDecl { name, at, packet, expect, switch, policy, rule, broken, places })
}

/// A packet's fields on the way to its values.
struct Packet<'s, 'r, 'd> {
    decoder: &'s mut Decoder<'r>,
    at: Place,
    fields: Fields<'d>,
    places: BTreeMap<&'static str, Place>,
}

impl<'d> Packet<'_, '_, 'd> {
    fn get(&mut self, name: &'static str) -> Option<Cursor<'d>> {
        let found = self.fields.get(name)?;
        self.places.insert(name, found.place());
        Some(found)
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        self.placed(name).map(|placed| placed.value)
    }

    /// A word, or `{namespace: shop, podSelector: {matchLabels: {app: api}}}`.
    fn side(&mut self, name: &'static str) -> Option<Side> {
        let at = self.get(name)?;
        let what = format!("`{name}`");
        let Said::Mapping(_) = at.said() else { return self.decoder.text(at, &what).map(Side::from) };
        let mut fields = self.decoder.fields(at, &what)?;
        let namespace = fields.require(self.decoder, "namespace", "shop");
        let namespace = namespace.and_then(|at| self.decoder.text(at, "`namespace`"));
        let selected = match fields.get("podSelector") {
            Some(at) => selector(self.decoder, at, "`podSelector`"),
            None => Some(LabelSelector::default()),
        };
        fields.finish(self.decoder);
        Some(Side::Pods { namespace: namespace?.to_owned(), selector: selected? })
    }

    fn placed(&mut self, name: &'static str) -> Option<Placed<String>> {
        let at = self.get(name)?;
        self.decoder.placed_text(at, &format!("`{name}`"))
    }

    fn number<N: TryFrom<i64>>(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<N> {
        let at = self.get(name)?;
        self.decoder.number(at, &format!("`{name}`"), range)
    }

    /// What is read from text, or from a number.
    fn parsed<T: FromStr<Err = String>>(&mut self, name: &'static str) -> Option<T> {
        let at = self.get(name)?;
        parsed(self.decoder, at, &format!("`{name}`"))
    }

    fn tcp_flags(&mut self) -> Option<TcpFlags> {
        let at = self.get("tcp_flags")?;
        let Said::Sequence(items) = at.said() else { return parsed(self.decoder, at, "`tcp_flags`") };
        let mut flags = TcpFlags(0);
        for item in items.iter() {
            flags.0 |= parsed::<TcpFlags>(self.decoder, item, "a TCP flag")?.0;
        }
        Some(flags)
    }

    fn tags(&mut self) -> Option<Vec<TagSpec>> {
        let at = self.get("tags")?;
        let items = self.decoder.list(at, "`tags`")?;
        items.iter().map(|item| tag(self.decoder, item)).collect()
    }
}

/// A VLAN id, text like `0x88a8:10`, or `{tpid: 0x88a8, vlan: 10}`.
fn tag(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<TagSpec> {
    let Said::Mapping(_) = at.said() else { return parsed(decoder, at, "a tag") };
    let mut fields = decoder.fields(at, "a tag")?;
    let tpid = match fields.get("tpid") {
        Some(at) => parsed::<EtherType>(decoder, at, "`tpid`")?.0,
        None => TPIDS[0],
    };
    let vlan = fields.require(decoder, "vlan", "10");
    let vlan = vlan.and_then(|at| decoder.number(at, "`vlan`", 0..=4095));
    fields.finish(decoder);
    match TagSpec::new(tpid, vlan?) {
        Ok(tag) => Some(tag),
        Err(message) => {
            decoder.error(Code::InvalidValue, at.place(), message, "");
            None
        }
    }
}

fn parsed<T: FromStr<Err = String>>(decoder: &mut Decoder<'_>, at: Cursor<'_>, what: &str) -> Option<T> {
    let text = match at.said() {
        Said::Text(text) => text.to_owned(),
        Said::Integer(Some(number)) => number.to_string(),
        _ => {
            decoder.wrong_type(at, what, "text or a number");
            return None;
        }
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(message) => {
            decoder.error(Code::InvalidValue, at.place(), format!("{what}: {message}"), "");
            None
        }
    }
}

/// Kinds whose objects decide about packets.
pub(crate) fn is_policy(object: &str) -> bool {
    let kinds: BTreeSet<&str> = ["FilterPolicy", "NetworkPolicy", "ClusterNetworkPolicy"].into();
    object.split_once('/').is_some_and(|(kind, _)| kinds.contains(kind))
}
