//! What goes over a network in plain text: told, unless it stays on loopback or somebody says that it is meant.
//!
//! No secret of ours travels in plain text anywhere: keys of the store and of datagrams sign and are never sent. What
//! does travel are policies, statuses and claims, which others can then read, and answers that others can forge.

use std::net::{IpAddr, SocketAddr};

/// Whether this host, as in `HOST:PORT` or a URL, is this machine itself.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The host of `HOST:PORT`.
pub fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What is to be said of an endpoint of the store, if anything.
pub fn endpoint(url: &str) -> Option<String> {
    let authority = url.strip_prefix("http://")?;
    let host = if authority.ends_with(']') { authority } else { host(authority) };
    (!is_loopback(host)).then(|| {
        format!(
            "{url} is spoken to in plain text: whoever is on the way reads policies and statuses and can forge answers, \
             claims among them (keys are not sent); use https://, or say `insecure = true` in [store] if that is meant"
        )
    })
}

/// What is to be said of a switch that is talked to without TLS, if anything.
pub fn switch(name: &str, address: &str) -> Option<String> {
    (!is_loopback(host(address))).then(|| {
        format!(
            "switch {name} at {address} is talked to in plain text: whoever is on the way reads its tables and can write \
             to it in our place; give it TLS"
        )
    })
}

/// What is to be said of a server that listens without TLS, if anything.
pub fn listener(what: &str, address: SocketAddr, harm: &str, cure: &str) -> Option<String> {
    let loopback = address.ip().to_canonical().is_loopback();
    (!loopback).then(|| format!("{what} listens on {address}, not on loopback alone: {harm}; {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        for host in ["127.0.0.1", "127.9.9.9", "[::1]", "::1", "::ffff:127.0.0.1", "localhost", "a.localhost"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "leaf1", "128.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn plain_text_is_told_of_off_loopback() {
        for (url, told) in [
            ("http://127.0.0.1:9000", false),
            ("http://[::1]:9000", false),
            ("http://[::1]", false),
            ("http://localhost", false),
            ("https://s3.example", false),
            ("http://s3.example", true),
            ("http://192.0.2.1:9000", true),
            ("http://[2001:db8::1]:80", true),
        ] {
            assert_eq!(endpoint(url).is_some(), told, "{url}");
        }
        assert!(switch("leaf1", "127.0.0.1:9559").is_none() && switch("leaf1", "[::1]:9559").is_none());
        assert!(
            switch("leaf1", "leaf1.example:9559").is_some_and(|text| text.contains("leaf1.example:9559"))
        );
        let listens = |address: &str| listener("it", address.parse().unwrap(), "harm", "cure").is_some();
        assert!(!listens("127.0.0.1:1") && !listens("[::1]:1"));
        assert!(listens("0.0.0.0:1") && listens("[::]:1") && listens("192.0.2.1:1"));
    }
}
