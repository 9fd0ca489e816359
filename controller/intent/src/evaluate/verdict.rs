//! The verdict for a packet, and how it came about.

use serde::{Serialize, Serializer};

use super::decider::Decider;
use super::entrance::Entrance;
use super::filter::{Decision, Matched};
use super::side::{Direction, Side};
use crate::model::{FilterAction, FilterTier, ObjectName, RateLimit};
use crate::packet::MAX_TAGS;

/// The verdict for one packet.
///
/// Serialises as `{"verdict": "allow"|"deny", "policy", "rule", "log", "rateLimit", "segment", "steps"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether it passes.
    #[serde(rename = "verdict", serialize_with = "allow_or_deny")]
    pub allow: bool,
    /// The policy that decided: `FilterPolicy/<name>`, `NetworkPolicy/<namespace>/<name>` or
    /// `ClusterNetworkPolicy/<name>`. None: no policy had an opinion.
    pub policy: Option<String>,
    /// The policy's rule that decided, see "Who decided" in docs/policy-semantics.md.
    pub rule: Option<String>,
    /// The drop is reported to the controller.
    pub log: bool,
    /// What it may pass at most at.
    #[serde(serialize_with = "rate_limit")]
    pub rate_limit: Option<RateLimit>,
    /// The segment that it enters in.
    pub segment: Option<String>,
    /// What each stage said, in order.
    pub steps: Vec<Step>,
}

impl Verdict {
    pub(super) fn allow(by: Option<&Decider>) -> Self {
        Self {
            allow: true,
            policy: by.map(|by| by.policy.clone()),
            rule: by.map(|by| by.rule.clone()),
            log: false,
            rate_limit: None,
            segment: None,
            steps: Vec::new(),
        }
    }

    /// Why the packet's source address may not enter where it does, if that is why it is dropped.
    pub fn spoofed(&self) -> Option<&str> {
        let step = self.steps.iter().find(|step| step.stage == Stage::Source);
        step.map(|step| step.text.as_str())
    }

    pub(super) fn deny(by: &Decider) -> Self {
        Self { allow: false, ..Self::allow(Some(by)) }
    }

    /// What a tier of filter policies has decided, unless that is a pass.
    pub(super) fn of_filter(decision: &Decision) -> Option<Self> {
        match decision.action {
            FilterAction::Allow => {
                // Answers have a bucket of their own, deeper by a second's packets.
                let of_answers = |limit: RateLimit| {
                    let burst = limit.burst.saturating_add(limit.packets_per_second);
                    RateLimit { burst, ..limit }
                };
                let rate_limit = match decision.matched {
                    Matched::Directly => decision.rate_limit,
                    Matched::AsReply | Matched::AsError => decision.rate_limit.map(of_answers),
                };
                Some(Self { rate_limit, ..Self::allow(Some(&decision.by)) })
            }
            FilterAction::Deny => Some(Self { log: decision.log, ..Self::deny(&decision.by) }),
            FilterAction::Pass => None,
        }
    }
}

/// What one stage said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// What it said.
    pub outcome: Outcome,
    /// The policy that made it say so.
    pub policy: Option<String>,
    /// And the policy's rule.
    pub rule: Option<String>,
    /// All of it in a plain sentence.
    pub text: String,
}

/// Stages of a packet's way, see docs/policy-semantics.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The switch cannot parse it and drops it, whatever the policy.
    Parser,
    /// Which segment it enters in.
    Segment,
    /// Whether its source address may enter there.
    Source,
    /// The switch cannot read what is in it.
    Unread,
    /// Filter policies of tier admin.
    FilterAdmin,
    /// The source pod's egress side.
    Egress,
    /// That side denied: does the packet answer what the pod's ingress side lets in?
    EgressReply,
    /// That side denied: is the packet an ICMP error about what the pod's ingress side lets in?
    EgressRelated,
    /// The destination pod's ingress side.
    Ingress,
    /// That side denied: does the packet answer what the pod's egress side lets out?
    IngressReply,
    /// That side denied: is the packet an ICMP error to a pod that may have sent what it is about?
    IngressRelated,
    /// Filter policies of tier baseline.
    FilterBaseline,
}

/// What a stage said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Found (the segment).
    Found,
    /// Allow.
    Allow,
    /// Deny.
    Deny,
    /// A rule gave the decision to later stages.
    Pass,
    /// No rule had an opinion.
    None,
}

impl Step {
    pub(super) fn entrance(entrance: &Entrance) -> Self {
        let port = entrance.port.map(|port| format!("port {port}"));
        let vlan = entrance.vlan.map(|vlan| format!("VLAN {vlan}"));
        let place = [port, vlan].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let place = if place.is_empty() { place } else { format!(" ({place})") };
        let (outcome, text) = match &entrance.segment {
            Some(segment) => (Outcome::Found, format!("enters in segment {segment}{place}")),
            None => (Outcome::None, format!("enters in no segment{place}")),
        };
        Self { stage: Stage::Segment, outcome, policy: None, rule: None, text }
    }

    pub(super) fn filter(tier: FilterTier, decision: Option<&Decision>) -> Self {
        let (stage, name) = match tier {
            FilterTier::Admin => (Stage::FilterAdmin, "filter policies of tier admin"),
            FilterTier::Baseline => (Stage::FilterBaseline, "filter policies of tier baseline"),
        };
        let Some(decision) = decision else {
            let text = format!("{name}: no match");
            return Self { stage, outcome: Outcome::None, policy: None, rule: None, text };
        };
        let (outcome, verb) = match decision.action {
            FilterAction::Allow => (Outcome::Allow, "allowed"),
            FilterAction::Deny => (Outcome::Deny, "denied"),
            FilterAction::Pass => (Outcome::Pass, "passed on"),
        };
        let reply = match decision.matched {
            Matched::Directly => "",
            Matched::AsReply => ", as a reply to what it allows",
            Matched::AsError => ", as an ICMP error about what it allows",
        };
        let text = format!("{name}: {verb} by {}{reply}", decision.by.text());
        Self::by(stage, outcome, &decision.by, text)
    }

    pub(super) fn side(direction: Direction, pod: &ObjectName, side: &Side) -> Self {
        let stage = match direction {
            Direction::Egress => Stage::Egress,
            Direction::Ingress => Stage::Ingress,
        };
        Self::of_side(stage, &format!("{direction} of pod {}/{}", pod.namespace, pod.name), side)
    }

    pub(super) fn reply(direction: Direction, pod: &ObjectName, side: &Side) -> Self {
        let stage = match direction {
            Direction::Egress => Stage::EgressReply,
            Direction::Ingress => Stage::IngressReply,
        };
        let other = direction.other();
        let subject =
            format!("as a reply to what {other} of pod {}/{} lets through", pod.namespace, pod.name);
        Self::of_side(stage, &subject, side)
    }

    pub(super) fn related(direction: Direction, pod: &ObjectName, side: &Side) -> Self {
        let pod = format!("pod {}/{}", pod.namespace, pod.name);
        match direction {
            Direction::Egress => {
                let subject = format!("as an ICMP error about what the ingress of {pod} lets in");
                Self::of_side(Stage::EgressRelated, &subject, side)
            }
            Direction::Ingress => {
                let subject = format!("as an ICMP error about something that {pod} may have sent");
                Self::of_side(Stage::IngressRelated, &subject, side)
            }
        }
    }

    pub(super) fn spoofed(text: String) -> Self {
        Self { stage: Stage::Source, outcome: Outcome::Deny, policy: None, rule: None, text }
    }

    pub(super) fn overtagged() -> Self {
        let text = format!("dropped, whatever the policy: it has more than {MAX_TAGS} VLAN tags");
        Self { stage: Stage::Parser, outcome: Outcome::Deny, policy: None, rule: None, text }
    }

    pub(super) fn unread(verdict: &Verdict) -> Self {
        let by = verdict.policy.clone().zip(verdict.rule.clone());
        let by = by.map(|(policy, rule)| Decider { policy, rule });
        let text = "the switch cannot read it, and some host may find IP in it";
        match (verdict.allow, by) {
            (true, None) => Self {
                stage: Stage::Unread,
                outcome: Outcome::None,
                policy: None,
                rule: None,
                text: format!("{text}: no policy denies any"),
            },
            (true, Some(by)) => {
                Self::by(Stage::Unread, Outcome::Allow, &by, format!("{text}: allowed by {}", by.text()))
            }
            (false, by) => {
                let by = by.unwrap_or(Decider { policy: String::new(), rule: String::new() });
                let text = format!("{text}: denied by {}", by.text());
                Self::by(Stage::Unread, Outcome::Deny, &by, text)
            }
        }
    }

    fn of_side(stage: Stage, subject: &str, side: &Side) -> Self {
        match side {
            Side::Allow { by } => {
                Self::by(stage, Outcome::Allow, by, format!("{subject}: allowed by {}", by.text()))
            }
            Side::Deny { by, .. } => {
                Self::by(stage, Outcome::Deny, by, format!("{subject}: denied by {}", by.text()))
            }
            Side::Undecided => Self {
                stage,
                outcome: Outcome::None,
                policy: None,
                rule: None,
                text: format!("{subject}: no policy decides"),
            },
        }
    }

    fn by(stage: Stage, outcome: Outcome, by: &Decider, text: String) -> Self {
        Self { stage, outcome, policy: Some(by.policy.clone()), rule: Some(by.rule.clone()), text }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn allow_or_deny<S: Serializer>(allow: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *allow { "allow" } else { "deny" })
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn rate_limit<S: Serializer>(limit: &Option<RateLimit>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Limit {
        packets_per_second: u32,
        burst: u32,
    }
    limit
        .map(|limit| Limit { packets_per_second: limit.packets_per_second, burst: limit.burst })
        .serialize(serializer)
}
