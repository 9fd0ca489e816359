//! `--src` and `--dst`: an address, a pod, a host or a node.

use std::net::IpAddr;

use crate::model::{Intent, ObjectName};

/// The addresses that a word stands for: an address itself, `namespace/pod`, or the name of a host or node.
pub(super) fn addresses(intent: &Intent, word: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = word.parse() {
        return Ok(vec![address]);
    }
    if let Some(host) = intent.hosts.get(word) {
        return if host.addresses.is_empty() {
            Err(format!(
                "host `{word}` has no address in the files: give it `addresses`, or give an address here"
            ))
        } else {
            Ok(host.addresses.clone())
        };
    }
    if let Some(node) = intent.nodes.get(word) {
        return if node.addresses.is_empty() {
            Err(format!("node `{word}` has no address: its status.addresses has no InternalIP or ExternalIP"))
        } else {
            Ok(node.addresses.clone())
        };
    }
    if let Some((namespace, name)) = word.split_once('/') {
        let key = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
        return match intent.pods.get(&key) {
            Some(pod) if !pod.addresses.is_empty() => Ok(pod.addresses.clone()),
            Some(_) => Err(format!("pod `{word}` has no address yet: its status.podIPs is empty")),
            None if namespace.parse::<IpAddr>().is_ok() => {
                Err(format!("`{word}` is a CIDR, but a packet has one address: try `{namespace}`"))
            }
            None => Err(format!(
                "no running pod `{word}` with an address of its own in the files (pods that have ended, that wait for an \
                 address, or that use their node's, have none){}",
                of_the_same(intent, namespace, name)
            )),
        };
    }
    Err(format!(
        "`{word}` is {}{}",
        mistake(word),
        nearest(word, intent.hosts.keys().chain(intent.nodes.keys()).cloned())
    ))
}

/// A pod that is near: of nearly this name, or of the same Deployment, whose pods have new names at each rollout.
fn of_the_same(intent: &Intent, namespace: &str, name: &str) -> String {
    let word = format!("{namespace}/{name}");
    let near = nearest(&word, intent.pods.keys().map(|key| format!("{}/{}", key.namespace, key.name)));
    if !near.is_empty() {
        return near;
    }
    let own = || intent.pods.keys().filter(|key| key.namespace == namespace);
    let mut stem = name;
    for _ in 0..2 {
        let Some((shorter, _)) = stem.rsplit_once('-') else { break };
        stem = shorter;
        let of_it = |key: &&ObjectName| key.name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-'));
        if let Some(found) = own().find(of_it) {
            return format!(
                "; did you mean `{namespace}/{}`? In an Expectation or a batch, pods whose names change are said by their \
                 labels: {{namespace: {namespace}, podSelector: {{matchLabels: ..}}}}",
                found.name
            );
        }
    }
    String::new()
}

/// What is wrong with a word that should have been an address or a name.
fn mistake(word: &str) -> &'static str {
    let looks_v4 = word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    if looks_v4 {
        return "no IPv4 address: four numbers from 0 to 255 without leading zeros, as in 10.0.0.1";
    }
    if word.starts_with('[') {
        return "no address: leave the brackets away";
    }
    if word.contains('%') {
        return "no address here: leave the zone after % away";
    }
    if word.contains(':') {
        return "no IPv6 address: groups of up to four hexadecimal digits, `::` at most once, and no port";
    }
    "neither an address nor a host or node of the files (pods are written namespace/name)"
}

/// `; did you mean ..?`, if something is near.
fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> String {
    let mut best: Option<(usize, String)> = None;
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(word, &candidate);
        if distance <= 2 && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, candidate));
        }
    }
    best.map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::model::{Host, Pod};

    use super::*;

    fn intent() -> Intent {
        let mut intent = Intent::default();
        let host = |addresses: &[&str]| Host {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            segment: None,
            mac: None,
            vlan: None,
            port: None,
            anti_spoofing: None,
        };
        intent.hosts.insert("printer".into(), host(&["10.0.0.9", "fd00::9"]));
        intent.hosts.insert("silent".into(), host(&[]));
        let node =
            crate::model::Node { labels: BTreeMap::new(), addresses: vec!["10.2.0.1".parse().unwrap()] };
        intent.nodes.insert("worker".into(), node);
        let pod = Pod {
            labels: BTreeMap::new(),
            addresses: vec!["10.1.0.1".parse().unwrap()],
            named_ports: BTreeMap::new(),
            node_addresses: Vec::new(),
        };
        intent.pods.insert(ObjectName { namespace: "shop".into(), name: "web-0".into() }, pod);
        intent
    }

    #[test]
    fn words_become_addresses() {
        let intent = intent();
        for (word, found) in [
            ("10.0.0.1", vec!["10.0.0.1"]),
            ("fd00::1", vec!["fd00::1"]),
            ("printer", vec!["10.0.0.9", "fd00::9"]),
            ("shop/web-0", vec!["10.1.0.1"]),
            ("worker", vec!["10.2.0.1"]),
        ] {
            let expected: Vec<IpAddr> = found.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(addresses(&intent, word), Ok(expected), "{word}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_cure() {
        let intent = intent();
        for (word, hint) in [
            ("10.0.0.256", "four numbers"),
            ("10.0.0.01", "leading zeros"),
            ("10.0.0.0/24", "try `10.0.0.0`"),
            ("fd00::1::2", "at most once"),
            ("[fd00::1]", "brackets"),
            ("fe80::1%eth0", "zone"),
            ("prnter", "did you mean `printer`"),
            ("shop/web-1", "did you mean `shop/web-0`"),
            ("silent", "no address in the files"),
            ("nobody", "neither an address nor a host"),
            ("shop/web-6c9d5f8b7-q4zvn", "did you mean `shop/web-0`? In an Expectation"),
        ] {
            let message = addresses(&intent, word).unwrap_err();
            assert!(message.contains(hint), "{word}: {message}");
        }
    }
}
