//! Which table and action says what.

use outplane_p4runtime::entry::Action;

use super::{Compiler, Direction, Effect, Stage};
use crate::program::{ActionKind, Table};

impl Compiler<'_> {
    /// The table and action by which a side decides.
    pub(super) fn decision(
        &self,
        direction: Direction,
        stage: Stage,
        effect: Effect,
        origin: usize,
    ) -> (Table, Action) {
        use ActionKind as A;
        let (table, [permit, deny, deny_log, pass]) = match (direction, stage) {
            (Direction::Egress, Stage::Admin) => {
                let deny = A::EgressAdminDeny;
                (Table::PodEgressAdmin, [A::EgressAdminPermit, deny, deny, A::EgressAdminPass])
            }
            (Direction::Egress, Stage::Main) => {
                (Table::PodEgress, [A::EgressPermit, A::EgressDeny, A::EgressDenyLog, A::EgressPass])
            }
            (Direction::Ingress, Stage::Admin) => {
                let deny = A::IngressAdminDeny;
                (Table::PodIngressAdmin, [A::IngressAdminPermit, deny, deny, A::IngressAdminPass])
            }
            (Direction::Ingress, Stage::Main) => {
                (Table::PodIngress, [A::IngressPermit, A::IngressDeny, A::IngressDenyLog, A::IngressPass])
            }
        };
        let action = match effect {
            Effect::Permit => self.program.action(permit, &[]),
            Effect::DenyLog if stage == Stage::Main => {
                self.program.action(deny_log, &[self.rows.origin_of(origin).tag().into()])
            }
            Effect::Deny | Effect::DenyLog => self.program.action(deny, &[]),
            Effect::Pass => self.program.action(pass, &[]),
        };
        (table, action)
    }

    /// The table and action by which a rule of one direction answers the other direction's denial.
    pub(super) fn answer(&self, direction: Direction, stage: Stage, effect: Effect) -> (Table, Action) {
        use ActionKind as A;
        let (table, [reply, no_reply, pass]) = match (direction.other(), stage) {
            (Direction::Egress, Stage::Admin) => (
                Table::PodEgressAdminReply,
                [A::EgressAdminReply, A::EgressAdminNoReply, A::EgressAdminReplyPass],
            ),
            (Direction::Egress, Stage::Main) => {
                (Table::PodEgressReply, [A::EgressReply, A::EgressNoReply, A::EgressNoReply])
            }
            (Direction::Ingress, Stage::Admin) => (
                Table::PodIngressAdminReply,
                [A::IngressAdminReply, A::IngressAdminNoReply, A::IngressAdminReplyPass],
            ),
            (Direction::Ingress, Stage::Main) => {
                (Table::PodIngressReply, [A::IngressReply, A::IngressNoReply, A::IngressNoReply])
            }
        };
        let action = match effect {
            Effect::Permit => reply,
            Effect::Deny | Effect::DenyLog => no_reply,
            Effect::Pass => pass,
        };
        (table, self.program.action(action, &[]))
    }
}
