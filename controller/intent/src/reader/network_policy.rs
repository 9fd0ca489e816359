//! NetworkPolicy of networking.k8s.io/v1, with the defaults and checks of the API server.

use super::annotations::Annotations;
use super::decode::{Decoder, Fields, Problem};
use super::diagnostic::Code;
use super::pods::PROTOCOLS;
use super::render::quoted;
use super::selector::{peer_selectors, selector};
use super::source::Place;
use super::tree::{Cursor, Said};
use super::values::{HostBits, within};
use crate::deciders;
use crate::model::{LabelSelector, NetworkPeer, NetworkPolicy, NetworkPolicyRule, NetworkPort, PortProtocol};

/// Name and place of each rule.
pub(crate) type Rules = Vec<(String, Place)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

pub(crate) fn policy(
    decoder: &mut Decoder<'_>,
    spec: Option<Cursor<'_>>,
    at: Place,
    annotations: Annotations,
    rules: &mut Rules,
) -> NetworkPolicy {
    let mut policy = NetworkPolicy {
        pods: LabelSelector::default(),
        ingress: None,
        egress: None,
        replies: annotations.replies,
        related_errors: annotations.related_errors,
        log: annotations.log,
    };
    let Some(mut fields) = decoder.spec(spec, at) else { return policy };
    if let Some(at) = fields.get("podSelector") {
        policy.pods = selector(decoder, at, "`podSelector`").unwrap_or_default();
    } else {
        let message = "without `podSelector` the policy is for every pod of the namespace";
        let place = fields.place();
        decoder.report(
            Problem::warning(Code::MissingField, place, message).help("write `podSelector: {}` to say so"),
        );
    }
    let types = fields.get("policyTypes").and_then(|at| policy_types(decoder, at)).unwrap_or_default();
    let ingress = rule_list(decoder, &mut fields, "ingress", "from", rules);
    let egress = rule_list(decoder, &mut fields, "egress", "to", rules);

    // Without types: ingress, and egress if it has rules (the API server's defaults).
    let for_ingress = types.is_empty() || types.contains(&Direction::Ingress);
    let for_egress = if types.is_empty() {
        egress.as_ref().is_some_and(|rules| !rules.is_empty())
    } else {
        types.contains(&Direction::Egress)
    };
    for (name, list, taken) in [("ingress", &ingress, for_ingress), ("egress", &egress, for_egress)] {
        if !taken && list.as_ref().is_some_and(|rules| !rules.is_empty()) {
            let at = fields.key(name).unwrap_or(at);
            let message = format!("these rules do nothing: `policyTypes` leaves `{name}` out");
            let help = "add the type, or remove the rules";
            decoder.report(Problem::warning(Code::Conflict, at, message).help(help));
        }
    }
    fields.finish(decoder);
    policy.ingress = for_ingress.then(|| ingress.unwrap_or_default());
    policy.egress = for_egress.then(|| egress.unwrap_or_default());
    rules.push((deciders::ISOLATION.to_owned(), at));
    policy
}

fn policy_types(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<Vec<Direction>> {
    let choices = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
    let types = decoder.list(at, "`policyTypes`")?;
    Some(types.iter().filter_map(|at| decoder.word(at, "a policy type", &choices)).collect())
}

fn rule_list(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'_>,
    direction: &'static str,
    peers: &'static str,
    rules: &mut Rules,
) -> Option<Vec<NetworkPolicyRule>> {
    let list = fields.get(direction)?;
    let list = decoder.list(list, &format!("`{direction}`"))?;
    let mut read = Vec::with_capacity(list.len());
    for (number, at) in list.iter().enumerate() {
        rules.push((format!("{direction}[{number}]"), at.place()));
        if matches!(at.said(), Said::Null) {
            let help = "write `{}` for a rule that allows everything, or remove it";
            decoder.error(Code::WrongType, at.place(), "a rule is empty", help);
            continue;
        }
        read.extend(rule(decoder, at, peers));
    }
    Some(read)
}

fn rule(decoder: &mut Decoder<'_>, at: Cursor<'_>, peers: &'static str) -> Option<NetworkPolicyRule> {
    let mut fields = decoder.fields(at, "a rule")?;
    let list = fields.get(peers).and_then(|at| decoder.list(at, &format!("`{peers}`")));
    let peers = list.iter().flat_map(|items| items.iter()).filter_map(|at| peer(decoder, at)).collect();
    let list = fields.get("ports").and_then(|at| decoder.list(at, "`ports`"));
    let ports = list.iter().flat_map(|items| items.iter()).filter_map(|at| port(decoder, at)).collect();
    fields.finish(decoder);
    Some(NetworkPolicyRule { peers, ports })
}

fn peer(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<NetworkPeer> {
    let mut fields = decoder.fields(at, "a peer")?;
    let block_at = fields.get("ipBlock");
    let selectors = peer_selectors(decoder, &mut fields);
    let place = fields.place();
    fields.finish(decoder);
    match (block_at, selectors.at) {
        (Some(_), Some(_)) => {
            let help = "write them as separate items of the list";
            let message = "a peer is `ipBlock`, or pods by selectors, not both";
            decoder.error(Code::Conflict, place, message, help);
            None
        }
        (Some(at), None) => ip_block(decoder, at),
        (None, Some(_)) => Some(NetworkPeer::Pods {
            namespaces: selectors.namespaces,
            pods: selectors.pods.unwrap_or_default(),
        }),
        (None, None) => {
            let help =
                "add `podSelector`, `namespaceSelector` or `ipBlock`; leave the list out to mean everything";
            decoder.error(Code::MissingField, place, "a peer says nothing", help);
            None
        }
    }
}

fn ip_block(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<NetworkPeer> {
    let mut fields = decoder.fields(at, "`ipBlock`")?;
    let cidr = fields
        .require(decoder, "cidr", "10.0.0.0/8")
        .and_then(|at| decoder.cidr(at, "`cidr`", HostBits::Mask, false));
    let list = fields.get("except").and_then(|at| decoder.list(at, "`except`"));
    let mut except = Vec::new();
    for at in list.iter().flat_map(|items| items.iter()) {
        let hole = decoder.cidr(at, "an item of `except`", HostBits::Mask, false);
        if let (Some(cidr), Some(hole)) = (cidr, hole)
            && within(decoder, at, cidr, hole)
        {
            except.push(hole);
        }
    }
    fields.finish(decoder);
    Some(NetworkPeer::IpBlock { cidr: cidr?, except })
}

fn port(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<NetworkPort> {
    let mut fields = decoder.fields(at, "an item of `ports`")?;
    let protocol = match fields.get("protocol") {
        Some(at) => decoder.word(at, "`protocol`", &PROTOCOLS),
        None => Some(PortProtocol::Tcp),
    };
    let port_at = fields.get("port");
    let end_at = fields.get("endPort");
    fields.finish(decoder);
    let end = end_at.map(|at| decoder.number::<u16>(at, "`endPort`", 1..=65535));
    let Some(port_at) = port_at else {
        if let Some(at) = end_at {
            let help = "add `port`, the first port of the range";
            decoder.error(Code::MissingField, at.place(), "`endPort` without `port`", help);
            return None;
        }
        return protocol.map(NetworkPort::All);
    };
    if let Said::Text(name) = port_at.said() {
        check_port_name(decoder, port_at, name)?;
        if let Some(at) = end_at {
            let help = "write the numbers of the range, or leave `endPort` out";
            decoder.error(Code::Conflict, at.place(), "`endPort` beside a named port", help);
            return None;
        }
        return protocol.map(|protocol| NetworkPort::Named(protocol, name.to_owned()));
    }
    let low = decoder.number::<u16>(port_at, "`port`", 1..=65535);
    let (protocol, low) = (protocol?, low?);
    let high = match end {
        None => low,
        Some(high) => high?,
    };
    let in_order = end_at.is_none_or(|at| decoder.in_order(("port", low), ("endPort", high), at.place()));
    in_order.then_some(NetworkPort::Range(protocol, low, high))
}

/// RFC 6335, section 5.1: up to 15 lower-case letters, digits and hyphens, with a letter.
pub(crate) fn check_port_name(decoder: &mut Decoder<'_>, at: Cursor<'_>, name: &str) -> Option<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=15).contains(&name.len())
        && name.bytes().all(plain)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good {
        return Some(());
    }
    let help = if name.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() {
        format!("leave out the quotes to mean the number {name}")
    } else if name
        .split_once('-')
        .is_some_and(|(low, high)| low.parse::<u16>().and(high.parse::<u16>()).is_ok())
    {
        "write a range as `port` and `endPort`".to_owned()
    } else {
        "names have up to 15 lower-case letters, digits and single hyphens, and at least one letter"
            .to_owned()
    };
    decoder.error(Code::InvalidValue, at.place(), format!("{} is no name of a port", quoted(name)), &help);
    None
}
