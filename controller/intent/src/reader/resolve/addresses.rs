//! Every address has one owner: hosts and pods, and the subnets of segments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::Resolver;
use crate::model::ObjectName;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::source::Place;

/// Who says an address, its object, and where.
struct Owner<'d> {
    object: String,
    at: Place,
    /// A pod, and what is known of its life.
    pod: Option<(&'d ObjectName, Life)>,
}

/// What is known of a pod's life.
#[derive(Clone, Copy)]
struct Life {
    /// Nobody deletes it.
    stays: bool,
    created: Option<Timestamp>,
}

/// The addresses that pods have no more, because a livelier pod has them.
pub(crate) type Lost = BTreeSet<(ObjectName, IpAddr)>;

/// Addresses that are said more than once.
pub(crate) type Shared = BTreeSet<IpAddr>;

/// Checks who owns addresses: all, or only those that are said more than once, if it is known which: of others there is
/// nothing to say.
pub(crate) fn losers(resolver: &mut Resolver<'_>, shared: Option<&Shared>) -> Lost {
    if shared.is_some_and(BTreeSet::is_empty) {
        return Lost::new();
    }
    let declared = resolver.declared;
    let is_asked = |address: &IpAddr| shared.is_none_or(|shared| shared.contains(address));
    let hosts = declared.hosts.iter().flat_map(|(name, entry)| {
        let addresses = entry.value.addresses.iter().filter(|address| is_asked(&address.value));
        addresses.map(move |address| {
            (address.value, Owner { object: format!("Host/{name}"), at: address.at, pod: None })
        })
    });
    let pods = declared.pods.iter().flat_map(|(name, entry)| {
        let addresses = entry.value.pod.iter().flat_map(|pod| &pod.addresses).zip(&entry.value.addresses);
        let life = Life { stays: !entry.value.deleted, created: entry.value.created };
        addresses.filter(|(address, _)| is_asked(address)).map(move |(address, at)| {
            let object = format!("Pod/{}/{}", name.namespace, name.name);
            (*address, Owner { object, at: *at, pod: Some((name, life)) })
        })
    });
    let mut all: Vec<(IpAddr, Owner<'_>)> = hosts.chain(pods).collect();
    all.sort_by_cached_key(|(_, owner)| resolver.sources.spot(owner.at));
    let mut lost = BTreeSet::new();
    let mut known: BTreeMap<IpAddr, Owner<'_>> = BTreeMap::new();
    for (address, owner) in all {
        let Some(first) = known.get_mut(&address) else {
            known.insert(address, owner);
            continue;
        };
        if let Some(later_lives) = later_lives(first, &owner) {
            let (alive, gone) = if later_lives {
                let gone = std::mem::replace(first, owner);
                (&*first, gone)
            } else {
                (&*first, owner)
            };
            let Some((name, life)) = gone.pod else { continue };
            lost.insert((name.clone(), address));
            let why = if life.stays { "which is newer" } else { "and this pod is being deleted" };
            let message = format!("{address} is an address of {} too, {why}: it counts there", alive.object);
            let help = "policies do not see this pod at that address; leave it out if it is gone";
            let problem =
                Problem::warning(Code::Overlap, gone.at, message).also(alive.at, "there").help(help);
            resolver.report(&gone.object, problem);
            continue;
        }
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
    lost
}

/// Whether of two that have one address the later one counts. None where nothing says so: of two pods one is being
/// deleted, or both say when they were created; a host counts before a pod that is being deleted.
fn later_lives(first: &Owner<'_>, later: &Owner<'_>) -> Option<bool> {
    match (first.pod, later.pod) {
        (Some((one, first)), Some((other, later))) if one != other => {
            if first.stays == later.stays {
                let (first, later) = (first.created?, later.created?);
                return (first != later).then_some(later > first);
            }
            Some(later.stays)
        }
        (None, Some((_, pod))) if !pod.stays => Some(false),
        (Some((_, pod)), None) if !pod.stays => Some(true),
        _ => None,
    }
}

/// Sorted CIDRs contain one another or are apart, so a stack of open ones finds all overlaps.
pub(super) fn subnets(resolver: &mut Resolver<'_>) {
    let mut all: Vec<(IpNet, &str, Place)> = Vec::new();
    for (name, entry) in &resolver.declared.segments {
        all.extend(entry.value.subnets.iter().map(|subnet| (subnet.value, name.as_str(), subnet.at)));
    }
    all.sort_by_key(|(subnet, _, at)| (subnet.network(), subnet.prefix_len(), resolver.sources.spot(*at)));
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
