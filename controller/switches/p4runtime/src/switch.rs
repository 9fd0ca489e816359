//! Switches of the intent as targets.

use outplane_intent::model;
use outplane_p4runtime_client::{Target, TlsFiles};

/// The switch that the intent describes under this name.
pub fn target(name: &str, switch: &model::Switch) -> Target {
    let tls = switch.tls.as_ref().map(|tls| TlsFiles {
        ca: tls.ca.clone(),
        identity: tls.cert.clone().zip(tls.key.clone()),
        server_name: tls.server_name.clone(),
    });
    Target {
        name: name.to_owned(),
        address: switch.address.clone(),
        device_id: switch.device_id,
        role: switch.role.clone(),
        tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_intent() {
        let switch = model::Switch {
            address: "leaf1:9559".into(),
            device_id: 3,
            role: Some("firewall".into()),
            tls: Some(model::Tls {
                ca: "ca.pem".into(),
                cert: Some("us.pem".into()),
                key: Some("us.key".into()),
                server_name: None,
            }),
            program: "outplane".into(),
            ports: std::collections::BTreeMap::default(),
        };
        let target = target("leaf1", &switch);
        assert_eq!(
            (target.name.as_str(), target.address.as_str(), target.device_id),
            ("leaf1", "leaf1:9559", 3)
        );
        assert_eq!(target.role.as_deref(), Some("firewall"));
        assert_eq!(target.tls.expect("TLS").identity, Some(("us.pem".into(), "us.key".into())));
    }
}
