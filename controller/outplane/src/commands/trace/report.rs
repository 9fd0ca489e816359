//! What `trace` prints about one packet.

use std::io::{self, Write};

use outplane_intent::packet::Packet;
use outplane_intent::reader::Sources;
use serde::Serialize;

use super::judge::{Answer, Explained};
use crate::output::{BAD, FAINT, GOOD, HEAD, Report, styled};
use crate::packet::{PacketForm, sentence};

/// One packet on every switch asked for.
#[derive(Serialize)]
pub(super) struct Traced {
    packet: PacketForm,
    #[serde(skip)]
    sentence: String,
    switches: Vec<OnSwitch>,
}

/// One packet on one switch.
#[derive(Serialize)]
struct OnSwitch {
    switch: String,
    #[serde(flatten)]
    answer: Answer,
    /// Where the rule was said: `file:line:column`.
    location: Option<String>,
    #[serde(flatten)]
    explained: Explained,
}

impl Traced {
    pub(super) fn new(packet: &Packet, switches: Vec<(&str, Explained)>, sources: &Sources) -> Self {
        let on_switch = |(switch, explained): (&str, Explained)| {
            let answer = explained.answer.clone();
            let location = answer.location(sources);
            OnSwitch { switch: switch.to_owned(), answer, location, explained }
        };
        Self {
            packet: packet.into(),
            sentence: sentence(packet),
            switches: switches.into_iter().map(on_switch).collect(),
        }
    }

    /// Whether all switches say so.
    pub(super) fn is(&self, allow: bool) -> bool {
        self.switches.iter().all(|switch| switch.answer.allow() == allow)
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
        Ok(())
    }
}

impl OnSwitch {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.answer.allow() { styled(GOOD, "allow") } else { styled(BAD, "deny") };
        writeln!(out, "{} {verdict}: {}", styled(HEAD, format_args!("{}:", self.switch)), self.answer.by())?;
        if let Some(location) = &self.location {
            writeln!(out, "  {}", styled(FAINT, location))?;
        }
        self.explained.text(out)
    }
}
