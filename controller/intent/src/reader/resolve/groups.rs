//! Address groups: nested ones are expanded, and none contains itself.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::Resolver;
use crate::model::AddressGroup;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;

/// How many times more CIDRs than the limit are looked at.
const WORK: usize = 5;

/// What is known of a group on the way.
enum State {
    /// It is being expanded: whoever meets it again has found a cycle.
    Open,
    Done,
}

/// A group that is being expanded, and the number of the nested group that comes next.
struct Frame<'n> {
    name: &'n str,
    next: usize,
}

/// Expands every group, depth first and without recursion: a chain of groups may be as long as it likes.
pub(super) fn expand(resolver: &mut Resolver<'_>, limit: usize) -> BTreeMap<String, AddressGroup> {
    let declared = resolver.declared;
    let mut states: BTreeMap<&str, State> = BTreeMap::new();
    let mut expanded: BTreeMap<String, AddressGroup> = BTreeMap::new();
    let (mut total, mut looked_at) = (0_usize, 0_usize);
    for root in declared.groups.keys() {
        if states.contains_key(root.as_str()) {
            continue;
        }
        states.insert(root, State::Open);
        let mut path = vec![Frame { name: root, next: 0 }];
        while let Some(frame) = path.last_mut() {
            let name = frame.name;
            let Some(entry) = declared.groups.get(name) else { break };
            let Some(nested) = entry.value.groups.get(frame.next) else {
                states.insert(name, State::Done);
                path.pop();
                let parts = parts(resolver, name, &expanded);
                // Equal CIDRs come together in the union, but only after all of them have been looked at.
                looked_at = parts.iter().fold(looked_at, |sum, part| sum.saturating_add(part.len()));
                let group = if looked_at > limit.saturating_mul(WORK) {
                    AddressGroup::default()
                } else {
                    union(&parts)
                };
                total = total.saturating_add(group.cidrs.len());
                if total > limit || looked_at > limit.saturating_mul(WORK) {
                    let message = format!("address groups expand to more than {limit} CIDRs");
                    let help = "nest fewer groups, or merge CIDRs into shorter ones";
                    resolver.report(&object(name), Problem::error(Code::Limit, entry.at, message).help(help));
                    return expanded;
                }
                expanded.insert(name.to_owned(), group);
                continue;
            };
            frame.next += 1;
            match (declared.groups.get_key_value(&nested.value), states.get(nested.value.as_str())) {
                (None, _) => {
                    let names = declared.groups.keys().map(String::as_str);
                    resolver.unknown(&object(name), "AddressGroup", &nested.value, nested.at, names);
                }
                (Some(_), Some(State::Open)) => {
                    let start = path.iter().position(|frame| frame.name == nested.value).unwrap_or(0);
                    let names = path[start..].iter().map(|frame| frame.name).chain([nested.value.as_str()]);
                    let names: Vec<&str> = names.collect();
                    let message = format!("this group contains itself: {}", shortened(&names));
                    let problem = Problem::error(Code::Cycle, nested.at, message);
                    resolver
                        .report(&object(name), problem.help("remove one of the nested groups of this chain"));
                }
                (Some(_), Some(State::Done)) => {}
                (Some((nested, _)), None) => {
                    states.insert(nested, State::Open);
                    path.push(Frame { name: nested, next: 0 });
                }
            }
        }
    }
    expanded
}

fn object(name: &str) -> String {
    format!("AddressGroup/{name}")
}

/// Own CIDRs, then those of each nested group.
fn parts<'c>(
    resolver: &Resolver<'c>,
    name: &str,
    expanded: &'c BTreeMap<String, AddressGroup>,
) -> Vec<&'c [IpNet]> {
    let Some(entry) = resolver.declared.groups.get(name) else { return Vec::new() };
    let nested = entry.value.groups.iter().filter_map(|nested| expanded.get(&nested.value));
    std::iter::once(&entry.value.cidrs[..]).chain(nested.map(|group| &group.cidrs[..])).collect()
}

/// Every CIDR once, in the order in which they come.
fn union(parts: &[&[IpNet]]) -> AddressGroup {
    let mut seen: BTreeSet<IpNet> = BTreeSet::new();
    let all = parts.iter().copied().flatten();
    AddressGroup { cidrs: all.filter(|cidr| seen.insert(**cidr)).copied().collect() }
}

/// `a > b > c`, the middle of long chains left out.
fn shortened(names: &[&str]) -> String {
    const LONGEST: usize = 8;
    if names.len() <= LONGEST {
        return names.join(" > ");
    }
    let (first, last) = (&names[..LONGEST / 2], &names[names.len() - LONGEST / 2..]);
    format!("{} > ... > {}", first.join(" > "), last.join(" > "))
}
