//! The stream epoch of a start: a number that nobody had before, whatever becomes of requests.

use outplane_rmdp_core::chain::HIGHEST;
use outplane_rmdp_core::object::{Object, StreamEpoch};

use crate::chain::Chain;
use crate::error::Error;
use crate::objects::Objects;

/// Sender id of commands: they send hints and nothing else, under epochs of their own.
pub const COMMANDS: u32 = 0;
/// Whose stream epochs commands take.
pub(crate) const COMMANDS_NAME: &str = "commands";

/// How often another number is tried when others take them.
const TRIES: u32 = 1000;

/// Takes the next stream epoch of a node, once. After a fault it goes on where it was: what it may have created is
/// recognised by its nonce, so that a lost answer costs no number, and nobody has another's.
#[derive(Debug)]
pub struct Epoch {
    chain: Chain,
    node: String,
    nonce: String,
    /// The number that it may have created.
    tried: Option<u64>,
}

impl Epoch {
    /// For one start of this node.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(node: &str) -> Result<Self, Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let nonce = format!("{:032x}", u128::from_be_bytes(random));
        Ok(Self { chain: Chain::Epochs(node.to_owned()), node: node.to_owned(), nonce, tried: None })
    }

    /// What tells this start's number from another's.
    pub(crate) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Takes it. Its number.
    ///
    /// # Errors
    /// The store's, after which it may be asked again; that others take every number.
    pub async fn take(&mut self, objects: &Objects) -> Result<u64, Error> {
        let mut last = self.chain.key(0);
        for _ in 0..TRIES {
            let number = match self.tried {
                Some(number) => number,
                None => self.chain.newest(objects, 0).await?.unwrap_or(0) + 1,
            };
            if number > HIGHEST {
                return Err(Error::EndOfNumbers(self.chain.key(number - 1)));
            }
            self.tried = Some(number);
            let (node, nonce) = (self.node.clone(), self.nonce.clone());
            let epoch = StreamEpoch { node, epoch: number, nonce, at_ms: 0 };
            let key = self.chain.key(number);
            let ours = objects.create(&key, &mut Object::Epoch(epoch)).await?
                || match objects.get(&key).await {
                    Ok(Some(Object::Epoch(there))) => there.nonce == self.nonce,
                    Ok(_) | Err(Error::Object(_)) => false,
                    Err(error) => return Err(error),
                };
            // What is below the newest may have been another's before it was swept.
            let taken = ours && Box::pin(self.chain.overtaken(objects, number)).await?.is_none();
            self.tried = None;
            if taken {
                return Ok(number);
            }
            last = key;
        }
        Err(Error::Contended { tries: TRIES, last })
    }
}
