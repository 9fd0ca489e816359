//! What was probably meant by words and forms of other firewalls, clouds and clusters.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Subnets};

use super::render::quoted;
use super::tree::{Cursor, Said};
use crate::deciders;

/// What others say, in lower case, and what it is here. The first one that is possible is meant.
const SYNONYMS: [(&str, &str); 61] = [
    ("permit", "allow"),
    ("accept", "allow"),
    ("drop", "deny"),
    ("reject", "deny"),
    ("block", "deny"),
    ("discard", "deny"),
    ("next", "pass"),
    ("return", "pass"),
    ("target", "action"),
    ("verdict", "action"),
    ("prot", "protocol"),
    ("proto", "protocol"),
    ("source", "from"),
    ("src", "from"),
    ("sources", "from"),
    ("destination", "to"),
    ("destinations", "to"),
    ("dst", "to"),
    ("dest", "to"),
    ("ip", "address"),
    ("ip", "cidr"),
    ("cidr", "cidrs"),
    ("cidr", "addresses"),
    ("cidrs", "addresses"),
    ("ipblock", "cidr"),
    ("address", "cidr"),
    ("subnet", "cidr"),
    ("network", "cidr"),
    ("networks", "subnets"),
    ("prefixes", "subnets"),
    ("members", "addresses"),
    ("dport", "port"),
    ("dstport", "port"),
    ("destinationport", "port"),
    ("targetport", "port"),
    ("sport", "sourcePort"),
    ("srcport", "sourcePort"),
    ("toport", "endPort"),
    ("flags", "tcpFlags"),
    ("services", "ports"),
    ("service", "ports"),
    ("interfaces", "ports"),
    ("vid", "vlan"),
    ("vlanid", "vlan"),
    ("tag", "vlan"),
    ("pps", "packetsPerSecond"),
    ("rate", "packetsPerSecond"),
    ("rate", "rateLimit"),
    ("limit", "rateLimit"),
    ("logging", "log"),
    ("until", "expires"),
    ("ttl", "expires"),
    ("remark", "name"),
    ("comment", "name"),
    ("description", "name"),
    ("defaultaction", "default"),
    ("order", "priority"),
    ("sequence", "priority"),
    ("icmp6", "ICMPv6"),
    ("ipv6-icmp", "ICMPv6"),
    ("endpoint", "address"),
];

/// Kinds of others that hold rules.
const POLICIES: [&str; 6] = ["acl", "accesslist", "policy", "firewallpolicy", "securitypolicy", "firewall"];

/// Ports that people know by name.
const SERVICES: [(&str, u16); 24] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("bootps", 67),
    ("tftp", 69),
    ("http", 80),
    ("www", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("syslog", 514),
    ("ldaps", 636),
    ("mysql", 3306),
    ("rdp", 3389),
    ("postgres", 5432),
    ("redis", 6379),
    ("p4runtime", 9559),
];

/// The word that was probably meant: other case, few letters different, or what others call it.
pub(crate) fn similar<'a>(name: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    /// Among more words than these nobody looks for a similar one.
    const MOST: usize = 1000;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&name, &word.to_ascii_lowercase());
    let near = |word: &&str| word.len() <= LONGEST && word.len().abs_diff(name.len()) <= name.len() / 3 + 1;
    let words: Vec<&str> = words.into_iter().take(MOST).collect();
    let bare = name.replace(['_', '-', ' '], "");
    let synonyms = SYNONYMS.iter().filter(|(others, _)| *others == name || *others == bare);
    let policy = POLICIES.contains(&bare.as_str()).then_some("FilterPolicy");
    let mut ours = synonyms.map(|(_, ours)| *ours).chain(policy);
    let meant = ours.find_map(|ours| words.iter().find(|word| **word == ours));
    if let Some(meant) = meant {
        return Some(meant);
    }
    let nearest = words.iter().copied().filter(near).map(|word| (distance(word), word)).min();
    nearest
        .filter(|(distance, word)| *distance <= (name.len().min(word.len()) / 3).max(1))
        .map(|(_, word)| word)
}

/// Where a field belongs that this mapping, which has these, does not have; none: it may be another's name.
pub(crate) fn misplaced(name: &str, value: Cursor<'_>, known: &[&str]) -> Option<String> {
    let has = |field: &str| known.contains(&field);
    let is = |names: &[&str]| names.contains(&name.to_ascii_lowercase().as_str());
    let meant = if has("action") && has("rateLimit") && is(&TRAFFIC) {
        "what traffic is meant is said by items of `ports`: `ports: [{protocol: TCP, port: 443}]`"
    } else if (has("action") || has("tcpFlags")) && is(&STATE) {
        "a switch keeps no state: what looks like an answer passes by the policy's `replies`"
    } else if has("appliesTo") && is(&["segment", "segments", "switch", "switches", "zone", "interface"]) {
        "where it holds is said by `appliesTo: {segments: [...], switches: [...]}`"
    } else if has("appliesTo") && is(&["ingress", "egress", "policytypes", "podselector", "direction"]) {
        "a FilterPolicy has no direction and is about no pods: its `rules` say `from` and `to`; the kind with these fields \
         is NetworkPolicy of networking.k8s.io/v1"
    } else if has("matchLabels") && matches!(value.said(), Said::Text(_)) {
        return Some(format!("write `matchLabels: {{{name}: ...}}`"));
    } else {
        return None;
    };
    Some(meant.to_owned())
}

/// Fields of traffic that people put beside `action`.
const TRAFFIC: [&str; 14] = [
    "protocol",
    "proto",
    "prot",
    "port",
    "dport",
    "sport",
    "dst_port",
    "src_port",
    "sourceport",
    "endport",
    "destinationport",
    "tcpflags",
    "ethertype",
    "service",
];
/// What keeps connections elsewhere.
const STATE: [&str; 6] = ["established", "state", "ctstate", "stateful", "conntrack", "state-policy"];

/// How to write something that has another form than is wanted.
pub(crate) fn form(at: Cursor<'_>, what: &str, expected: &str, object: &str) -> Option<String> {
    let of_traffic = deciders::is_filter_policy(object) || deciders::is_network_policy(object);
    let raw = at.raw().filter(|raw| raw.len() <= 40).unwrap_or_default();
    let number = matches!(at.said(), Said::Integer(_));
    match (at.said(), expected) {
        (Said::Text(text), "a list") if matches!(what, "`from`" | "`to`") && is_everything(text) => {
            Some(format!("leave {what} out to mean every address"))
        }
        (Said::Text(text), "a list") if text == raw => Some(format!("put it in brackets: [{}]", quoted(raw))),
        (Said::Mapping(_), "a list") => {
            Some("begin each item with `- `, or put it in brackets: [{...}]".to_owned())
        }
        (_, "a list") if what == "`ports`" && number && of_traffic => {
            Some(format!("write [{{port: {raw}}}]"))
        }
        (_, "a mapping") if what == "an item of `ports`" && number && of_traffic => {
            Some(format!("write {{port: {raw}}}"))
        }
        (Said::Text(_), "a mapping") if what == "an item of `ports`" && of_traffic => {
            Some("write {protocol: TCP, port: 443}".to_owned())
        }
        (_, "a mapping") if what == "`rateLimit`" && number => {
            Some(format!("write {{packetsPerSecond: {raw}}}"))
        }
        (_, "a mapping") if what == "`tcpFlags`" => Some("write {set: [SYN], clear: [ACK]}".to_owned()),
        (_, "a mapping") if what == "an item of `icmp`" => {
            Some("write {type: 8}: echo requests are type 8 of ICMP, and 128 of ICMPv6".to_owned())
        }
        (Said::Text(_), "a whole number") if what == "`type`" => {
            Some("types are numbers: echo requests are 8 of ICMP, and 128 of ICMPv6".to_owned())
        }
        (Said::Text(text), "a whole number") if text.parse::<i64>().is_ok() => {
            Some(format!("write it without quotes: {text}"))
        }
        (Said::Sequence(_), "a whole number") if matches!(what, "`port`" | "`sourcePort`") => {
            Some("write an item for each: [{port: 80}, {port: 443}]; a range is \"80-90\"".to_owned())
        }
        _ => None,
    }
}

fn is_everything(text: &str) -> bool {
    ["any", "all", "*", "any4", "everything", "anywhere"].contains(&text.to_ascii_lowercase().as_str())
}

/// What a protocol that there is not may mean.
pub(crate) fn protocol(text: &str) -> Option<String> {
    if is_everything(text)
        || ["ip", "ipv4", "ipv6", "ip4", "ip6"].contains(&text.to_ascii_lowercase().as_str())
    {
        return Some(
            "leave `ports` out to mean all IP packets; `from` and `to` say the IP version".to_owned(),
        );
    }
    let (protocol, port) = text.split_once(['/', ':'])?;
    port.parse::<u16>()
        .ok()
        .map(|port| format!("write {{protocol: {}, port: {port}}}", protocol.to_uppercase()))
}

/// The port of a service.
pub(crate) fn service(name: &str) -> Option<u16> {
    SERVICES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, number)| *number)
}

/// What a port may mean that is no number: a service's name, or a range as others write it.
pub(crate) fn port(text: &str) -> Option<String> {
    let known = SERVICES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    if let Some((name, number)) = known {
        return Some(format!("{name} is port {number}; filter policies know no port names"));
    }
    let words: Vec<&str> = text.split([' ', ':', ',']).filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.parse::<u16>().ok();
    match words[..] {
        _ if is_everything(text) => Some("leave it out to mean all ports".to_owned()),
        ["eq", port] => number(port).map(|port| format!("write {port}")),
        ["gt", port] => number(port)?.checked_add(1).map(|low| format!("write \"{low}-65535\"")),
        ["lt", port] => number(port)?.checked_sub(1).map(|high| format!("write \"0-{high}\"")),
        ["range", low, high] => Some(format!("write \"{}-{}\"", number(low)?, number(high)?)),
        [low, high] if text.contains(':') => Some(format!("write \"{}-{}\"", number(low)?, number(high)?)),
        [_, _, ..] if text.contains(',') && words.iter().all(|word| number(word).is_some()) => {
            let items: Vec<String> = words.iter().map(|word| format!("{{port: {word}}}")).collect();
            Some(format!("write an item for each: [{}]", items.join(", ")))
        }
        _ => None,
    }
}

/// What addresses may mean that are no CIDR: a range, a mask, a wildcard, a keyword, a name.
pub(crate) fn addresses(text: &str, what: &str) -> Option<String> {
    let of_rule = what == "a peer";
    if is_everything(text) {
        let meant = if of_rule {
            "leave the list out to mean every address"
        } else {
            "write 0.0.0.0/0, and \"::/0\""
        };
        return Some(meant.to_owned());
    }
    if let Some(host) = text.strip_prefix("host ") {
        return host.trim().parse::<IpAddr>().ok().map(|address| format!("write {address}"));
    }
    let separated = text.split_once('/').or_else(|| text.split_once(' '));
    if let Some((Ok(address), Ok(mask))) =
        separated.map(|(one, other)| (one.trim().parse::<Ipv4Addr>(), other.trim().parse::<Ipv4Addr>()))
    {
        let length = mask_length(mask)?;
        let net = IpNet::new(address.into(), length).ok()?.trunc();
        return Some(format!("write {net}: the prefix length in bits, not a mask"));
    }
    if let Some((Ok(first), Ok(last))) = text
        .split_once('-')
        .map(|(one, other)| (one.trim().parse::<Ipv4Addr>(), other.trim().parse::<Ipv4Addr>()))
    {
        let nets: Vec<String> = Ipv4Subnets::new(first, last, 0).take(9).map(|net| net.to_string()).collect();
        return Some(match nets.len() {
            0 => format!("the range runs backwards: {last} is before {first}"),
            1..9 => format!("a range is written as CIDRs: {}", nets.join(", ")),
            _ => "a range is written as CIDRs, for example 10.0.0.4/30 for 10.0.0.4 to 10.0.0.7".to_owned(),
        });
    }
    let octets: Vec<&str> = text.trim_end_matches('.').split('.').collect();
    let known: Vec<&str> = octets.iter().copied().take_while(|octet| octet.parse::<u8>().is_ok()).collect();
    let rest = &octets[known.len()..];
    if (1..4).contains(&known.len())
        && octets.len() <= 4
        && rest.iter().all(|octet| matches!(*octet, "*" | "x"))
    {
        let zeros = vec!["0"; 4 - known.len()];
        return Some(format!("write {}.{}/{}", known.join("."), zeros.join("."), 8 * known.len()));
    }
    let is_name = text.contains('.')
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    if is_name {
        return Some("a switch sees addresses, not names: write the addresses that it has".to_owned());
    }
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (of_rule && is_word && text.bytes().any(|byte| byte.is_ascii_alphabetic())).then(|| {
        format!("if it is a name of yours, say of what: {{group: {text}}}, {{segment: {text}}} or {{host: {text}}}")
    })
}

/// The length of a network mask, or of a wildcard mask as ACLs have it.
fn mask_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let length = |bits: u32| {
        let ones = bits.leading_ones();
        (bits.count_ones() == ones).then(|| u8::try_from(ones).ok()).flatten()
    };
    length(bits).or_else(|| length(!bits))
}

/// A MAC address as switches write it: `0200.0000.0005`, `020000000005`.
pub(crate) fn mac(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|character| !matches!(character, '.' | ':' | '-')).collect();
    let plain = digits.len() == 12 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| {
        let bytes: Vec<String> = (0..6).map(|n| digits[2 * n..2 * n + 2].to_ascii_lowercase()).collect();
        format!("write \"{}\"", bytes.join(":"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let actions = ["allow", "deny", "pass"];
        for (said, meant) in
            [("permit", Some("allow")), ("Drop", Some("deny")), ("alow", Some("allow")), ("log", None)]
        {
            assert_eq!(similar(said, actions), meant, "{said}");
        }
        assert_eq!(similar("prot", ["port", "endPort", "protocol"]), Some("protocol"));
        assert_eq!(similar("dst_port", ["port", "endPort", "protocol"]), Some("port"));
        assert_eq!(similar("Access-List", ["Host", "FilterPolicy"]), Some("FilterPolicy"));
    }

    #[test]
    fn addresses_of_others() {
        for (said, meant) in [
            ("any", "leave the list out"),
            ("host 10.0.0.1", "write 10.0.0.1"),
            ("10.1.0.0 0.0.255.255", "write 10.1.0.0/16"),
            ("10.1.0.0 255.255.0.0", "write 10.1.0.0/16"),
            ("10.1.2.3/255.255.255.0", "write 10.1.2.0/24"),
            ("10.0.0.1-10.0.0.3", "10.0.0.1/32, 10.0.0.2/31"),
            ("10.0.0.3-10.0.0.1", "backwards"),
            ("10.1.*.*", "write 10.1.0.0/16"),
            ("10.1.", "write 10.1.0.0/16"),
            ("www.example.net", "addresses, not names"),
            ("office", "{segment: office}"),
        ] {
            let help = addresses(said, "a peer").unwrap_or_default();
            assert!(help.contains(meant), "{said}: {help}");
        }
        for said in ["10.1.0.0 0.255.0.255", "10.0.0.300", "-", "::x", ""] {
            assert_eq!(addresses(said, "a peer"), None, "{said}");
        }
    }

    #[test]
    fn ports_of_others() {
        for (said, meant) in [
            ("https", "https is port 443"),
            ("eq 22", "write 22"),
            ("gt 1023", "1024-65535"),
            ("range 80 90", "80-90"),
            ("80:90", "80-90"),
            ("80,443", "[{port: 80}, {port: 443}]"),
            ("any", "leave it out"),
        ] {
            let help = port(said).unwrap_or_default();
            assert!(help.contains(meant), "{said}: {help}");
        }
        for said in ["gt 65535", "x", "1:x", "", "80 90"] {
            assert_eq!(port(said), None, "{said}");
        }
    }
}
