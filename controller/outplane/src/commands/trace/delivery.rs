//! Where a packet that passes leaves, for people and machines.

use outplane_compiler::lookup::Way;
use outplane_compiler::program::Table;
use outplane_intent::evaluate::{Addressee, Entrance, Leaving, LeavingBy};
use outplane_intent::model::Switch;
use serde::Serialize;

/// How a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// By the port that its own is paired with.
    CrossConnect,
    /// By the port of the host that it is for.
    Host,
    /// By all ports of its segment.
    Flood,
    /// Not at all, although no policy denies it.
    Dropped,
}

/// Where a packet that passes leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Delivery {
    how: How,
    /// The ports that it leaves by.
    ports: Vec<u16>,
    /// In words, why there.
    why: String,
    /// The ports, with the names that people gave them.
    #[serde(skip)]
    named: Vec<String>,
}

impl Delivery {
    /// As the entries forward it.
    pub(super) fn of_way(way: &Way<'_>, entrance: &Entrance, to: &Addressee, switch: &Switch) -> Self {
        let by = match way.hit.as_ref().map(|hit| hit.table) {
            Some(Table::CrossConnect) => LeavingBy::CrossConnect,
            Some(Table::L2Forward) => LeavingBy::Host,
            _ => LeavingBy::Flood,
        };
        Self::new(by, way.ports.clone(), entrance, to, switch)
    }

    /// As the intent forwards it.
    pub(super) fn of_leaving(leaving: Leaving, entrance: &Entrance, to: &Addressee, switch: &Switch) -> Self {
        Self::new(leaving.by, leaving.ports.into_iter().collect(), entrance, to, switch)
    }

    fn new(by: LeavingBy, ports: Vec<u16>, entrance: &Entrance, to: &Addressee, switch: &Switch) -> Self {
        let how = match by {
            _ if ports.is_empty() => How::Dropped,
            LeavingBy::CrossConnect => How::CrossConnect,
            LeavingBy::Host => How::Host,
            LeavingBy::Flood => How::Flood,
        };
        let why = match (how, &entrance.segment) {
            (How::Dropped, segment) => nowhere(entrance, segment.as_deref(), switch),
            (How::CrossConnect, _) => "cross-connected".to_owned(),
            (How::Flood, _) if to.mac.is_some() => format!("{} is at no port here that is known", to.why),
            (How::Host | How::Flood, _) => to.why.clone(),
        };
        let named = ports.iter().map(|port| named(*port, switch)).collect();
        Self { how, ports, why, named }
    }

    /// Whether it leaves.
    pub(super) fn leaves(&self) -> bool {
        self.how != How::Dropped
    }

    /// Why it does, or does not.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let ports = self.named.join(", ");
        let word = if self.named.len() == 1 { "port" } else { "ports" };
        match self.how {
            How::Dropped => format!("leaves nowhere: {}", self.why),
            How::CrossConnect | How::Host => format!("leaves by {word} {ports}: {}", self.why),
            How::Flood => format!("leaves by {word} {ports}, flooded: {}", self.why),
        }
    }
}

pub(super) fn named(port: u16, switch: &Switch) -> String {
    match switch.ports.get(&port).and_then(|port| port.name.as_ref()) {
        Some(name) => format!("{port} ({name})"),
        None => port.to_string(),
    }
}

/// Why there is no port for it to leave by.
fn nowhere(entrance: &Entrance, segment: Option<&str>, switch: &Switch) -> String {
    if let Some(segment) = segment {
        return format!("segment {segment} has no other port on this switch");
    }
    let frames = match entrance.vlan {
        Some(vlan) => format!("frames of VLAN {vlan}"),
        None => "untagged frames".to_owned(),
    };
    let at = match entrance.port {
        Some(port) if switch.ports.contains_key(&port) => format!(" at port {}", named(port, switch)),
        Some(port) => format!(" at port {port}, which nobody declares"),
        None => String::new(),
    };
    format!("no segment takes {frames}{at}, and no other port is without a segment")
}
