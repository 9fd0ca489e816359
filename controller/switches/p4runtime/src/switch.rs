//! Where a switch is, and how to talk to it: as one source says it, and as all of them do.

use outplane_intent::model::{self, P4Runtime, Protocol};
use outplane_p4runtime_client::{Target, TlsFiles};

/// What one source says of where a switch is and how to talk to it: the intent's Switch object, the shared configuration,
/// a command line. What it leaves open, another one may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// `host:port` of its P4Runtime server.
    pub address: Option<String>,
    /// P4Runtime device id.
    pub device_id: Option<u64>,
    /// P4Runtime role.
    pub role: Option<String>,
    /// TLS, all of it from one source.
    pub tls: Option<TlsFiles>,
}

impl Reach {
    /// What this source says, and where it says nothing what the other does.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            device_id: self.device_id.or(other.device_id),
            role: self.role.or(other.role),
            tls: self.tls.or(other.tls),
        }
    }

    /// Whether nothing is left that another source could say.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self { address: Some(_), device_id: Some(_), role: Some(_), tls: Some(_) })
    }

    /// The switch of this name; none where nobody has said its address. Without more it is the first device, in the default
    /// role and in plain text.
    pub fn target(self, name: &str) -> Option<Target> {
        let Self { address, device_id, role, tls } = self;
        let target = Target::new(address?);
        let device_id = device_id.unwrap_or(target.device_id);
        Some(Target { name: name.to_owned(), device_id, role, tls, ..target })
    }
}

/// All that the intent says.
impl From<&model::Switch> for Reach {
    fn from(switch: &model::Switch) -> Self {
        let Protocol::P4Runtime(P4Runtime { device_id, role, .. }) = &switch.protocol;
        let tls = switch.tls.as_ref().map(|tls| TlsFiles {
            ca: tls.ca.clone(),
            identity: tls.cert.clone().zip(tls.key.clone()),
            server_name: tls.server_name.clone(),
        });
        Self { address: Some(switch.address.clone()), device_id: Some(*device_id), role: role.clone(), tls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch() -> model::Switch {
        model::Switch {
            address: "leaf1:9559".into(),
            tls: Some(model::Tls {
                ca: "ca.pem".into(),
                cert: Some("us.pem".into()),
                key: Some("us.key".into()),
                server_name: None,
            }),
            protocol: Protocol::P4Runtime(P4Runtime {
                device_id: 3,
                role: Some("firewall".into()),
                ..P4Runtime::default()
            }),
            ports: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn of_the_intent() {
        let target = Reach::from(&switch()).target("leaf1").expect("an address");
        assert_eq!(
            (target.name.as_str(), target.address.as_str(), target.device_id),
            ("leaf1", "leaf1:9559", 3)
        );
        assert_eq!(target.role.as_deref(), Some("firewall"));
        assert_eq!(target.tls.expect("TLS").identity, Some(("us.pem".into(), "us.key".into())));
    }

    #[test]
    fn what_one_source_leaves_open_another_says() {
        let files = TlsFiles { ca: "other.pem".into(), identity: None, server_name: None };
        let said = Reach { device_id: Some(9), tls: Some(files.clone()), ..Reach::default() };
        assert_eq!(said.clone().target("leaf1"), None);
        assert!(!said.is_whole());
        let both = said.or(Reach::from(&switch()));
        assert!(both.is_whole());
        let target = both.target("leaf1").expect("an address");
        assert_eq!((target.address.as_str(), target.device_id), ("leaf1:9559", 9));
        // Files of two sources are not mixed: our certificate is for those who sign with the first one's authority.
        assert_eq!((target.role.as_deref(), target.tls), (Some("firewall"), Some(files)));
        let plain = Reach { address: Some("leaf2:1".into()), ..Reach::default() }.target("leaf2").unwrap();
        assert_eq!((plain.device_id, plain.role, plain.tls), (1, None, None));
    }
}
