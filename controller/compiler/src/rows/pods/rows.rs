//! A rule of a side as rows: in its own direction's stage, and mirrored among the answers to the other direction.

use outplane_intent::deciders;

use super::super::row::{Addresses, RowMatch};
use super::super::terms::{Condition, Direction, Effect, PodTier, Stage};
use super::{Compiler, PortTerm, Rule};
use crate::addresses::AddressSet;
use crate::origin::Origin;
use crate::ranges::Ranges;

const TCP: u8 = 6;

impl Compiler<'_> {
    /// Adds the rows of a rule.
    pub(super) fn rule(&mut self, rule: &Rule<'_>) {
        for term in rule.ports {
            self.direct(rule, term);
            self.mirrored(rule, term);
        }
    }

    /// The rows of a rule in its own direction's stage.
    fn direct(&mut self, rule: &Rule<'_>, term: &PortTerm) {
        let stage = Stage::Pods(rule.direction, rule.tier);
        let deny = matches!(rule.effect, Effect::Deny | Effect::DenyLog { .. });
        let (subject, peers) = (Addresses::Of(rule.subject.clone()), rule.peers);
        let (src, dst) = match rule.direction {
            Direction::Egress => (&subject, peers),
            Direction::Ingress => (peers, &subject),
        };
        let mut push = |dst: &Addresses, dport: Option<&Ranges<u16>>, conditions: &[Condition]| {
            let conditions = conditions.to_vec();
            let matches = RowMatch { src, dst, sport: None, dport, segments: &[], conditions };
            self.rows.push(stage, rule.priority, rule.effect, rule.origin, matches);
        };
        match term {
            PortTerm::Any => push(dst, None, &[]),
            PortTerm::Protocol(protocol) => push(dst, None, &[Condition::Protocol(*protocol)]),
            PortTerm::Ports(protocol, ports) => {
                let protocol = Condition::Protocol(*protocol);
                match (deny, ports.is_full()) {
                    // Class 0 keeps later fragments away; where no class is matched, the field must.
                    (true, true) => push(dst, None, &[protocol, Condition::LaterFragment(false)]),
                    (false, true) => push(dst, None, &[protocol]),
                    (true, false) => push(dst, Some(ports), &[protocol]),
                    (false, false) => {
                        push(dst, Some(ports), &[protocol]);
                        push(dst, None, &[protocol, Condition::LaterFragment(true)]);
                    }
                }
            }
            PortTerm::Named(protocol, named) => {
                let protocol = Condition::Protocol(*protocol);
                for (port, pods) in named.iter() {
                    push(&dst.intersect(pods), Some(&Ranges::new(vec![(*port, *port)])), &[protocol]);
                }
                if !deny {
                    let named = AddressSet::union_of(named.values());
                    push(&dst.intersect(&named), None, &[protocol, Condition::LaterFragment(true)]);
                }
            }
        }
    }

    /// The rows of a rule, mirrored, among the answers to the same pods' other direction. Only what may be a reply comes
    /// there: established TCP and, for pods in mode `reverse`, UDP, SCTP and echo replies.
    fn mirrored(&mut self, rule: &Rule<'_>, term: &PortTerm) {
        let modes = self.modes(rule.direction.other());
        let replies = rule.subject.intersect(&modes.replies);
        let reverse = rule.subject.intersect(&modes.reverse);
        if replies.is_empty() {
            return;
        }
        let of_protocol = |protocol: u8| if protocol == TCP { &replies } else { &reverse };
        match term {
            PortTerm::Any if rule.effect == Effect::Deny => {
                self.answers(rule, &replies, None, None, None, &[]);
            }
            // Undecided is enough for established TCP only.
            PortTerm::Any if rule.effect == Effect::Pass && rule.tier == PodTier::Main => {
                self.answers(rule, &replies, None, None, None, &[Condition::Established(true)]);
                self.answers(rule, &reverse, None, None, None, &[Condition::Established(false)]);
            }
            PortTerm::Any => {
                let established = replies.minus(&modes.reverse);
                self.answers(rule, &established, None, None, None, &[Condition::Established(true)]);
                self.answers(rule, &reverse, None, None, None, &[]);
            }
            PortTerm::Protocol(protocol) => {
                self.answers(rule, of_protocol(*protocol), None, Some(*protocol), None, &[]);
            }
            PortTerm::Ports(protocol, ports) => {
                self.answers(rule, of_protocol(*protocol), None, Some(*protocol), Some(ports), &[]);
            }
            PortTerm::Named(protocol, named) => {
                for (port, pods) in named.iter() {
                    let ports = Ranges::new(vec![(*port, *port)]);
                    let subject = of_protocol(*protocol);
                    self.answers(rule, subject, Some(pods), Some(*protocol), Some(&ports), &[]);
                }
            }
        }
    }

    /// `named`: the addresses that may be the mirror image's destination.
    fn answers(
        &mut self,
        rule: &Rule<'_>,
        subject: &AddressSet,
        named: Option<&AddressSet>,
        protocol: Option<u8>,
        ports: Option<&Ranges<u16>>,
        conditions: &[Condition],
    ) {
        let stage = Stage::Answers(rule.direction.other(), rule.tier);
        let mut effect = rule.effect;
        let mut origin = rule.origin;
        // A Pass of the Baseline tier leaves the side undecided: enough for established TCP, not for the others.
        if rule.effect == Effect::Pass && rule.tier == PodTier::Main {
            let established = protocol == Some(TCP) || conditions.contains(&Condition::Established(true));
            effect = if established { Effect::Allow } else { Effect::Deny };
            if established {
                origin = self.rows.origin(Origin::COMMON, deciders::REPLY);
            }
        }
        let mut subject = Addresses::Of(subject.clone());
        let mut peers = rule.peers.clone();
        if let Some(named) = named {
            match rule.direction {
                Direction::Ingress => subject = subject.intersect(named),
                Direction::Egress => peers = peers.intersect(named),
            }
        }
        // What the rule calls source is the destination here.
        let (src, dst) = match rule.direction {
            Direction::Egress => (&peers, &subject),
            Direction::Ingress => (&subject, &peers),
        };
        let conditions = conditions.iter().copied().chain(protocol.map(Condition::Protocol)).collect();
        let matches = RowMatch { src, dst, sport: ports, dport: None, segments: &[], conditions };
        self.rows.push(stage, rule.priority, effect, origin, matches);
    }
}
