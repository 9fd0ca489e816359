//! The last step of the `apply` block: where a frame that passes leaves.

use outplane_p4runtime::entry::MulticastGroup;

use super::{Hit, Lookup, Seen};
use crate::program::{ActionKind, Table};

/// Where a frame leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way<'e> {
    /// The entry that sends it there; none: it is dropped, for no entry says where its segment floods to.
    pub hit: Option<Hit<'e>>,
    /// The ports, ascending; none: it is dropped.
    pub ports: Vec<u16>,
}

impl<'e> Lookup<'e> {
    /// Where a frame that passes leaves. `segment` is [`super::Trace::segment`]; `port` is where it entered, if that is
    /// known; `mac` its destination, if that is known; `groups` are the switch's multicast groups.
    pub fn way(
        &self,
        segment: u16,
        port: Option<u16>,
        mac: Option<[u8; 6]>,
        groups: &[MulticastGroup],
    ) -> Way<'e> {
        let mac = mac.map(|mac| mac.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)));
        let seen = Seen { segment, port: port.unwrap_or(0), dst_mac: mac.unwrap_or(0), ..Seen::default() };
        let crossed = port.and_then(|_| self.hit(Table::CrossConnect, &seen));
        let forwarded = || mac.and_then(|_| self.hit(Table::L2Forward, &seen));
        let Some(hit) = crossed.or_else(forwarded).or_else(|| self.hit(Table::Flood, &seen)) else {
            return Way { hit: None, ports: Vec::new() };
        };
        let argument =
            self.program.argument(&hit.entry.action, 0).and_then(|value| u16::try_from(value).ok());
        let mut ports = match (self.program.action_of(hit.entry.action.id), argument) {
            (Some(ActionKind::Forward), Some(port)) => vec![port],
            (Some(ActionKind::FloodTo), Some(group)) => {
                let group = groups.iter().find(|own| own.id == u32::from(group));
                let ports = group.into_iter().flat_map(|group| &group.ports).copied();
                // It does not go back to where it came from.
                ports.filter_map(|to| u16::try_from(to).ok()).filter(|to| Some(*to) != port).collect()
            }
            _ => Vec::new(),
        };
        ports.sort_unstable();
        Way { hit: Some(hit), ports }
    }
}
