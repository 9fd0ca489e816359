//! Who may write: client arbitration (the standard's section 5), without any I/O.
//!
//! For each role the client with the highest election id that was ever seen is primary. A change of primary has two
//! steps: [`Arbiter::update`] takes the role from the old primary and says whom to tell, [`Arbiter::confirm`] gives it
//! to the new one, once writes that had started are through.

use std::collections::BTreeMap;

use outplane_p4runtime::google::protobuf::Any;
use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4::v1 as proto;
use tonic::Code;

use crate::state::{Outcome, Refusal};

/// A stream.
pub type ClientId = u64;

/// A role: its deprecated number and its name. The default role is 0 and empty.
pub type RoleKey = (u64, String);

/// Advice for a client.
pub type Notice = (ClientId, proto::MasterArbitrationUpdate);

/// What an accepted update brings about.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// To be sent now.
    pub notices: Vec<Notice>,
    /// The sender is to be primary: [`Arbiter::confirm`] it, when writes in flight are done.
    pub promoted: bool,
}

#[derive(Debug, Default)]
struct Role {
    /// The highest election id ever seen.
    highest: Option<u128>,
    primary: Option<Primary>,
    /// The configuration that a primary gave last. What it means is not for this switch to know.
    config: Option<Any>,
    clients: BTreeMap<ClientId, Option<u128>>,
    /// When its last client left, as a number that grows.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Primary {
    client: ClientId,
    confirmed: bool,
}

/// The clients of one device.
#[derive(Debug)]
pub struct Arbiter {
    device_id: u64,
    roles: BTreeMap<RoleKey, Role>,
    role_of: BTreeMap<ClientId, RoleKey>,
    max_clients: usize,
    max_roles: usize,
    departures: u64,
}

pub(crate) fn number(id: proto::Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

fn election_id(number: u128) -> proto::Uint128 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    proto::Uint128 { high: (number >> 64) as u64, low: number as u64 }
}

impl Arbiter {
    /// No clients yet. At most `max_clients` clients in a role, and `max_roles` roles. A role's election id is kept
    /// after its clients have gone; where a new role finds no room, the one that was left longest ago is forgotten, but
    /// never the default role.
    pub fn new(device_id: u64, max_clients: usize, max_roles: usize) -> Self {
        let roles = BTreeMap::from([(RoleKey::default(), Role::default())]);
        Self { device_id, roles, role_of: BTreeMap::new(), max_clients, max_roles, departures: 0 }
    }

    /// Takes a client's message. A refusal ends its stream.
    pub fn update(&mut self, client: ClientId, update: &proto::MasterArbitrationUpdate) -> Outcome<Change> {
        #[expect(deprecated, reason = "roles had numbers before they had names")]
        let key = update.role.as_ref().map_or_else(RoleKey::default, |role| (role.id, role.name.clone()));
        let id = update.election_id.map(number);
        match self.role_of.get(&client) {
            None => self.admit(update.device_id, &key)?,
            Some(current) => {
                if update.device_id != self.device_id {
                    let message = format!("this stream is for device {}", self.device_id);
                    return Err(Refusal::failed_precondition(message));
                }
                if *current != key {
                    let message = "a stream keeps its role: open another for another role";
                    return Err(Refusal::failed_precondition(message));
                }
            }
        }
        let role = self.roles.entry(key.clone()).or_default();
        if id.is_some() && role.clients.iter().any(|(other, theirs)| *other != client && *theirs == id) {
            return Err(Refusal::invalid(
                "the election id is another live client's for this device and role",
            ));
        }
        role.clients.insert(client, id);
        self.role_of.insert(client, key.clone());
        let was_primary = role.primary.is_some_and(|primary| primary.client == client);
        if let Some(id) = id.filter(|id| role.highest.is_none_or(|highest| *id >= highest)) {
            role.highest = Some(id);
            role.config = update.role.as_ref().and_then(|role| role.config.clone());
            role.primary = Some(Primary { client, confirmed: false });
            let notices = self.notices(&key, |other| other != client);
            return Ok(Change { notices, promoted: true });
        }
        if was_primary {
            role.primary = None;
        }
        let notices = self.notices(&key, |other| was_primary || other == client);
        Ok(Change { notices, promoted: false })
    }

    /// Whether a new client may join a role.
    fn admit(&mut self, device_id: u64, key: &RoleKey) -> Outcome<()> {
        if device_id != self.device_id {
            return Err(Refusal::not_found(format!(
                "there is no device {device_id}; this is {}",
                self.device_id
            )));
        }
        match self.roles.get(key) {
            Some(role) if role.clients.len() >= self.max_clients => {
                Err(Refusal::exhausted(format!("{} clients in this role", self.max_clients)))
            }
            None if self.roles.len() >= self.max_roles => self.forget_a_role(),
            _ => Ok(()),
        }
    }

    /// Makes room for a role.
    fn forget_a_role(&mut self) -> Outcome<()> {
        let empty =
            self.roles.iter().filter(|(key, role)| role.clients.is_empty() && **key != RoleKey::default());
        let Some(oldest) = empty.min_by_key(|(_, role)| role.left).map(|(key, _)| key.clone()) else {
            return Err(Refusal::exhausted(format!("{} roles have clients", self.max_roles)));
        };
        self.roles.remove(&oldest);
        Ok(())
    }

    /// Makes the client primary whose update was promoted, unless another has come before it; advice for it.
    pub fn confirm(&mut self, client: ClientId) -> Vec<Notice> {
        let Some(key) = self.role_of.get(&client).cloned() else { return Vec::new() };
        let primary = self.roles.get_mut(&key).and_then(|role| role.primary.as_mut());
        match primary.filter(|primary| primary.client == client) {
            Some(primary) => primary.confirmed = true,
            None => return Vec::new(),
        }
        self.notices(&key, |other| other == client)
    }

    /// Forgets a client whose stream has ended; advice for others.
    pub fn leave(&mut self, client: ClientId) -> Vec<Notice> {
        let Some(key) = self.role_of.remove(&client) else { return Vec::new() };
        let Some(role) = self.roles.get_mut(&key) else { return Vec::new() };
        role.clients.remove(&client);
        self.departures += 1;
        role.left = self.departures;
        if role.primary.is_none_or(|primary| primary.client != client) {
            return Vec::new();
        }
        role.primary = None;
        self.notices(&key, |_| true)
    }

    /// Advice for some clients of a role.
    fn notices(&self, key: &RoleKey, to: impl Fn(ClientId) -> bool) -> Vec<Notice> {
        let Some(role) = self.roles.get(key) else { return Vec::new() };
        role.clients
            .keys()
            .filter(|client| to(**client))
            .map(|client| (*client, self.notice(key, role, *client)))
            .collect()
    }

    fn notice(&self, key: &RoleKey, role: &Role, client: ClientId) -> proto::MasterArbitrationUpdate {
        let (code, message) = match role.primary {
            Some(primary) if primary.client == client => (Code::Ok, "you are primary"),
            Some(_) => (Code::AlreadyExists, "you are backup"),
            None => (Code::NotFound, "you are backup, and there is no primary"),
        };
        let default = *key == RoleKey::default() && role.config.is_none();
        #[expect(deprecated, reason = "roles had numbers before they had names")]
        let described = || proto::Role { id: key.0, name: key.1.clone(), config: role.config.clone() };
        proto::MasterArbitrationUpdate {
            device_id: self.device_id,
            role: (!default).then(described),
            election_id: role.highest.map(election_id),
            status: Some(rpc::Status { code: code.into(), message: message.to_owned(), details: Vec::new() }),
        }
    }

    /// Whether a write may be done: `NOT_FOUND` for a role that no client ever had, `PERMISSION_DENIED` for anybody
    /// but its primary.
    pub fn check_primary(&self, key: &RoleKey, id: Option<u128>) -> Outcome<()> {
        let role = self.roles.get(key);
        let role =
            role.ok_or_else(|| Refusal::not_found(format!("no client ever had the role {:?}", key.1)))?;
        let primary = role.primary.filter(|primary| primary.confirmed);
        match primary.and_then(|primary| role.clients.get(&primary.client)) {
            Some(primary) if primary.is_some() && *primary == id => Ok(()),
            Some(_) => Err(Refusal::denied("the election id is not the primary's of this role")),
            None => Err(Refusal::denied("this role has no primary")),
        }
    }

    /// Whether a client is the primary of its role.
    pub fn is_primary(&self, client: ClientId) -> bool {
        self.primaries().any(|primary| primary == client)
    }

    /// Role and election id of a client that is the primary of its role.
    pub fn primacy(&self, client: ClientId) -> Option<(&RoleKey, u128)> {
        let key = self.role_of.get(&client).filter(|_| self.is_primary(client))?;
        let id = *self.roles.get(key)?.clients.get(&client)?;
        Some((key, id?))
    }

    /// The primaries of all roles.
    pub fn primaries(&self) -> impl Iterator<Item = ClientId> {
        self.roles.values().filter_map(|role| role.primary.filter(|it| it.confirmed).map(|it| it.client))
    }
}

#[cfg(test)]
mod tests;
