//! A rule of a side as rows: in its own direction's table, and mirrored in the other direction's reply table.

use outplane_intent::deciders;
use outplane_p4runtime::entry::Match;

use super::super::row::{Addresses, RowMatch, whole};
use super::{Compiler, Direction, Effect, PortTerm, Rule, Stage};
use crate::addresses::AddressSet;
use crate::program::Field;
use crate::ranges::Ranges;
use crate::state::Origin;

const TCP: u8 = 6;

impl Compiler<'_> {
    /// Adds the rows of a rule.
    pub(super) fn rule(&mut self, rule: &Rule<'_>) {
        for term in rule.ports {
            self.direct(rule, term);
            self.mirrored(rule, term);
        }
    }

    /// The rows of a rule in its own direction's table.
    fn direct(&mut self, rule: &Rule<'_>, term: &PortTerm) {
        let (table, action) = self.decision(rule.direction, rule.stage, rule.effect, rule.origin);
        let deny = matches!(rule.effect, Effect::Deny | Effect::DenyLog);
        let (subject, peers) = (Addresses::Of(rule.subject.clone()), rule.peers);
        let (src, dst) = match rule.direction {
            Direction::Egress => (&subject, peers),
            Direction::Ingress => (peers, &subject),
        };
        let mut push = |dst: &Addresses, dport: Option<&Ranges<u16>>, fixed: &[(Field, u128)]| {
            let fixed = fixed.iter().map(|(field, value)| whole(table, *field, *value)).collect();
            let matches = RowMatch { src, dst, sport: None, dport, segments: &[], fixed };
            self.rows.push(table, rule.priority, action.clone(), rule.origin, matches);
        };
        match term {
            PortTerm::Any => push(dst, None, &[]),
            PortTerm::Protocol(protocol) => push(dst, None, &[(Field::Protocol, (*protocol).into())]),
            PortTerm::Ports(protocol, ports) => {
                let protocol = (Field::Protocol, u128::from(*protocol));
                match (deny, ports.is_full()) {
                    // Class 0 keeps later fragments away; where no class is matched, the field must.
                    (true, true) => push(dst, None, &[protocol, (Field::Fragment, 0)]),
                    (false, true) => push(dst, None, &[protocol]),
                    (true, false) => push(dst, Some(ports), &[protocol]),
                    (false, false) => {
                        push(dst, Some(ports), &[protocol]);
                        push(dst, None, &[protocol, (Field::Fragment, 1)]);
                    }
                }
            }
            PortTerm::Named(protocol, named) => {
                let protocol = (Field::Protocol, u128::from(*protocol));
                for (port, pods) in named.iter() {
                    push(&dst.intersect(pods), Some(&Ranges::new(vec![(*port, *port)])), &[protocol]);
                }
                if !deny {
                    let named = AddressSet::union_of(named.values());
                    push(&dst.intersect(&named), None, &[protocol, (Field::Fragment, 1)]);
                }
            }
        }
    }

    /// The rows of a rule, mirrored, in the reply table of the same pods' other direction. Only what may be a reply comes
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
            PortTerm::Any if rule.effect == Effect::Pass && rule.stage == Stage::Main => {
                self.answers(rule, &replies, None, None, None, &[(Field::Established, 1)]);
                self.answers(rule, &reverse, None, None, None, &[(Field::Established, 0)]);
            }
            PortTerm::Any => {
                let established = replies.minus(&modes.reverse);
                self.answers(rule, &established, None, None, None, &[(Field::Established, 1)]);
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
        fields: &[(Field, u128)],
    ) {
        let (table, mut action) = self.answer(rule.direction, rule.stage, rule.effect);
        let mut origin = rule.origin;
        // A Pass of the Baseline tier leaves the side undecided: enough for established TCP, not for the others.
        if rule.effect == Effect::Pass && rule.stage == Stage::Main {
            let established = protocol == Some(TCP) || fields.contains(&(Field::Established, 1));
            let effect = if established { Effect::Permit } else { Effect::Deny };
            action = self.answer(rule.direction, rule.stage, effect).1;
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
        let mut fixed: Vec<(Field, Match)> =
            fields.iter().map(|(field, value)| whole(table, *field, *value)).collect();
        fixed.extend(protocol.map(|protocol| whole(table, Field::Protocol, protocol.into())));
        let matches = RowMatch { src, dst, sport: ports, dport: None, segments: &[], fixed };
        self.rows.push(table, rule.priority, action, origin, matches);
    }
}
