//! Every address has one owner: hosts and pods, and the subnets of segments.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Resolver;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::source::Place;

/// Who says an address or subnet, in words, its object, and where.
struct Owner {
    object: String,
    at: Place,
}

pub(super) fn check(resolver: &mut Resolver<'_>) {
    owners(resolver);
    subnets(resolver);
}

fn owners(resolver: &mut Resolver<'_>) {
    let declared = resolver.declared;
    let hosts = declared.hosts.iter().flat_map(|(name, entry)| {
        entry
            .value
            .addresses
            .iter()
            .map(move |address| (address.value, Owner { object: format!("Host/{name}"), at: address.at }))
    });
    let pods = declared.pods.iter().flat_map(|(name, entry)| {
        let addresses = entry.value.pod.iter().flat_map(|pod| &pod.addresses).zip(&entry.value.addresses);
        addresses.map(move |(address, at)| {
            (*address, Owner { object: format!("Pod/{}/{}", name.namespace, name.name), at: *at })
        })
    });
    let mut all: Vec<(IpAddr, Owner)> = hosts.chain(pods).collect();
    all.sort_by_key(|(_, owner)| owner.at);
    let mut known: BTreeMap<IpAddr, Owner> = BTreeMap::new();
    for (address, owner) in all {
        let Some(first) = known.get(&address) else {
            known.insert(address, owner);
            continue;
        };
        let (message, help) = if first.object == owner.object {
            (format!("{address} is listed twice"), "remove one of them")
        } else {
            let both = "an address has one owner; correct one of them, or remove the stale object";
            (format!("{address} is an address of {} too", first.object), both)
        };
        let problem =
            Problem::error(Code::Overlap, owner.at, message).also(first.at, "first here").help(help);
        resolver.report(&owner.object, problem);
    }
}

/// Sorted CIDRs contain one another or are apart, so a stack of open ones finds all overlaps.
fn subnets(resolver: &mut Resolver<'_>) {
    let mut all: Vec<(IpNet, &str, Place)> = Vec::new();
    for (name, entry) in &resolver.declared.segments {
        all.extend(entry.value.subnets.iter().map(|subnet| (subnet.value, name.as_str(), subnet.at)));
    }
    all.sort_by_key(|(subnet, _, at)| (subnet.network(), subnet.prefix_len(), *at));
    let mut open: Vec<(IpNet, &str, Place)> = Vec::new();
    for (subnet, name, at) in all {
        while open.last().is_some_and(|(outer, ..)| !outer.contains(&subnet)) {
            open.pop();
        }
        if let Some((outer, other, outer_at)) = open.last() {
            let (message, help) = if *other == name {
                (format!("{subnet} lies in {outer} of the same segment"), "remove one of them")
            } else {
                let message = format!("{subnet} overlaps {outer} of segment {other}");
                (message, "an address belongs to one segment; correct one of them")
            };
            let problem = Problem::error(Code::Overlap, at, message).also(*outer_at, "this one").help(help);
            resolver.report(&format!("Segment/{name}"), problem);
        }
        open.push((subnet, name, at));
    }
}
