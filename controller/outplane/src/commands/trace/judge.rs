//! Who says what happens to a packet: the compiled entries, the intent itself, or both.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use outplane_compiler::compile::Compiled;
use outplane_compiler::entries::Entries;
use outplane_compiler::lookup::{Lookup, Trace};
use outplane_compiler::program::Program;
use outplane_intent::described::{Fate, Mac};
use outplane_intent::evaluate::{Addressee, Entrance, Evaluator, Step, Verdict};
use outplane_intent::model::{Host, Intent, Switch};
use outplane_intent::packet::{Ingress, Packet, Traffic};
use outplane_intent::reader::Sources;
use outplane_p4runtime::entry::{Entry, MulticastGroup};
use serde::Serialize;

use crate::commands::compile::entry_text;
use crate::compiled::schema;
use crate::entries::EntryForm;
use crate::input::Input;
use crate::names::Names;
use crate::output::{BAD, HEAD, WARN, styled, wrapped};

use super::delivery::{self, Delivery};
use super::live::Live;

/// A verdict and who decided: what a batch line answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    /// `allow` or `deny`.
    verdict: &'static str,
    policy: Option<String>,
    rule: Option<String>,
    /// Why its source address may not enter there; absent if it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    spoofed: Option<String>,
}

impl Answer {
    fn new(allow: bool, policy: Option<String>, rule: Option<String>) -> Self {
        Self { verdict: if allow { "allow" } else { "deny" }, policy, rule, spoofed: None }
    }

    fn of_verdict(verdict: Verdict) -> Self {
        let spoofed = verdict.spoofed().map(str::to_owned);
        Self { spoofed, ..Self::new(verdict.allow, verdict.policy, verdict.rule) }
    }

    /// `why` is why a source address may not enter, as the files say.
    fn of_trace(trace: Trace<'_>, why: Option<String>) -> Self {
        let unknown = || "its source address is not allowed there, by what the switch holds".to_owned();
        let spoofed = trace.spoofed.then(|| why.unwrap_or_else(unknown));
        Self { spoofed, ..Self::new(trace.allow, trace.policy, trace.rule) }
    }

    /// The policy that decided.
    pub(crate) fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Its rule that did.
    pub(crate) fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Whether the packet passes.
    pub(super) fn allow(&self) -> bool {
        self.verdict == "allow"
    }

    /// Who decided, for people.
    pub(super) fn by(&self) -> String {
        match (&self.policy, &self.rule) {
            _ if self.spoofed.is_some() => self.spoofed.clone().unwrap_or_default(),
            (Some(policy), Some(rule)) => format!("{policy}, rule {rule}"),
            (Some(policy), None) => policy.clone(),
            (None, _) if self.allow() => "no policy decides".to_owned(),
            (None, _) => "whatever the policies say".to_owned(),
        }
    }

    /// Where the rule was said, or else the policy.
    pub(super) fn location(&self, sources: &Sources) -> Option<String> {
        let policy = self.policy.as_deref()?;
        let rule = self.rule.as_deref().and_then(|rule| sources.rule(policy, rule));
        rule.or_else(|| sources.object(policy)).map(|location| location.to_string())
    }
}

/// How an answer came about.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explained {
    #[serde(flatten)]
    pub(super) said: Said,
    #[serde(flatten)]
    place: Place,
    /// Whether the drop is reported to the controller.
    log: bool,
    /// Whether a rate limit lets only so many through.
    limited: bool,
    /// The entries that the packet hits, in the order of the tables; not with --intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryForm>>,
    #[serde(skip)]
    lines: Vec<String>,
    /// What the intent says, stage by stage; with --intent and --both.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Step>>,
    /// What the intent says where that is something else; with --both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disagreement: Option<Answer>,
    /// With --live: the version of the policy that the switch holds, 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u8>,
}

/// Where a packet enters.
#[derive(Clone, Debug, Serialize)]
struct Place {
    /// The segment that it enters in.
    segment: Option<String>,
    /// The port that it enters by, or is taken to; null where it may be any.
    port: Option<u16>,
    /// Nobody says which of the segment's ports it is: the first is taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    port_guessed: bool,
    /// The VLAN that it enters with; null for untagged.
    vlan: Option<u16>,
    /// All of it, for people.
    #[serde(skip)]
    text: String,
}

impl Place {
    fn new(entrance: Entrance, switch: Option<&Switch>, port_guessed: bool) -> Self {
        let Entrance { port, vlan, segment } = entrance;
        let mut text = match &segment {
            Some(name) => format!("segment {name}"),
            None => "no segment".to_owned(),
        };
        let named = port.map(|port| switch.map_or_else(|| port.to_string(), |of| delivery::named(port, of)));
        text.extend(named.map(|port| format!(", by port {port}")));
        text.extend(vlan.map(|vlan| format!(", VLAN {vlan}")));
        if port_guessed {
            text.push_str("; the port is a guess: the segment's first");
        }
        Self { segment, port, port_guessed, vlan, text }
    }
}

/// A verdict, and where the packet leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Said {
    #[serde(flatten)]
    pub(crate) answer: Answer,
    /// Absent where it is denied, and on a switch that the files do not declare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delivery: Option<Delivery>,
    /// What becomes of it in the segment of its destination, where a router brings it; absent where nobody does, or
    /// somebody says where it enters.
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<Again>,
    /// With --live: what the files say, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Box<Said>>,
}

/// A packet that enters a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Again {
    segment: String,
    /// Null where it may be any.
    port: Option<u16>,
    #[serde(flatten)]
    answer: Answer,
}

impl Again {
    fn text(&self) -> String {
        let by = self.port.map(|port| format!(", by port {port}")).unwrap_or_default();
        format!(
            "in segment {}, where a router brings it{by}: {}, {}",
            self.segment,
            self.answer.verdict,
            self.answer.by()
        )
    }
}

impl Said {
    fn new(answer: Answer, delivery: Option<Delivery>) -> Self {
        Self { answer, delivery, again: None, files: None }
    }

    /// What becomes of the packet where it enters first.
    pub(crate) fn fate(&self) -> Fate {
        match &self.delivery {
            _ if !self.answer.allow() => Fate::Deny,
            Some(delivery) if !delivery.leaves() => Fate::Drop,
            _ => Fate::Allow,
        }
    }

    /// What becomes of it in the end, and who decided.
    pub(crate) fn outcome(&self) -> (Fate, &Answer) {
        match &self.again {
            Some(again) if !again.answer.allow() && self.fate() == Fate::Allow => (Fate::Deny, &again.answer),
            _ => (self.fate(), &self.answer),
        }
    }

    /// All of it, for people.
    pub(crate) fn text(&self) -> String {
        match (self.fate(), &self.delivery) {
            (Fate::Deny, _) => format!("deny, {}", self.answer.by()),
            _ if self.outcome().0 == Fate::Deny => {
                format!(
                    "allow, {}; {}",
                    self.answer.by(),
                    self.again.as_ref().map(Again::text).unwrap_or_default()
                )
            }
            (Fate::Drop, Some(delivery)) => {
                format!("drop: no policy denies it ({}), and it {}", self.answer.by(), delivery.text())
            }
            (_, Some(delivery)) => format!("allow, {}, and it {}", self.answer.by(), delivery.text()),
            (_, None) => format!("allow, {}", self.answer.by()),
        }
    }
}

impl Explained {
    fn of_verdict(verdict: Verdict, delivery: Option<Delivery>, place: Place) -> Self {
        let (log, limited, steps) = (verdict.log, verdict.rate_limit.is_some(), verdict.steps.clone());
        Self {
            said: Said::new(Answer::of_verdict(verdict), delivery),
            place,
            log,
            limited,
            entries: None,
            lines: Vec::new(),
            steps: Some(steps),
            disagreement: None,
            version: None,
        }
    }

    fn of_trace(
        trace: Trace<'_>,
        names: &Names,
        delivery: Option<Delivery>,
        (place, why): (Place, Option<String>),
    ) -> Self {
        let line = |entry: &Entry| {
            let table = crate::entries::table_name(schema(), entry.key.table);
            format!("{table}: {}", entry_text(entry, names))
        };
        Self {
            place,
            log: trace.log,
            limited: trace.limiter.is_some(),
            entries: Some(trace.hits.iter().map(|hit| EntryForm::new(schema(), hit.entry)).collect()),
            lines: trace.hits.iter().map(|hit| line(hit.entry)).collect(),
            steps: None,
            disagreement: None,
            version: None,
            said: Said::new(Answer::of_trace(trace, why), delivery),
        }
    }

    /// What follows the verdict.
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let limited = if self.limited { "; passes up to a rate limit" } else { "" };
        let log = if self.log { "; the drop is reported to the controller" } else { "" };
        wrapped(out, 2, 4, &format!("enters in {}{limited}{log}", self.place.text))?;
        if let Some(delivery) = self.said.delivery.as_ref().filter(|delivery| delivery.leaves()) {
            wrapped(out, 2, 4, &delivery.text())?;
        }
        if let Some(again) = &self.said.again {
            wrapped(out, 2, 4, &again.text())?;
        }
        if self.entries.is_some() {
            writeln!(out, "  {}", styled(HEAD, "entries that it hits"))?;
            for line in &self.lines {
                wrapped(out, 4, 6, line)?;
            }
            if self.lines.is_empty() {
                writeln!(out, "    none")?;
            }
        }
        if let Some(steps) = &self.steps {
            writeln!(out, "  {}", styled(HEAD, "what the intent says"))?;
            for step in steps {
                wrapped(out, 4, 6, &step.text)?;
            }
        }
        match self.version {
            Some(0) => writeln!(out, "  the switch holds no policy: nothing passes")?,
            Some(version) => writeln!(out, "  by what the switch holds, version {version} of the policy")?,
            None => {}
        }
        if let Some(files) = &self.said.files {
            let differ = styled(WARN, "the files say something else:");
            wrapped(out, 2, 4, &format!("{differ} {}", files.text()))?;
        }
        if let Some(other) = &self.disagreement {
            let other = format!("{} by {}", other.verdict, other.by());
            let differ = styled(BAD, "they disagree:");
            wrapped(out, 2, 4, &format!("{differ} the intent says {other}; please report this"))?;
        }
        Ok(())
    }
}

/// What a switch holds, or would.
struct Held<'a> {
    lookup: Lookup<'a>,
    entries: &'a Entries,
    groups: &'a [MulticastGroup],
    /// It does, and what the files say of segments is not known there.
    live: bool,
}

/// A switch that is asked.
struct Asked<'a> {
    switch: String,
    /// By the files' entries, if they are compiled.
    files: Option<Held<'a>>,
    /// By what it holds, with --live, and the version of that.
    live: Option<(Held<'a>, u8)>,
}

/// Whom to ask, about which switches.
pub(crate) struct Judge<'a> {
    evaluator: Evaluator<'a>,
    at: Timestamp,
    files: &'a Intent,
    segments: BTreeMap<String, u16>,
    switches: Vec<Asked<'a>>,
    /// Ask the intent.
    intent: bool,
}

impl<'a> Judge<'a> {
    /// Asks the intent if `intent` says so, and the entries if there are any: those that switches hold where it is known
    /// what they hold.
    pub(crate) fn new(
        input: &'a Input,
        compiled: Option<&'a Compiled>,
        live: &'a BTreeMap<String, Live>,
        switches: Vec<String>,
        intent: bool,
    ) -> Self {
        let asked = |switch: String| {
            let state = compiled.and_then(|compiled| compiled.switches.get(&switch));
            let files = state.map(|state| Held {
                lookup: Lookup::new(Program::outplane(), &state.desired.entries, None),
                entries: &state.desired.entries,
                groups: &state.desired.groups,
                live: false,
            });
            let live = live.get(&switch).map(|live| {
                let lookup = Lookup::new(Program::outplane(), &live.entries, Some(live.version));
                (Held { lookup, entries: &live.entries, groups: &live.groups, live: true }, live.version)
            });
            Asked { switch, files, live }
        };
        Self {
            evaluator: Evaluator::new(&input.intent),
            at: input.at,
            files: &input.intent,
            segments: compiled.map(|compiled| compiled.segments.clone()).unwrap_or_default(),
            switches: switches.into_iter().map(asked).collect(),
            intent: intent || compiled.is_none(),
        }
    }

    /// The names of the switches that are asked.
    pub(crate) fn switches(&self) -> impl Iterator<Item = &str> + Clone {
        self.switches.iter().map(|asked| asked.switch.as_str())
    }

    fn verdict(&self, switch: &str, packet: &Packet) -> Option<Verdict> {
        self.intent.then(|| self.evaluator.evaluate(Some(switch), self.at, packet))
    }

    /// What entries do to a packet, and the place where it enters by them.
    fn trace(&self, switch: &str, held: &Held<'a>, packet: &Packet) -> (Trace<'a>, Entrance) {
        let mut entrance = self.evaluator.entrance(Some(switch), packet);
        // A switch finds the segment itself, by port and VLAN, unless somebody says which is meant.
        let finds = held.live && !matches!(packet.ingress, Some(Ingress::Segment(_)));
        if finds {
            entrance.segment = None;
        }
        let trace = held.lookup.trace(packet, &entrance, &self.segments);
        if finds && trace.segment != 0 {
            let named =
                self.segments.iter().find(|(_, id)| **id == trace.segment).map(|(name, _)| name.clone());
            let unknown = || format!("of id {}, which the files do not have", trace.segment);
            entrance.segment = Some(named.unwrap_or_else(unknown));
        }
        (trace, entrance)
    }

    /// Whom its frame is for.
    fn addressee(&self, entrance: &Entrance, packet: &Packet, mac: Option<Mac>) -> Addressee {
        match mac {
            Some(mac) => Addressee { mac: Some(mac.0), why: mac.to_string() },
            None => self.evaluator.addressee(entrance, packet),
        }
    }

    /// Where entries send a packet that passes by them.
    fn delivery(
        &self,
        switch: &str,
        held: &Held<'a>,
        (trace, entrance): (&Trace<'a>, &Entrance),
        packet: &Packet,
        mac: Option<Mac>,
    ) -> Option<Delivery> {
        let declared = self.files.switches.get(switch).filter(|_| trace.allow)?;
        let to = self.addressee(entrance, packet, mac);
        let way = held.lookup.way(trace.segment, entrance.port, to.mac, held.groups);
        Some(Delivery::of_way(&way, entrance, &to, declared))
    }

    fn said(&self, switch: &str, held: &Held<'a>, packet: &Packet, mac: Option<Mac>) -> Said {
        let (trace, entrance) = self.trace(switch, held, packet);
        let delivery = self.delivery(switch, held, (&trace, &entrance), packet, mac);
        let why = self.evaluator.spoofing(switch, &entrance, packet);
        Said::new(Answer::of_trace(trace, why), delivery)
    }

    fn explained(&self, switch: &str, held: &Held<'a>, packet: &Packet, mac: Option<Mac>) -> Explained {
        let (trace, entrance) = self.trace(switch, held, packet);
        let delivery = self.delivery(switch, held, (&trace, &entrance), packet, mac);
        let declared = self.files.switches.get(switch);
        let names = Names::new(self.files, declared, held.entries);
        let guessed = self.is_guess(switch, packet, &entrance);
        let why = self.evaluator.spoofing(switch, &entrance, packet);
        Explained::of_trace(trace, &names, delivery, (Place::new(entrance, declared, guessed), why))
    }

    /// Whether the port is one of several of its segment, and neither the packet nor its host says which.
    fn is_guess(&self, switch: &str, packet: &Packet, entrance: &Entrance) -> bool {
        let (Some(port), Some(segment)) = (entrance.port, &entrance.segment) else { return false };
        if matches!(packet.ingress, Some(Ingress::Port(_))) {
            return false;
        }
        let source = packet.addresses().map(|(source, _)| source);
        let there = |host: &Host| host.port.as_ref().is_some_and(|(at, of)| at == switch && *of == port);
        let of_host =
            |host: &Host| source.is_some_and(|source| host.addresses.contains(&source)) && there(host);
        let segment = self.files.segments.get(segment);
        let ports = segment.and_then(|segment| segment.ports.get(switch)).map_or(0, Vec::len);
        ports > 1 && !self.files.hosts.values().any(of_host)
    }

    /// Where the intent sends a packet that passes.
    fn meant_delivery(&self, switch: &str, packet: &Packet, mac: Option<Mac>) -> Option<Delivery> {
        let declared = self.files.switches.get(switch)?;
        let entrance = self.evaluator.entrance(Some(switch), packet);
        let to = self.addressee(&entrance, packet, mac);
        let leaving = self.evaluator.leaving(Some(switch), &entrance, to.mac);
        Some(Delivery::of_leaving(leaving, &entrance, &to, declared))
    }

    /// What a switch says, with what the files say where that is something else.
    fn compared(&self, asked: &Asked<'a>, live: Said, packet: &Packet, mac: Option<Mac>) -> Said {
        let files = asked.files.as_ref().map(|held| self.said(&asked.switch, held, packet, mac));
        Said { files: files.filter(|files| *files != live).map(Box::new), ..live }
    }

    /// What becomes of a packet that a switch lets through where it enters a second time: in the segment of its
    /// destination, if that is another one, by a router that is not ours. None where somebody says where it enters.
    fn again(&self, asked: &Asked<'a>, said: &Said, packet: &Packet) -> Option<Again> {
        let (src, dst) =
            packet.addresses().filter(|_| packet.ingress.is_none() && packet.traffic() == Traffic::Ip)?;
        let switch = asked.switch.as_str();
        let first = self.evaluator.entrance(Some(switch), packet).segment?;
        let segment = self.evaluator.entrance(Some(switch), &Packet::udp(dst, 0, src, 0)).segment?;
        if said.fate() != Fate::Allow || first == segment {
            return None;
        }
        let packet = Packet { ingress: Some(Ingress::Segment(segment.clone())), ..packet.clone() };
        let held = asked.live.as_ref().map(|(live, _)| live).or(asked.files.as_ref());
        let answer = match held {
            Some(held) => self.said(switch, held, &packet, None).answer,
            None => Answer::of_verdict(self.evaluator.evaluate(Some(switch), self.at, &packet)),
        };
        let port = self.evaluator.entrance(Some(switch), &packet).port;
        Some(Again { segment, port, answer })
    }

    /// The answers alone, by switch; what becomes of a packet in the end, too.
    pub(crate) fn outcomes(&self, packet: &Packet, mac: Option<Mac>) -> Result<Vec<(&str, Said)>, String> {
        let mut answers = self.answers(packet, mac)?;
        for (asked, (_, said)) in self.switches.iter().zip(&mut answers) {
            said.again = self.again(asked, said, packet);
        }
        Ok(answers)
    }

    /// The answers alone, by switch.
    pub(crate) fn answers(&self, packet: &Packet, mac: Option<Mac>) -> Result<Vec<(&str, Said)>, String> {
        let answer = |asked: &Asked<'a>| {
            let switch = &asked.switch;
            if let Some((live, _)) = &asked.live {
                return Ok(self.compared(asked, self.said(switch, live, packet, mac), packet, mac));
            }
            let intent = self.verdict(switch, packet).map(Answer::of_verdict);
            let entries = asked.files.as_ref().map(|held| self.said(switch, held, packet, mac));
            match (entries, intent) {
                (Some(entries), Some(intent)) if entries.answer != intent => Err(format!(
                    "on switch {switch} the entries say {} by {}, the intent {} by {}; please report this",
                    entries.answer.verdict,
                    entries.answer.by(),
                    intent.verdict,
                    intent.by()
                )),
                (Some(said), _) => Ok(said),
                (None, Some(answer)) => {
                    let delivery =
                        if answer.allow() { self.meant_delivery(switch, packet, mac) } else { None };
                    Ok(Said::new(answer, delivery))
                }
                (None, None) => Err(format!("there is no switch {switch}")),
            }
        };
        self.switches.iter().map(|asked| Ok((asked.switch.as_str(), answer(asked)?))).collect()
    }

    /// The answers and how they came about, by switch.
    pub(super) fn explain(&self, packet: &Packet, mac: Option<Mac>) -> Vec<(&str, Explained)> {
        let explain = |asked: &Asked<'a>| {
            let switch = &asked.switch;
            if let Some((live, version)) = &asked.live {
                let mut explained = self.explained(switch, live, packet, mac);
                explained.version = Some(*version);
                explained.said = self.compared(asked, explained.said, packet, mac);
                return Some(explained);
            }
            let intent = self.verdict(switch, packet).map(|verdict| {
                let delivery = if verdict.allow { self.meant_delivery(switch, packet, mac) } else { None };
                let entrance = self.evaluator.entrance(Some(switch), packet);
                let entrance = Entrance { segment: verdict.segment.clone(), ..entrance };
                let guessed = self.is_guess(switch, packet, &entrance);
                let place = Place::new(entrance, self.files.switches.get(switch), guessed);
                Explained::of_verdict(verdict, delivery, place)
            });
            let entries = asked.files.as_ref().map(|held| self.explained(switch, held, packet, mac));
            match (entries, intent) {
                (Some(mut entries), Some(intent)) => {
                    let (own, other) = (&entries.said.answer, intent.said.answer);
                    entries.disagreement = (*own != other).then_some(other);
                    entries.steps = intent.steps;
                    Some(entries)
                }
                (entries, intent) => entries.or(intent),
            }
        };
        let with_again = |asked: &'_ Asked<'a>| {
            let mut explained = explain(asked)?;
            explained.said.again = self.again(asked, &explained.said, packet);
            Some(explained)
        };
        self.switches.iter().filter_map(|asked| Some((asked.switch.as_str(), with_again(asked)?))).collect()
    }
}
