//! What rows say, in the words of `outplane.p4`: tables, actions, match fields.

use outplane_p4runtime::bytestring::max_value;
use outplane_p4runtime::entry::{Action, Match};

use crate::program::{ActionKind, Field, Program, Table};
use crate::rows::terms::{Condition, Direction, Effect, PodTier, Stage, Traffic};

/// The table that holds the rows of a stage.
pub(crate) fn table(stage: Stage) -> Table {
    match stage {
        Stage::FilterAdmin => Table::FilterAdmin,
        Stage::FilterBaseline => Table::FilterBaseline,
        Stage::Pods(Direction::Egress, PodTier::Admin) => Table::PodEgressAdmin,
        Stage::Pods(Direction::Egress, PodTier::Main) => Table::PodEgress,
        Stage::Pods(Direction::Ingress, PodTier::Admin) => Table::PodIngressAdmin,
        Stage::Pods(Direction::Ingress, PodTier::Main) => Table::PodIngress,
        Stage::Answers(Direction::Egress, PodTier::Admin) => Table::PodEgressAdminReply,
        Stage::Answers(Direction::Egress, PodTier::Main) => Table::PodEgressReply,
        Stage::Answers(Direction::Ingress, PodTier::Admin) => Table::PodIngressAdminReply,
        Stage::Answers(Direction::Ingress, PodTier::Main) => Table::PodIngressReply,
    }
}

/// What the actions of a table are called.
struct Actions {
    allow: ActionKind,
    /// Filter policies alone limit rates.
    limited: Option<ActionKind>,
    deny: ActionKind,
    /// None: its denials are not logged.
    deny_log: Option<ActionKind>,
    pass: ActionKind,
}

fn actions(stage: Stage) -> Actions {
    use ActionKind as A;
    let (allow, limited, deny, deny_log, pass) = match stage {
        Stage::FilterAdmin => {
            (A::AdminPermit, Some(A::AdminPermitLimited), A::AdminDeny, Some(A::AdminDenyLog), A::AdminPass)
        }
        Stage::FilterBaseline => (
            A::BaselinePermit,
            Some(A::BaselinePermitLimited),
            A::BaselineDeny,
            Some(A::BaselineDenyLog),
            A::BaselinePass,
        ),
        Stage::Pods(Direction::Egress, PodTier::Admin) => {
            (A::EgressAdminPermit, None, A::EgressAdminDeny, None, A::EgressAdminPass)
        }
        Stage::Pods(Direction::Egress, PodTier::Main) => {
            (A::EgressPermit, None, A::EgressDeny, Some(A::EgressDenyLog), A::EgressPass)
        }
        Stage::Pods(Direction::Ingress, PodTier::Admin) => {
            (A::IngressAdminPermit, None, A::IngressAdminDeny, None, A::IngressAdminPass)
        }
        Stage::Pods(Direction::Ingress, PodTier::Main) => {
            (A::IngressPermit, None, A::IngressDeny, Some(A::IngressDenyLog), A::IngressPass)
        }
        Stage::Answers(Direction::Egress, PodTier::Admin) => {
            (A::EgressAdminReply, None, A::EgressAdminNoReply, None, A::EgressAdminReplyPass)
        }
        // No stage comes after the last one: what it leaves open is no answer.
        Stage::Answers(Direction::Egress, PodTier::Main) => {
            (A::EgressReply, None, A::EgressNoReply, None, A::EgressNoReply)
        }
        Stage::Answers(Direction::Ingress, PodTier::Admin) => {
            (A::IngressAdminReply, None, A::IngressAdminNoReply, None, A::IngressAdminReplyPass)
        }
        Stage::Answers(Direction::Ingress, PodTier::Main) => {
            (A::IngressReply, None, A::IngressNoReply, None, A::IngressNoReply)
        }
    };
    Actions { allow, limited, deny, deny_log, pass }
}

/// The action that does this.
pub(crate) fn action(program: &Program, stage: Stage, effect: Effect) -> Action {
    let Actions { allow, limited, deny, deny_log, pass } = actions(stage);
    let (kind, argument) = match effect {
        Effect::Allow => (allow, None),
        Effect::AllowLimited { cell } => match limited {
            Some(limited) => (limited, Some(cell.into())),
            None => (allow, None),
        },
        Effect::Deny => (deny, None),
        Effect::DenyLog { tag } => match deny_log {
            Some(deny_log) => (deny_log, Some(tag.into())),
            None => (deny, None),
        },
        Effect::Pass => (pass, None),
    };
    program.action(kind, argument.as_slice())
}

/// The match that a condition is in a table.
pub(crate) fn matching(table: Table, condition: Condition) -> (Field, Match) {
    let (field, value) = match condition {
        Condition::TcpFlags { set, clear } => {
            return (Field::TcpFlags, Match::Ternary { value: set.into(), mask: (set | clear).into() });
        }
        Condition::Traffic(traffic) => (Field::Traffic, number(traffic)),
        Condition::EtherType(number) => (Field::EtherType, number.into()),
        Condition::Protocol(number) => (Field::Protocol, number.into()),
        Condition::IcmpType(number) => (Field::IcmpType, number.into()),
        Condition::IcmpCode(number) => (Field::IcmpCode, number.into()),
        Condition::LaterFragment(is) => (Field::Fragment, is.into()),
        Condition::Established(is) => (Field::Established, is.into()),
        Condition::Reply(is) => (Field::Reply, is.into()),
        Condition::Related(is) => (Field::Related, is.into()),
    };
    whole(table, field, value)
}

/// All bits of a field.
pub(crate) fn whole(table: Table, field: Field, value: u128) -> (Field, Match) {
    let bits = table.fields().iter().find(|(own, _)| *own == field).map_or(0, |(_, bits)| *bits);
    (field, Match::Ternary { value, mask: max_value(bits) })
}

/// The number of frames that the switch cannot read.
pub(crate) const TRAFFIC_UNREAD: u128 = 4;

/// What the parser numbers kinds of frames by.
fn number(traffic: Traffic) -> u128 {
    match traffic {
        Traffic::Ip => 0,
        Traffic::Arp => 1,
        Traffic::NeighborDiscovery => 2,
        Traffic::NonIp => 3,
        Traffic::Unread => TRAFFIC_UNREAD,
    }
}
