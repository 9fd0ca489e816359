//! Hints from commands: "there is something new, look". They save polls and nothing else, so whatever goes wrong with
//! them is only told.

use std::net::SocketAddr;

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_transport::{Destinations, Sender, SenderSettings};
use outplane_rmdp_wire::{Hint, HintOf, Key};

use crate::epoch::{COMMANDS, COMMANDS_NAME, Epoch};
use crate::error::Error;
use crate::file::NodeFile;
use crate::network;
use crate::objects::Objects;

/// Sends hints to all members of a configuration.
#[derive(Debug)]
pub struct Hinter {
    sender: Sender,
    members: Vec<SocketAddr>,
}

impl Hinter {
    /// Takes a stream epoch and opens sockets. Do it while something else is under way.
    ///
    /// # Errors
    /// The store's; no secret for the key that the configuration signs with; no sockets.
    pub async fn new(objects: &Objects, file: &NodeFile, config: &SharedConfig) -> Result<Self, Error> {
        let id = config.keys.sign_with;
        let secret = file.keys.get(&id).ok_or_else(|| {
            Error::Member(format!(
                "this node's file has no secret for key {id}, which datagrams are signed with"
            ))
        })?;
        let mut epoch = Epoch::new(COMMANDS_NAME)?;
        let (network, epoch) = tokio::try_join!(network::of(objects), epoch.take(objects))?;
        let sender = Sender::open(SenderSettings {
            network: network.unwrap_or_default(),
            sender: COMMANDS,
            epoch,
            key: Key { id, secret: *secret.expose() },
            interface: file.network.interface.clone(),
            destinations: Destinations { ttl: config.datagrams.ttl, ..Destinations::default() },
        });
        let sender = sender.map_err(|error| Error::Transport(error.to_string()))?;
        Ok(Self { sender, members: config.members.iter().map(|member| member.address).collect() })
    }

    /// Sends a hint to every member; how many datagrams the kernel took.
    pub fn hint(&mut self, what: HintOf, number: u64) -> usize {
        let Self { sender, members } = self;
        let hint = Hint { what, number };
        members.iter().filter(|address| sender.hint(**address, &hint).unwrap_or(false)).count()
    }
}
