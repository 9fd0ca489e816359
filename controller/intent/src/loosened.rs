//! What lost a condition from one intent to another, so that more matches, or nothing is denied any more where something was.
//!
//! A text that was cut off after a line looks so, whatever else was changed in it. It is no list of all that opens
//! something: whoever means it has written it somewhere.

use std::fmt;

use ipnet::IpNet;

use crate::deciders;
use crate::model::{
    ClusterAction, ClusterNetworkPolicy, FilterAction, FilterPeer, FilterPolicy, FilterRule, Intent,
    NetworkPolicy, NetworkPolicyRule,
};

/// An object that lost something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loosened {
    /// `FilterPolicy/edge`.
    pub object: String,
    /// The rule of a FilterPolicy, where it is about one.
    pub rule: Option<String>,
    /// What it had.
    pub lost: &'static str,
}

impl fmt::Display for Loosened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        if let Some(rule) = &self.rule {
            write!(f, ", rule {rule},")?;
        }
        write!(f, " has lost {}", self.lost)
    }
}

/// The first object that lost something, by kind and name.
pub fn loosened(before: &Intent, after: &Intent) -> Option<Loosened> {
    let filters = before.filters.iter().find_map(|(name, before)| {
        let (rule, lost) = filter(before, after.filters.get(name)?)?;
        Some(Loosened { object: deciders::filter_policy(name), rule: rule.map(str::to_owned), lost })
    });
    let policies = || {
        before.network_policies.iter().find_map(|(name, before)| {
            let lost = network_policy(before, after.network_policies.get(name)?)?;
            let object = deciders::network_policy(name);
            Some(Loosened { object, rule: None, lost })
        })
    };
    let cluster = || {
        before.cluster_policies.iter().find_map(|(name, before)| {
            let lost = cluster_policy(before, after.cluster_policies.get(name)?)?;
            Some(Loosened { object: deciders::cluster_policy(name), rule: None, lost })
        })
    };
    filters.or_else(policies).or_else(cluster)
}

fn filter<'p>(before: &'p FilterPolicy, after: &FilterPolicy) -> Option<(Option<&'p str>, &'static str)> {
    let denied = before.default == Some(FilterAction::Deny) && after.default != Some(FilterAction::Deny);
    if denied {
        return Some((None, "`default: deny`"));
    }
    if before.default.is_some() && after.default.is_none() {
        return Some((None, "its `default`"));
    }
    for (lost, gone) in [
        ("`appliesTo.segments`", gone(&before.segments, &after.segments)),
        ("`appliesTo.switches`", gone(&before.switches, &after.switches)),
    ] {
        if gone {
            return Some((None, lost));
        }
    }
    before.rules.iter().find_map(|rule| {
        let now = after.rules.iter().find(|now| now.name == rule.name)?;
        Some((Some(rule.name.as_str()), condition(rule, now)?))
    })
}

fn condition(before: &FilterRule, after: &FilterRule) -> Option<&'static str> {
    let lost = [
        ("`from`", gone(&before.from, &after.from)),
        ("`to`", gone(&before.to, &after.to)),
        ("`ports` and `icmp`", gone(&before.traffic, &after.traffic)),
        ("`except`", excepts_less(&before.from, &after.from) || excepts_less(&before.to, &after.to)),
        ("`rateLimit`", before.rate_limit.is_some() && after.rate_limit.is_none()),
        ("`expires`", before.expires.is_some() && after.expires.is_none()),
    ];
    lost.into_iter().find(|(_, lost)| *lost).map(|(name, _)| name)
}

fn network_policy(before: &NetworkPolicy, after: &NetworkPolicy) -> Option<&'static str> {
    if before.ingress.is_some() && after.ingress.is_none() {
        return Some("its isolation for ingress");
    }
    if before.egress.is_some() && after.egress.is_none() {
        return Some("its isolation for egress");
    }
    for (before, after) in [(&before.ingress, &after.ingress), (&before.egress, &after.egress)] {
        let rules = |rules: &Option<Vec<NetworkPolicyRule>>, is: fn(&NetworkPolicyRule) -> bool| {
            rules.iter().flatten().filter(|rule| is(rule)).count()
        };
        // Rules have no names: one that says nothing is new, and no more of them are there than were.
        let (had, has) = (before.iter().flatten().count(), after.iter().flatten().count());
        for (lost, is) in [
            ("the peers of a rule", (|rule| rule.peers.is_empty()) as fn(&NetworkPolicyRule) -> bool),
            ("the ports of a rule", |rule| rule.ports.is_empty()),
        ] {
            if has <= had && rules(after, is) > rules(before, is) {
                return Some(lost);
            }
        }
    }
    None
}

fn cluster_policy(before: &ClusterNetworkPolicy, after: &ClusterNetworkPolicy) -> Option<&'static str> {
    let open = |policy: &ClusterNetworkPolicy| {
        let rules = policy.ingress.iter().chain(&policy.egress);
        rules.filter(|rule| rule.action == ClusterAction::Accept && rule.ports.is_empty()).count()
    };
    let number = |policy: &ClusterNetworkPolicy| policy.ingress.len() + policy.egress.len();
    (number(after) <= number(before) && open(after) > open(before)).then_some("the ports of a rule")
}

/// Whether a CIDR that had exceptions has none.
fn excepts_less(before: &[FilterPeer], after: &[FilterPeer]) -> bool {
    let holes = |peers: &[FilterPeer], of: IpNet| -> Option<usize> {
        peers.iter().find_map(|peer| match peer {
            FilterPeer::Cidr { cidr, except } if *cidr == of => Some(except.len()),
            _ => None,
        })
    };
    before.iter().any(|peer| match peer {
        FilterPeer::Cidr { cidr, except } => !except.is_empty() && holes(after, *cidr) == Some(0),
        _ => false,
    })
}

fn gone<T>(before: &[T], after: &[T]) -> bool {
    !before.is_empty() && after.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::parse;

    fn lost(before: &str, after: &str) -> Option<String> {
        let intent = |text: &str| {
            parse([("a.yaml", text)]).unwrap_or_else(|error| panic!("{}", error.render(false))).intent
        };
        loosened(&intent(before), &intent(after)).map(|lost| lost.to_string())
    }

    #[test]
    fn conditions_of_filter_policies() {
        let policy = |spec: &str| {
            format!(
                "{{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {{name: p}}, spec: {spec}}}\n"
            )
        };
        let rule = |said: &str| policy(&format!("{{rules: [{{name: a, action: allow{said}}}]}}"));
        let (whole, bare) = (policy("{default: deny, rules: [{action: allow, to: [10.0.0.1]}]}"), rule(""));
        for (before, after, expected) in [
            (
                &whole,
                &policy("{rules: [{action: allow, to: [10.0.0.1]}]}"),
                Some("FilterPolicy/p has lost `default: deny`"),
            ),
            (&whole, &policy("{default: allow}"), Some("FilterPolicy/p has lost `default: deny`")),
            (&policy("{default: allow}"), &bare, Some("FilterPolicy/p has lost its `default`")),
            (&rule(", from: [10.0.0.1]"), &bare, Some("FilterPolicy/p, rule a, has lost `from`")),
            (&rule(", to: [10.0.0.1]"), &bare, Some("FilterPolicy/p, rule a, has lost `to`")),
            (
                &rule(", icmp: [{type: 8}]"),
                &bare,
                Some("FilterPolicy/p, rule a, has lost `ports` and `icmp`"),
            ),
            (
                &rule(", from: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]"),
                &rule(", from: [10.0.0.0/8]"),
                Some("FilterPolicy/p, rule a, has lost `except`"),
            ),
            (
                &rule(", rateLimit: {packetsPerSecond: 1}"),
                &bare,
                Some("FilterPolicy/p, rule a, has lost `rateLimit`"),
            ),
            (&rule(", expires: 2099-01-01"), &bare, Some("FilterPolicy/p, rule a, has lost `expires`")),
            (&bare, &rule(", from: [10.0.0.1]"), None),
            (&rule(", from: [10.0.0.1]"), &rule(", from: [10.0.0.2]"), None),
            (&bare, &whole, None),
            (&whole, &whole, None),
        ] {
            assert_eq!(lost(before, after).as_deref(), expected, "{before}{after}");
        }
    }

    #[test]
    fn isolation_and_conditions_of_kubernetes() {
        let policy = |spec: &str| {
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {{podSelector: {{}}{spec}}}}}\n"
            )
        };
        let said = |what: &str| Some(format!("NetworkPolicy/default/p has lost {what}"));
        let both = policy(", policyTypes: [Ingress, Egress]");
        let web = policy(", ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]");
        for (before, after, expected) in [
            (&both, policy(""), said("its isolation for egress")),
            (&both, policy(", policyTypes: [Egress]"), said("its isolation for ingress")),
            (&web, policy(", ingress: [{from: [{podSelector: {}}]}]"), said("the ports of a rule")),
            (&web, policy(", ingress: [{ports: [{port: 80}]}]"), said("the peers of a rule")),
            (&web, policy(", ingress: [{ports: [{port: 80}]}, {from: [{podSelector: {}}]}]"), None),
            (&web, policy(""), None),
        ] {
            assert_eq!(lost(before, &after), expected, "{before}{after}");
        }
        let cluster = |rule: &str| {
            format!(
                "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: c}}\nspec:\n  \
                 tier: Admin\n  priority: 1\n  subject: {{namespaces: {{}}}}\n  ingress:\n    - {{action: Accept, from: \
                 [{{namespaces: {{}}}}]{rule}}}\n"
            )
        };
        let ports = cluster(", protocols: [{tcp: {destinationPort: {number: 80}}}]");
        assert_eq!(
            lost(&ports, &cluster("")).as_deref(),
            Some("ClusterNetworkPolicy/c has lost the ports of a rule")
        );
        assert_eq!(lost(&cluster(""), &ports), None);
    }
}
