//! What peers of rules come down to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Work;
use super::space::{Full, Set};
use crate::evaluate::selects;
use crate::model::{FilterPeer, Intent, LabelSelector};

/// The addresses of one family, then of the other: IPv6, IPv4.
pub(super) type Side = [Set; 2];

pub(super) fn nobody() -> Side {
    [Set::empty(), Set::empty()]
}

/// Ranges of addresses that are kept at most. What needs more is not looked at.
const MOST_RANGES: usize = 4_000_000;

/// What peers come down to. Each is looked up once.
#[derive(Debug)]
pub(super) struct Addresses<'i> {
    intent: &'i Intent,
    everybody: Side,
    named: BTreeMap<(u8, &'i str), Side>,
    pods: BTreeMap<(Option<&'i LabelSelector>, &'i LabelSelector), Side>,
    /// The addresses of hosts, by segment.
    hosts: BTreeMap<&'i str, Vec<IpAddr>>,
    ranges: usize,
}

impl<'i> Addresses<'i> {
    pub(super) fn new(intent: &'i Intent, full: &Full) -> Self {
        let mut hosts = BTreeMap::<_, Vec<_>>::new();
        for host in intent.hosts.values() {
            if let Some(segment) = &host.segment {
                hosts.entry(segment.as_str()).or_default().extend(&host.addresses);
            }
        }
        let everybody = [full.v6.clone(), full.v4.clone()];
        let (named, pods) = Default::default();
        Self { intent, everybody, named, pods, hosts, ranges: 0 }
    }

    /// Of a rule's side. None: too many.
    pub(super) fn of_side(&mut self, peers: &'i [FilterPeer], work: &mut Work) -> Option<Side> {
        match peers {
            [] => Some(self.everybody.clone()),
            [peer] => self.of_peer(peer, work),
            _ => {
                let mut ranges = [Vec::new(), Vec::new()];
                for peer in peers {
                    let side = self.of_peer(peer, work)?;
                    for (all, own) in ranges.iter_mut().zip(&side) {
                        all.extend(own.ranges());
                        work.step(own.ranges().len());
                    }
                    if ranges[0].len() + ranges[1].len() > MOST_RANGES {
                        return None;
                    }
                }
                self.keep(ranges.map(Set::new))
            }
        }
    }

    fn keep(&mut self, side: Side) -> Option<Side> {
        self.ranges += side[0].ranges().len() + side[1].ranges().len();
        (self.ranges <= MOST_RANGES).then_some(side)
    }

    fn of_peer(&mut self, peer: &'i FilterPeer, work: &mut Work) -> Option<Side> {
        let (key, cidrs): (_, Vec<IpNet>) = match peer {
            FilterPeer::Cidr { cidr, except } => {
                let (own, holes) = (of_cidrs([cidr]), of_cidrs(except));
                work.step(except.len());
                return self.keep([own[0].without(&holes[0]), own[1].without(&holes[1])]);
            }
            FilterPeer::Pods { namespaces, pods } => return self.of_pods(namespaces.as_ref(), pods, work),
            FilterPeer::Group(name) | FilterPeer::Segment(name) | FilterPeer::Host(name)
                if self.named.contains_key(&(kind(peer), name)) =>
            {
                return self.named.get(&(kind(peer), name)).cloned();
            }
            FilterPeer::Group(name) => {
                (name, self.intent.groups.get(name).map_or_else(Vec::new, |group| group.cidrs.clone()))
            }
            FilterPeer::Segment(name) => (name, self.segment_cidrs(name)),
            FilterPeer::Host(name) => {
                let host = self.intent.hosts.get(name);
                let addresses = host.into_iter().flat_map(|host| &host.addresses);
                (name, addresses.map(|address| IpNet::from(*address)).collect())
            }
        };
        work.step(cidrs.len());
        let side = self.keep(of_cidrs(&cidrs))?;
        self.named.insert((kind(peer), key), side.clone());
        Some(side)
    }

    fn of_pods(
        &mut self,
        namespaces: Option<&'i LabelSelector>,
        pods: &'i LabelSelector,
        work: &mut Work,
    ) -> Option<Side> {
        if let Some(side) = self.pods.get(&(namespaces, pods)) {
            return Some(side.clone());
        }
        work.step(self.intent.pods.len());
        let in_place = |namespace: &String| {
            namespaces.is_none_or(|selector| {
                self.intent.namespaces.get(namespace).is_some_and(|labels| selects(selector, labels))
            })
        };
        let meant = self
            .intent
            .pods
            .iter()
            .filter(|(name, pod)| selects(pods, &pod.labels) && in_place(&name.namespace));
        let addresses = meant.flat_map(|(_, pod)| &pod.addresses);
        let cidrs: Vec<_> = addresses.map(|address| IpNet::from(*address)).collect();
        let side = self.keep(of_cidrs(&cidrs))?;
        self.pods.insert((namespaces, pods), side.clone());
        Some(side)
    }

    fn segment_cidrs(&self, name: &str) -> Vec<IpNet> {
        let subnets = self.intent.segments.get(name).map_or(&[][..], |segment| &segment.subnets);
        let hosts = self.hosts.get(name).map_or(&[][..], Vec::as_slice);
        subnets.iter().copied().chain(hosts.iter().map(|address| IpNet::from(*address))).collect()
    }

    /// A segment's addresses.
    pub(super) fn of_segment(&self, name: &str) -> Side {
        of_cidrs(&self.segment_cidrs(name))
    }

    /// All pods'.
    pub(super) fn of_all_pods(&self) -> Side {
        let addresses = self.intent.pods.values().flat_map(|pod| &pod.addresses);
        of_cidrs(&addresses.map(|address| IpNet::from(*address)).collect::<Vec<_>>())
    }
}

fn kind(peer: &FilterPeer) -> u8 {
    match peer {
        FilterPeer::Group(_) => 0,
        FilterPeer::Segment(_) => 1,
        FilterPeer::Host(_) => 2,
        FilterPeer::Cidr { .. } => 3,
        FilterPeer::Pods { .. } => 4,
    }
}

fn of_cidrs<'n>(cidrs: impl IntoIterator<Item = &'n IpNet>) -> Side {
    let mut ranges = [Vec::new(), Vec::new()];
    for cidr in cidrs {
        let ends = (bits(cidr.network()), bits(cidr.broadcast()));
        ranges[usize::from(cidr.addr().is_ipv4())].push(ends);
    }
    ranges.map(Set::new)
}

/// An address as a number of its family.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of a family that is this number.
pub(super) fn address(v4: bool, bits: u128) -> IpAddr {
    if v4 { IpAddr::V4(u32::try_from(bits).unwrap_or_default().into()) } else { IpAddr::V6(bits.into()) }
}
