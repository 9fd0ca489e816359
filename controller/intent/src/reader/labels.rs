//! Labels: what a label's key and value can be (apimachinery's `IsQualifiedName` and `IsValidLabelValue`).

use super::decode::Decoder;
use super::diagnostic::Code;
use super::render::quoted;
use super::tree::{Cursor, Said};
use crate::model::Labels;

/// The longest value, and the longest key behind its prefix.
const LONGEST: usize = 63;

/// A mapping of labels: `labels`, `matchLabels`.
pub(crate) fn map(decoder: &mut Decoder<'_>, at: Cursor<'_>, what: &str) -> Option<Labels> {
    let Said::Mapping(items) = at.said() else {
        decoder.wrong_type(at, what, "a mapping");
        return None;
    };
    let mut map = Labels::new();
    for (key_at, value_at) in items.pairs() {
        let raw = key_at.raw().unwrap_or_default();
        let key = key(decoder, key_at, || format!("the key in {what}"));
        let value = match value_at.said() {
            // The API server stores null as the empty string.
            Said::Null => Some(String::new()),
            _ => value(decoder, value_at, || format!("{} in {what}", quoted(raw))),
        };
        if let (Some(key), Some(value)) = (key, value) {
            map.insert(key, value);
        }
    }
    Some(map)
}

/// The key of a label, `app` or `example.com/app`.
pub(crate) fn key(
    decoder: &mut Decoder<'_>,
    at: Cursor<'_>,
    what: impl FnOnce() -> String,
) -> Option<String> {
    let raw = at.raw().unwrap_or_default();
    let key = match at.said() {
        Said::Text(text) => text,
        // JSON has text alone for keys, so these become what they look like.
        Said::Integer(Some(number)) if number.to_string() == raw => raw,
        Said::Boolean(value) if value.to_string() == raw => raw,
        _ => {
            decoder.wrong_type(at, &what(), "text");
            return None;
        }
    };
    let (prefix, name) = match key.rsplit_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_none_or(is_subdomain) && !name.is_empty() && is_word(name) {
        return Some(key.to_owned());
    }
    let help = "a key is up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; before it may \
                stand a domain in lower case and `/`";
    decoder.error(Code::InvalidValue, at.place(), format!("{} is no key of a label", quoted(key)), help);
    None
}

/// The value of a label, which may be empty.
pub(crate) fn value(
    decoder: &mut Decoder<'_>,
    at: Cursor<'_>,
    what: impl FnOnce() -> String,
) -> Option<String> {
    let Said::Text(text) = at.said() else {
        decoder.wrong_type(at, &what(), "text");
        return None;
    };
    if is_word(text) {
        return Some(text.to_owned());
    }
    let help = if text.contains('*') {
        "labels know no patterns; `matchExpressions` with `Exists` means any value"
    } else {
        "a value is empty, or up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
    };
    let message = format!("no label can have the value {}", quoted(text));
    decoder.error(Code::InvalidValue, at.place(), message, help);
    None
}

/// Empty, or `[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?`, not too long.
fn is_word(text: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LONGEST
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && end(text.bytes().next())
        && end(text.bytes().last())
}

/// RFC 1123: labels of lower-case letters, digits and hyphens, with dots between, 253 characters at most.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// One part of a domain's name. Kubernetes has no bound of its own for those of a subdomain.
fn is_dns_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|byte| plain(byte) || byte == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_keys() {
        let long = "a".repeat(63);
        for good in ["", "a", "A", "0", "a-b_c.d", &long] {
            assert!(is_word(good), "{good}");
        }
        for bad in ["-a", "a-", ".a", "a_", "a b", "a/b", "*", "ä", "a\n", &format!("{long}a")] {
            assert!(!is_word(bad), "{bad}");
        }
        for good in ["example.com", "a", "k8s.io", "a-b.c"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "Example.com", "a..b", "-a", "a-", "a_b", ".a", &"a.".repeat(200)] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }
}
