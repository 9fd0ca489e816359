//! What is said of several in the same words is told once.

use std::collections::BTreeMap;

use crate::targets::host_and_port;

/// What is said, without what tells one from another: these names, and addresses.
pub(crate) fn alike(text: &str, names: &[&str]) -> String {
    let word = |word: &str| {
        let plain = word.trim_matches(['(', ')', ',', ';', ':', '`', '"', '\'']);
        if names.contains(&plain) || host_and_port(plain).is_ok() {
            word.replacen(plain, "_", 1)
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Who was told of first, by what was said.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<String, String>);

impl Told {
    /// Who else the same was said of before; else this one is the first.
    pub(crate) fn before(&mut self, name: &str, said: String) -> Option<&str> {
        let first = self.0.entry(said).or_insert_with(|| name.to_owned());
        (first != name).then_some(first.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_of_two_switches_is_the_same() {
        let dead = |name: &str, address: &str, why: &str| {
            alike(&format!("switch {name} ({address}): cannot connect: {why}"), &[name])
        };
        let one = dead("leaf1", "192.0.2.1:9559", "refused");
        assert_eq!(one, "switch _ (_): cannot connect: refused");
        assert_eq!(dead("leaf2", "[2001:db8::1]:9559", "refused"), one);
        assert_ne!(dead("leaf2", "leaf2.example:9559", "no route"), one);
        let mut told = Told::default();
        assert_eq!(told.before("leaf1", one.clone()), None);
        assert_eq!(told.before("leaf1", one.clone()), None);
        assert_eq!(told.before("leaf2", one), Some("leaf1"));
        assert_eq!(told.before("leaf3", "other".to_owned()), None);
    }
}
