//! A witness of what the switch is asked to change: who wrote what, as the switch itself saw it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use proto::set_forwarding_pipeline_config_request::Action;

use super::arbitration::RoleKey;
use crate::state::{Outcome, Refusal};

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct Requester {
    /// Its role.
    pub role: RoleKey,
    /// The election id that the request came with.
    pub election_id: Option<u128>,
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
}

/// Something that happened, told in the order in which it took effect and before any client hears of it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client has become the primary of a role. Told on a thread that must not block for long.
    Primary {
        /// Of which role.
        role: &'a RoleKey,
        /// Its election id.
        election_id: u128,
    },
    /// A `WriteRequest` for this device.
    Write {
        /// Whose.
        by: &'a Requester,
        /// What it asked for.
        updates: &'a [proto::Update],
        /// One outcome for each update, or why nothing was tried: `PERMISSION_DENIED` for anybody but the primary.
        outcome: Result<&'a [Outcome<()>], &'a Refusal>,
    },
    /// A `SetForwardingPipelineConfigRequest` for this device.
    Pipeline {
        /// Whose.
        by: &'a Requester,
        /// What it asked for.
        action: Action,
        /// Why it was refused, if it was.
        outcome: Result<(), &'a Refusal>,
    },
}

/// Called for each [`Event`]; the client waits for its answer meanwhile.
#[derive(Clone)]
pub struct Witness(Arc<dyn Fn(&Event<'_>) + Send + Sync>);

impl Witness {
    /// A witness that does this.
    pub fn new(tell: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Witness")
    }
}
