//! What the numbers in a switch's entries stand for, for people: segments, ports, hosts, groups, protocols.
//!
//! A class has no name of its own. It stands for the addresses (or ports) that the tables of classes give it, and these
//! are called as the files call them.

use std::collections::BTreeMap;

use outplane_compiler::compile::segment_ids;
use outplane_compiler::entries::Entries;
use outplane_compiler::numbers::Numbers;
use outplane_compiler::program::{Field, Program, Table};
use outplane_intent::model::{Intent, Switch};
use outplane_p4runtime::bytestring::max_value;
use outplane_p4runtime::entry::{Action, Entry, Match, MeterCell, MulticastGroup};

use crate::values::{origin_text, value_text};

/// So many names of a class, or of a match on several classes, are shown.
const SHOWN: usize = 3;

/// The names behind the numbers of one switch's entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    segments: BTreeMap<u16, String>,
    ports: BTreeMap<u16, String>,
    macs: BTreeMap<u128, String>,
    filter: Classes,
    pod: Classes,
    sport: Classes,
    dport: Classes,
    /// Rules by the cell of the rate limiter.
    limiters: BTreeMap<u128, String>,
}

impl Names {
    /// Of the entries that one switch holds, or should. `switch` is its object, if there is one.
    pub(crate) fn new(intent: &Intent, switch: Option<&Switch>, entries: &Entries) -> Self {
        let ids = segment_ids(intent, &Numbers::default());
        let ports = switch.into_iter().flat_map(|switch| &switch.ports);
        let mac = |mac: [u8; 6]| mac.iter().fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        let hosts = intent.hosts.iter();
        let mut names = Self {
            segments: ids.into_iter().map(|(name, id)| (id, name)).collect(),
            ports: ports.filter_map(|(number, port)| Some((*number, port.name.clone()?))).collect(),
            macs: hosts.filter_map(|(name, host)| Some((mac(host.mac?), format!("host {name}")))).collect(),
            ..Self::default()
        };
        let addresses = addresses(intent);
        // The same classes for sources and destinations; of each family hosts before what is around them.
        let mut ordered: Vec<&Entry> = entries.iter().collect();
        ordered.sort_by_key(|entry| (entry.key.table, std::cmp::Reverse(entry.key.priority)));
        for entry in ordered {
            names.learn(&addresses, entry);
        }
        names
    }

    fn learn(&mut self, addresses: &BTreeMap<String, String>, entry: &Entry) {
        let program = Program::outplane();
        let Some(table) = program.table_of(entry.key.table) else { return };
        let argument = |place| program.argument(&entry.action, place).unwrap_or(0);
        match table {
            Table::DstV4Class | Table::DstV6Class => {
                let bits = if table == Table::DstV4Class { 32 } else { 128 };
                let prefix = matched(program, entry, Field::Address)
                    .map_or_else(|| "any other address".to_owned(), |found| value_text(found, bits));
                let name = addresses.get(&prefix).cloned().unwrap_or(prefix);
                self.filter.add(argument(0), &name);
                self.pod.add(argument(1), &name);
            }
            Table::SportClass | Table::DportClass => {
                let ports = matched(program, entry, Field::Port)
                    .map_or_else(|| "any port".to_owned(), |found| value_text(found, 16));
                let classes = if table == Table::SportClass { &mut self.sport } else { &mut self.dport };
                classes.add(argument(0), &ports);
            }
            Table::FilterAdmin | Table::FilterBaseline => {
                let info = program.schema().action(entry.action.id);
                let limiter = entry.action.params.iter().find(|(id, _)| {
                    info.and_then(|info| info.param(*id)).is_some_and(|param| param.name == "limiter")
                });
                if let Some((_, cell)) = limiter {
                    self.limiters.entry(*cell).or_insert_with(|| origin_text(&entry.metadata));
                }
            }
            _ => {}
        }
    }

    /// A segment by its id.
    pub(crate) fn segment(&self, id: u16) -> Option<String> {
        self.segments.get(&id).cloned()
    }

    /// A port by its number.
    pub(crate) fn port_name(&self, number: u16) -> Option<String> {
        self.ports.get(&number).cloned()
    }

    /// The rule that a cell of the rate limiter is for.
    pub(crate) fn limiter(&self, cell: u16) -> Option<String> {
        self.limiters.get(&cell.into()).cloned()
    }

    /// What the value of a match field stands for.
    pub(crate) fn of_match(&self, table: u32, field: u32, matches: Match) -> Option<String> {
        let program = Program::outplane();
        let table = program.table_of(table)?;
        let field = program.field_of(table, field)?;
        let (value, mask) = match matches {
            Match::Exact(value) | Match::Optional(value) => (value, None),
            Match::Ternary { value, mask } => (value, Some(mask)),
            Match::Lpm { .. } | Match::Range { .. } => return None,
        };
        let bits = table.fields().iter().find(|(known, _)| *known == field).map_or(0, |(_, bits)| *bits);
        let exact = mask.is_none_or(|mask| mask == max_value(bits));
        let filter = matches!(table, Table::FilterAdmin | Table::FilterBaseline);
        let classes = match field {
            Field::SrcClass | Field::DstClass if filter => &self.filter,
            Field::SrcClass | Field::DstClass => &self.pod,
            Field::SportClass => &self.sport,
            Field::DportClass => &self.dport,
            Field::Segment if exact => return named(&self.segments, value),
            Field::IngressPort if exact => return named(&self.ports, value),
            Field::DstMac if exact => return self.macs.get(&value).cloned(),
            Field::Traffic if exact => return traffic(value).map(str::to_owned),
            Field::Protocol if exact => return protocol(value).map(str::to_owned),
            _ => return None,
        };
        classes.of_cube(value, mask.unwrap_or(u128::MAX))
    }

    /// What an argument of an entry's action stands for.
    pub(crate) fn of_argument(&self, table: u32, parameter: &str, value: u128) -> Option<String> {
        match parameter {
            "segment" | "group" => named(&self.segments, value),
            "port" => named(&self.ports, value),
            "filter_class" => self.filter.of_cube(value, u128::MAX),
            "pod_class" => self.pod.of_cube(value, u128::MAX),
            "port_class" if Program::outplane().table_of(table) == Some(Table::SportClass) => {
                self.sport.of_cube(value, u128::MAX)
            }
            "port_class" => self.dport.of_cube(value, u128::MAX),
            _ => None,
        }
    }

    /// An action in words, with what its arguments stand for.
    pub(crate) fn action(&self, table: u32, action: &Action) -> String {
        let schema = Program::outplane().schema();
        let info = schema.action(action.id);
        let plain = schema.describe_action(action);
        let Some(info) = info.filter(|_| !action.params.is_empty()) else { return plain };
        let inside = plain.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
        let said = inside.split(", ").zip(&action.params).map(|(text, (id, value))| {
            let name = info.param(*id).and_then(|param| self.of_argument(table, &param.name, *value));
            with(text, name)
        });
        format!("{}({})", info.alias, said.collect::<Vec<_>>().join(", "))
    }

    /// Whose frames a multicast group carries.
    pub(crate) fn of_group(&self, group: &MulticastGroup) -> Option<String> {
        named(&self.segments, group.id.into()).map(|segment| format!("segment {segment}"))
    }

    /// Whose packets a cell of the rate limiter counts.
    pub(crate) fn of_meter(&self, cell: &MeterCell) -> Option<String> {
        self.limiters.get(&u128::try_from(cell.index).ok()?).cloned()
    }

    /// A port of the switch, with its name if it has one.
    pub(crate) fn port(&self, number: u32) -> String {
        with(&number.to_string(), named(&self.ports, number.into()))
    }
}

/// `text (name)`.
pub(crate) fn with(text: &str, name: Option<String>) -> String {
    match name {
        Some(name) => format!("{text} ({name})"),
        None => text.to_owned(),
    }
}

fn named(names: &BTreeMap<u16, String>, value: u128) -> Option<String> {
    names.get(&u16::try_from(value).ok()?).cloned()
}

fn matched(program: &Program, entry: &Entry, field: Field) -> Option<Match> {
    let table = program.table_of(entry.key.table)?;
    let id = program.field(table, field)?;
    entry.key.matches.iter().find(|found| found.field == id).map(|found| found.matches)
}

/// What stands for an address or prefix, by how it is written. A host is named before a segment, and that before a group.
fn addresses(intent: &Intent) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let written = |cidr: String| match cidr.strip_suffix("/32").or_else(|| cidr.strip_suffix("/128")) {
        Some(address) => address.to_owned(),
        None => cidr,
    };
    for (name, group) in intent.groups.iter().rev() {
        let cidrs = group.cidrs.iter().map(|cidr| written(cidr.to_string()));
        names.extend(cidrs.map(|cidr| (cidr, format!("group {name}"))));
    }
    for (name, segment) in &intent.segments {
        let subnets = segment.subnets.iter().map(|cidr| written(cidr.to_string()));
        names.extend(subnets.map(|cidr| (cidr, format!("segment {name}"))));
    }
    for (name, node) in &intent.nodes {
        names.extend(node.addresses.iter().map(|address| (address.to_string(), format!("node {name}"))));
    }
    for (name, pod) in &intent.pods {
        let label = format!("pod {}/{}", name.namespace, name.name);
        names.extend(pod.addresses.iter().map(|address| (address.to_string(), label.clone())));
    }
    for (name, host) in &intent.hosts {
        names.extend(host.addresses.iter().map(|address| (address.to_string(), format!("host {name}"))));
    }
    names
}

fn traffic(value: u128) -> Option<&'static str> {
    Some(match value {
        0 => "IP",
        1 => "ARP",
        2 => "neighbour discovery",
        3 => "neither IP nor ARP",
        4 => "unread",
        _ => return None,
    })
}

fn protocol(value: u128) -> Option<&'static str> {
    Some(match value {
        1 => "ICMP",
        2 => "IGMP",
        6 => "TCP",
        17 => "UDP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        132 => "SCTP",
        _ => return None,
    })
}

/// Classes of one kind, and what each stands for, each name once.
#[derive(Clone, Debug, Default)]
struct Classes(BTreeMap<u128, Vec<String>>);

impl Classes {
    /// Class 0 is whatever no policy names.
    fn add(&mut self, class: u128, name: &str) {
        if class == 0 {
            return;
        }
        let names = self.0.entry(class).or_default();
        // One more than are shown says that there are more.
        if names.len() <= SHOWN && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    /// What the classes stand for that a value under a mask matches.
    fn of_cube(&self, value: u128, mask: u128) -> Option<String> {
        let mut found: Vec<&str> = Vec::new();
        let free = !u16::try_from(mask & 0xffff).unwrap_or(u16::MAX);
        // Whichever is less: the classes that there are, or the numbers that match.
        let few = 1_usize << free.count_ones() <= self.0.len();
        let candidates: Box<dyn Iterator<Item = &Vec<String>>> = if few {
            let mut next = Some(0_u16);
            let numbers = std::iter::from_fn(move || {
                let bits = next?;
                next = Some(bits.wrapping_sub(free) & free).filter(|bits| *bits != 0);
                Some(value & mask | u128::from(bits))
            });
            Box::new(numbers.filter_map(|class| self.0.get(&class)))
        } else {
            Box::new(
                self.0.iter().filter(move |(class, _)| *class & mask == value & mask).map(|(_, names)| names),
            )
        };
        for name in candidates.flatten() {
            if !found.contains(&name.as_str()) {
                found.push(name);
            }
            if found.len() > SHOWN {
                break;
            }
        }
        match found.len() {
            0 => None,
            shown if shown > SHOWN => Some(format!("{}, ..", found[..SHOWN].join(", "))),
            _ => Some(found.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use outplane_compiler::compile::{self, Options};
    use outplane_intent::reader;

    use super::*;

    const CAMPUS: [&str; 2] = ["network.yaml", "policy.yaml"];

    fn campus() -> (Intent, Entries) {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/campus");
        let texts = CAMPUS.map(|name| (name, std::fs::read_to_string(root.join(name)).unwrap()));
        let intent = reader::parse(texts).unwrap().intent;
        let at = jiff::Timestamp::UNIX_EPOCH;
        let mut compiled = compile::compile(&intent, &Options { at }).unwrap();
        (intent, compiled.switches.remove("core").unwrap().desired.entries)
    }

    #[test]
    fn classes_are_called_as_the_files_call_what_is_in_them() {
        let (intent, entries) = campus();
        let names = Names::new(&intent, intent.switches.get("core"), &entries);
        let program = Program::outplane();
        let class_of = |host: &str| {
            let address = intent.hosts[host].addresses[0].to_string();
            let of_host = |entry: &&Entry| {
                program.table_of(entry.key.table) == Some(Table::DstV4Class)
                    && matched(program, entry, Field::Address).is_some_and(|m| value_text(m, 32) == address)
            };
            program.argument(&entries.iter().find(of_host).unwrap().action, 0).unwrap()
        };
        for host in ["web", "dns", "admin-laptop"] {
            assert_eq!(names.filter.of_cube(class_of(host), 0xffff), Some(format!("host {host}")));
        }
        let all = names.filter.of_cube(0, 0).unwrap();
        assert!(all.ends_with(", .."), "{all}");
        assert_eq!(names.filter.of_cube(0, 0xffff), None, "class 0 is nobody's");
        assert_eq!(names.port(1), "1 (office-a)");
    }

    #[test]
    fn both_ways_to_find_the_classes_of_a_cube_agree() {
        let mut many = Classes::default();
        for class in 1..400_u128 {
            many.add(class, &format!("{class}"));
        }
        for (value, mask) in [(8, 0xfffe), (1, 0xfff5), (256, 0xff00), (0, 0xfff0), (7, 0xffff)] {
            let slow: Vec<String> = many
                .0
                .iter()
                .filter(|(class, _)| *class & mask == value)
                .map(|(_, n)| n[0].clone())
                .collect();
            let fast = many.of_cube(value, mask).unwrap();
            let shown: Vec<&str> = fast.split(", ").collect();
            assert_eq!(shown[0], slow[0], "{value}/{mask:#x}: {fast}");
            assert_eq!(shown.len().min(SHOWN), slow.len().min(SHOWN), "{value}/{mask:#x}: {fast}");
        }
    }
}
