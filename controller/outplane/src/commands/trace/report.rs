//! What `trace` prints about one packet.

use std::io::{self, Write};

use outplane_intent::described::{Fate, PacketForm, sentence};
use outplane_intent::packet::Packet;
use outplane_intent::reader::Sources;
use serde::Serialize;

use super::judge::Explained;
use crate::output::{BAD, FAINT, GOOD, HEAD, Report, styled, wrapped};

/// One packet on every switch asked for.
#[derive(Serialize)]
pub(super) struct Traced {
    packet: PacketForm,
    #[serde(skip)]
    sentence: String,
    switches: Vec<OnSwitch>,
    /// With --live: the switches that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<Unread>,
    /// What should have become of it, where that is something else on some switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Fate>,
}

/// A switch that could not be read.
#[derive(Serialize)]
struct Unread {
    switch: String,
    error: String,
}

/// One packet on one switch.
#[derive(Serialize)]
struct OnSwitch {
    switch: String,
    /// Where the rule was said: `file:line:column`.
    location: Option<String>,
    #[serde(flatten)]
    explained: Explained,
}

impl Traced {
    pub(super) fn new(packet: &Packet, switches: Vec<(&str, Explained)>, sources: &Sources) -> Self {
        let on_switch = |(switch, explained): (&str, Explained)| {
            let location = explained.said.answer.location(sources);
            OnSwitch { switch: switch.to_owned(), location, explained }
        };
        Self {
            packet: packet.into(),
            sentence: sentence(packet),
            switches: switches.into_iter().map(on_switch).collect(),
            unread: Vec::new(),
            expected: None,
        }
    }

    /// With the switches that could not be read, and why.
    pub(super) fn unread(&mut self, missing: &[(String, String)]) {
        let unread =
            |(switch, error): &(String, String)| Unread { switch: switch.clone(), error: error.clone() };
        self.unread = missing.iter().map(unread).collect();
    }

    /// With what should become of it on all switches; whether it does.
    pub(super) fn expecting(&mut self, fate: Option<Fate>) -> bool {
        let other =
            |fate: &Fate| self.switches.iter().any(|switch| switch.explained.said.outcome().0 != *fate);
        self.expected = fate.filter(other);
        self.expected.is_none()
    }

    /// Whether intent and entries say the same, where both were asked.
    pub(super) fn agreed(&self) -> bool {
        self.switches.iter().all(|switch| switch.explained.disagreement.is_none())
    }
}

impl Report for Traced {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.sentence)?;
        for switch in &self.switches {
            writeln!(out)?;
            switch.text(out)?;
        }
        for Unread { switch, error } in &self.unread {
            let name = styled(HEAD, format_args!("{switch}:"));
            writeln!(out)?;
            wrapped(out, 0, 2, &format!("{name} {}: {error}", styled(BAD, "cannot be read")))?;
        }
        if let Some(expected) = self.expected {
            writeln!(out, "\n{} {}", styled(BAD, "not as expected:"), expected.word())?;
        }
        Ok(())
    }
}

impl OnSwitch {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = styled(HEAD, format_args!("{}:", self.switch));
        let said = &self.explained.said;
        let by = said.answer.by();
        match (said.fate(), &said.delivery) {
            (Fate::Drop, Some(delivery)) => {
                wrapped(out, 0, 2, &format!("{name} {}: {}", styled(BAD, "dropped"), delivery.why()))?;
                wrapped(out, 2, 4, &format!("no policy denies it: {by}"))?;
            }
            (Fate::Deny, _) => wrapped(out, 0, 2, &format!("{name} {}: {by}", styled(BAD, "deny")))?,
            _ => wrapped(out, 0, 2, &format!("{name} {}: {by}", styled(GOOD, "allow")))?,
        }
        if let Some(location) = &self.location {
            writeln!(out, "  {}", styled(FAINT, location))?;
        }
        self.explained.text(out)
    }
}
