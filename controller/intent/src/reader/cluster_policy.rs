//! ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2.
//!
//! What the schema and the rules of the CRD (release 0.2.0, both channels) refuse is refused here too: a policy that a
//! cluster does not take must not mean anything to a switch. The experimental channel's fields are read, but for domain
//! names.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::annotations::Annotations;
use super::decode::{Decoder, Fields, Problem};
use super::diagnostic::Code;
use super::network_policy::{Rules, check_port_name};
use super::render::quoted;
use super::selector::{namespaced_pods, selector};
use super::source::Place;
use super::tree::{Cursor, Items, Said};
use super::values::HostBits;
use crate::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterRule, ClusterTier, LabelSelector, NetworkPort,
    PodsAnywhere, PortProtocol,
};

const TIERS: [(&str, ClusterTier); 2] = [("Admin", ClusterTier::Admin), ("Baseline", ClusterTier::Baseline)];
const ACTIONS: [(&str, ClusterAction); 3] =
    [("Accept", ClusterAction::Accept), ("Deny", ClusterAction::Deny), ("Pass", ClusterAction::Pass)];

/// The most rules of a direction, peers of a rule, items of `protocols` and networks of a peer.
const MOST: usize = 25;

/// A list that has no more items than the CRD lets it have.
fn bounded<'d>(decoder: &mut Decoder<'_>, at: Cursor<'d>, what: &str) -> Option<Items<'d>> {
    let list = decoder.list(at, what)?;
    if list.len() > MOST {
        let message = format!("{what} has {} items, and at most {MOST} are allowed", list.len());
        let help = "use several policies, or several rules";
        decoder.error(Code::InvalidValue, at.place(), message, help);
    }
    Some(list)
}

pub(crate) fn policy(
    decoder: &mut Decoder<'_>,
    spec: Option<Cursor<'_>>,
    at: Place,
    annotations: Annotations,
    rules: &mut Rules,
) -> ClusterNetworkPolicy {
    let everyone = PodsAnywhere { namespaces: LabelSelector::default(), pods: LabelSelector::default() };
    let mut policy = ClusterNetworkPolicy {
        tier: ClusterTier::Admin,
        priority: 0,
        subject: everyone,
        ingress: Vec::new(),
        egress: Vec::new(),
        replies: annotations.replies,
        related_errors: annotations.related_errors,
    };
    let Some(mut fields) = decoder.spec(spec, at) else { return policy };
    if let Some(at) = fields.require(decoder, "tier", "Admin")
        && let Some(tier) = decoder.word(at, "`tier`", &TIERS)
    {
        policy.tier = tier;
    }
    if let Some(at) = fields.require(decoder, "priority", "100") {
        policy.priority = decoder.number(at, "`priority`", 0..=1000).unwrap_or(0);
    }
    if let Some(at) = fields.require(decoder, "subject", "{namespaces: {}}")
        && let Some(subject) = subject(decoder, at)
    {
        policy.subject = subject;
    }
    policy.ingress = rule_list(decoder, &mut fields, "ingress", "from", rules);
    policy.egress = rule_list(decoder, &mut fields, "egress", "to", rules);
    fields.finish(decoder);
    policy
}

fn subject(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<PodsAnywhere> {
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "`subject`")?;
    let mut found = pods_anywhere(decoder, &mut fields);
    let place = fields.place();
    fields.finish(decoder);
    if found.len() == 1 {
        return found.pop();
    }
    if decoder.sink.error_count() == errors {
        let help = "`namespaces: {}` means every pod";
        decoder.error(Code::Conflict, place, "a subject is either `namespaces` or `pods`", help);
    }
    None
}

/// `namespaces` and `pods`, those that are there.
fn pods_anywhere(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> Vec<PodsAnywhere> {
    let mut found = Vec::new();
    if let Some(at) = fields.get("namespaces") {
        let namespaces = selector(decoder, at, "`namespaces`");
        found
            .extend(namespaces.map(|namespaces| PodsAnywhere { namespaces, pods: LabelSelector::default() }));
    }
    if let Some(at) = fields.get("pods") {
        found.extend(namespaced_pods(decoder, at, "`pods`"));
    }
    found
}

fn rule_list(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'_>,
    direction: &'static str,
    peers: &'static str,
    rules: &mut Rules,
) -> Vec<ClusterRule> {
    let Some(list) = fields.get(direction) else { return Vec::new() };
    let Some(list) = bounded(decoder, list, &format!("`{direction}`")) else { return Vec::new() };
    let mut read = Vec::with_capacity(list.len());
    for (number, at) in list.iter().enumerate() {
        let Some((rule, place)) = rule(decoder, at, peers) else { continue };
        let known_as = format!("{direction}[{number}]");
        rules.extend(rule.name.iter().cloned().chain([known_as]).map(|name| (name, place)));
        read.push(rule);
    }
    read
}

fn rule(decoder: &mut Decoder<'_>, at: Cursor<'_>, peers: &'static str) -> Option<(ClusterRule, Place)> {
    const LONGEST: usize = 100;
    let mut fields = decoder.fields(at, "a rule")?;
    let name_at = fields.get("name");
    // The empty name is none.
    let name_at = name_at.filter(|at| !matches!(at.said(), Said::Text("")));
    let name = name_at.and_then(|at| decoder.plain_name(at, "`name`")).map(str::to_owned);
    if let (Some(at), Some(name)) = (name_at, &name)
        && name.chars().count() > LONGEST
    {
        decoder.error(
            Code::InvalidValue,
            at.place(),
            "a rule's name has at most 100 characters",
            "shorten it",
        );
    }
    let place = name_at.map_or_else(|| fields.place(), Cursor::place);
    let action =
        fields.require(decoder, "action", "Deny").and_then(|at| decoder.word(at, "`action`", &ACTIONS));
    let egress = peers == "to";
    let mut read = Vec::new();
    if let Some(list_at) = fields.require(decoder, peers, "[{namespaces: {}}]")
        && let Some(list) = bounded(decoder, list_at, &format!("`{peers}`"))
    {
        if list.len() == 0 {
            let message = format!("`{peers}` is empty");
            let help = "a rule needs at least one peer; `{namespaces: {}}` is every pod";
            decoder.error(Code::MissingField, list_at.place(), message, help);
        }
        read.extend(list.iter().filter_map(|at| peer(decoder, at, egress)));
    }
    let mut ports = Vec::new();
    if let Some(list_at) = fields.get("protocols")
        && let Some(list) = bounded(decoder, list_at, "`protocols`")
    {
        if list.len() == 0 {
            let help = "leave `protocols` out to mean all traffic";
            decoder.error(Code::InvalidValue, list_at.place(), "`protocols` is empty", help);
        }
        ports.extend(list.iter().filter_map(|at| protocol(decoder, at)));
    }
    if fields.get("ports").is_some() {
        let at = fields.key("ports").unwrap_or(place);
        let help = "v1alpha2 says `protocols: [{tcp: {destinationPort: {number: 80}}}]`; without `protocols` the rule \
                    means all traffic";
        decoder.error(Code::UnknownField, at, "`ports` belongs to v1alpha1", help);
    }
    let named =
        ports.iter().any(|port| matches!(port, NetworkPort::Named(..) | NetworkPort::NamedAnyProtocol(_)));
    if named && read.iter().any(|peer| !matches!(peer, ClusterPeer::Pods(_))) {
        let at = fields.key("protocols").unwrap_or(place);
        let help = "write the port's number, or a rule of its own for the pods";
        decoder.error(Code::Conflict, at, "nodes and networks have no named ports", help);
    }
    fields.finish(decoder);
    let rule = ClusterRule { name, action: action.unwrap_or(ClusterAction::Deny), peers: read, ports };
    Some((rule, place))
}

fn peer(decoder: &mut Decoder<'_>, at: Cursor<'_>, egress: bool) -> Option<ClusterPeer> {
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "a peer")?;
    let mut found: Vec<ClusterPeer> =
        pods_anywhere(decoder, &mut fields).into_iter().map(ClusterPeer::Pods).collect();
    let only_egress = |decoder: &mut Decoder<'_>, fields: &Fields<'_>, name: &str| {
        if !egress {
            let at = fields.key(name).unwrap_or_else(|| fields.place());
            let help = "name pods or namespaces; a FilterPolicy can allow or deny by source address";
            decoder.error(Code::Unsupported, at, format!("`{name}` is only for egress rules"), help);
        }
    };
    if let Some(at) = fields.get("nodes") {
        only_egress(decoder, &fields, "nodes");
        found.extend(selector(decoder, at, "`nodes`").map(ClusterPeer::Nodes));
    }
    if let Some(at) = fields.get("networks") {
        only_egress(decoder, &fields, "networks");
        found.extend(networks(decoder, at).map(ClusterPeer::Networks));
    }
    if fields.get("domainNames").is_some() {
        let at = fields.key("domainNames").unwrap_or_else(|| fields.place());
        let help = "switches see addresses, not names; list the addresses with `networks`";
        decoder.error(Code::Unsupported, at, "`domainNames` cannot be enforced by a switch", help);
    }
    let place = fields.place();
    fields.finish(decoder);
    if found.len() == 1 {
        return found.pop();
    }
    if decoder.sink.error_count() == errors {
        let kinds =
            if egress { "`namespaces`, `pods`, `nodes` or `networks`" } else { "`namespaces` or `pods`" };
        let help = "write several peers as separate items of the list";
        decoder.error(Code::Conflict, place, format!("a peer is exactly one of {kinds}"), help);
    }
    None
}

fn networks(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<Vec<IpNet>> {
    let list = bounded(decoder, at, "`networks`")?;
    if list.len() == 0 {
        decoder.error(Code::MissingField, at.place(), "`networks` is empty", "list at least one CIDR");
    }
    // A set, which the API server compares as text.
    let mut known: BTreeMap<&str, Place> = BTreeMap::new();
    let mut read = Vec::with_capacity(list.len());
    for at in list.iter() {
        let Some(network) = decoder.cidr(at, "a network", HostBits::Mask, false) else { continue };
        let text = at.raw().unwrap_or_default();
        if let Some(first) = known.insert(text, at.place()) {
            let problem =
                Problem::error(Code::InvalidValue, at.place(), format!("{} is there twice", quoted(text)));
            decoder.report(problem.also(first, "first here").help("remove one of them"));
        }
        read.push(network);
    }
    Some(read)
}

/// An item of `protocols`: one of `tcp`, `udp`, `sctp` and `destinationNamedPort`.
fn protocol(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<NetworkPort> {
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "an item of `protocols`")?;
    let mut found = Vec::new();
    for (name, protocol) in
        [("tcp", PortProtocol::Tcp), ("udp", PortProtocol::Udp), ("sctp", PortProtocol::Sctp)]
    {
        let Some(at) = fields.get(name) else { continue };
        let Some(mut inner) = decoder.fields(at, &format!("`{name}`")) else { continue };
        if let Some(at) = inner.get("destinationPort") {
            found.extend(number_or_range(decoder, at, protocol));
        } else {
            let help = format!(
                "for all ports write `{name}: {{destinationPort: {{range: {{start: 1, end: 65535}}}}}}`"
            );
            decoder.error(Code::MissingField, at.place(), format!("`{name}` says nothing"), &help);
        }
        inner.finish(decoder);
    }
    if let Some(at) = fields.get("destinationNamedPort")
        && let Some(name) = decoder.text(at, "`destinationNamedPort`")
        && check_port_name(decoder, at, name).is_some()
    {
        found.push(NetworkPort::NamedAnyProtocol(name.to_owned()));
    }
    let place = fields.place();
    fields.finish(decoder);
    let kinds = ("an item of `protocols`", "`tcp`, `udp`, `sctp` and `destinationNamedPort`");
    one_port(decoder, found, place, errors, kinds)
}

fn one_port(
    decoder: &mut Decoder<'_>,
    mut found: Vec<NetworkPort>,
    at: Place,
    errors: usize,
    (what, kinds): (&str, &str),
) -> Option<NetworkPort> {
    if found.len() == 1 {
        return found.pop();
    }
    if decoder.sink.error_count() == errors {
        let problem = if found.is_empty() {
            Problem::error(Code::MissingField, at, format!("{what} needs one of {kinds}"))
        } else {
            Problem::error(Code::Conflict, at, format!("{what} has only one of {kinds}"))
        };
        decoder.report(problem);
    }
    None
}

/// v1alpha2's port: `{number: 80}` or `{range: {start: 80, end: 90}}`.
fn number_or_range(decoder: &mut Decoder<'_>, at: Cursor<'_>, protocol: PortProtocol) -> Option<NetworkPort> {
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "`destinationPort`")?;
    let mut found = Vec::new();
    if let Some(at) = fields.get("number") {
        let number = decoder.number(at, "`number`", 1..=65535);
        found.extend(number.map(|number| NetworkPort::Range(protocol, number, number)));
    }
    if let Some(at) = fields.get("range")
        && let Some(mut range) = decoder.fields(at, "`range`")
    {
        found.extend(start_and_end(decoder, &mut range, protocol));
        range.finish(decoder);
    }
    let place = fields.place();
    fields.finish(decoder);
    one_port(decoder, found, place, errors, ("`destinationPort`", "`number` and `range`"))
}

fn start_and_end(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'_>,
    protocol: PortProtocol,
) -> Option<NetworkPort> {
    let start = fields.require(decoder, "start", "80");
    let end_at = fields.require(decoder, "end", "90");
    let start = start.and_then(|at| decoder.number::<u16>(at, "`start`", 1..=65535));
    let end = end_at.and_then(|at| decoder.number::<u16>(at, "`end`", 1..=65535));
    let (start, end) = (start?, end?);
    if !end_at.is_none_or(|at| decoder.in_order(("start", start), ("end", end), at.place())) {
        return None;
    }
    if start == end {
        let at = end_at.map_or_else(|| fields.place(), Cursor::place);
        let help = format!("write `number: {start}`");
        decoder.error(Code::InvalidValue, at, "`start` and `end` of a range must differ", &help);
        return None;
    }
    Some(NetworkPort::Range(protocol, start, end))
}
