//! Origins as bytes: the metadata of an entry says which policy and rule asked for it, and thereby that it is ours.

use sha2::{Digest, Sha256};

/// What the metadata of our entries begins with. Entries without it belong to others.
pub const PREFIX: &[u8] = b"outplane1:";

/// Longest policy or rule in an encoding, bytes; longer ones are cut, see [`Origin::encode`].
pub const MAX_NAME: usize = 400;

/// Which policy and rule asked for an entry. Its encoding is the entry's `metadata`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// `FilterPolicy/<name>`, `NetworkPolicy/<namespace>/<name>`, `ClusterNetworkPolicy/<name>`, or `-` for entries that
    /// serve all policies (classes, segments, forwarding).
    pub policy: String,
    /// The rule, see docs/policy-semantics.md, or what the entry is for.
    pub rule: String,
    /// Place of the rule among those of its policy that share a priority; see [`Origin::rank`].
    pub order: u32,
}

impl Origin {
    /// The policy that serves all policies: classes, segments, forwarding.
    pub const COMMON: &'static str = "-";

    /// An entry's metadata: `outplane1:<order>:<bytes of policy>:<policy><rule>`, numbers in decimal, names in UTF-8.
    ///
    /// Names of more than [`MAX_NAME`] bytes (Kubernetes has none) keep their beginning and end in `~` and 16 hexadecimal
    /// digits of their SHA-256, so that the encoding is bounded and different names stay different.
    pub fn encode(&self) -> Vec<u8> {
        let (policy, rule) = (bounded(&self.policy), bounded(&self.rule));
        let mut bytes = PREFIX.to_vec();
        bytes.extend_from_slice(format!("{}:{}:{policy}{rule}", self.order, policy.len()).as_bytes());
        bytes
    }

    /// Reads an entry's metadata; none if it is not ours.
    pub fn decode(metadata: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(metadata.strip_prefix(PREFIX)?).ok()?;
        let (order, text) = text.split_once(':')?;
        let (length, names) = text.split_once(':')?;
        let (policy, rule) = names.split_at_checked(length.parse().ok()?)?;
        Some(Self { policy: policy.to_owned(), rule: rule.to_owned(), order: order.parse().ok()? })
    }

    /// What decides who is named of entries that match with equal priority: the lowest. Policies by name, as Kubernetes has
    /// them (namespace, then name), and a policy's rules in their order.
    pub fn rank(&self) -> (Vec<&str>, u32) {
        (self.policy.split('/').collect(), self.order)
    }

    /// The number that a logged packet carries to the controller: the first four bytes, in network byte order, of the
    /// SHA-256 of `<policy>/<rule>`. It depends on the names alone, so it outlives updates.
    pub fn tag(&self) -> u32 {
        let digest = Sha256::digest(format!("{}/{}", self.policy, self.rule).as_bytes());
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }
}

fn bounded(name: &str) -> std::borrow::Cow<'_, str> {
    if name.len() <= MAX_NAME {
        return name.into();
    }
    let digest = Sha256::digest(name.as_bytes());
    let kept = name.floor_char_boundary(MAX_NAME - 17);
    let digits = digest.iter().take(8).fold(0u64, |digits, byte| (digits << 8) | u64::from(*byte));
    format!("{}~{digits:016x}", &name[..kept]).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_and_back(policy in "\\PC{0,80}", rule in "\\PC{0,80}", order in any::<u32>()) {
            let origin = Origin { policy, rule, order };
            prop_assert_eq!(Origin::decode(&origin.encode()), Some(origin));
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), ours in any::<bool>()) {
            let mut metadata = if ours { PREFIX.to_vec() } else { Vec::new() };
            metadata.extend(bytes);
            if let Some(origin) = Origin::decode(&metadata) {
                prop_assert!(ours || metadata.starts_with(PREFIX));
                prop_assert!(origin.policy.len() + origin.rule.len() <= metadata.len());
            }
        }
    }

    #[test]
    fn encodings() {
        let origin = Origin { policy: "FilterPolicy/edge".into(), rule: "web".into(), order: 7 };
        assert_eq!(origin.encode(), b"outplane1:7:17:FilterPolicy/edgeweb");
        for foreign in
            ["", "outplane1", "outplane1:", "outplane1:1:9:short", "outplane1:x:0:", "outplane2:1:1:ab"]
        {
            assert_eq!(Origin::decode(foreign.as_bytes()), None, "{foreign}");
        }
        // In the middle of a character.
        assert_eq!(Origin::decode("outplane1:1:1:ä".as_bytes()), None);
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let encode = |rule: String| Origin { policy: "-".into(), rule, order: 1 }.encode();
        let (one, two) = (encode("ä".repeat(5000)), encode("ä".repeat(5001)));
        assert_ne!(one, two);
        assert!(one.len() <= PREFIX.len() + MAX_NAME + 20, "{}", one.len());
        assert!(Origin::decode(&one).is_some());
    }

    #[test]
    fn tags_are_stable() {
        let origin = |order| Origin { policy: "FilterPolicy/edge".into(), rule: "web".into(), order };
        assert_eq!(origin(1).tag(), origin(2).tag());
        assert_eq!(origin(1).tag(), 0x7102_4b18);
    }
}
