//! Who may write to a switch, and who might: asked without a fence of one's own, in nobody's way.

use std::sync::Arc;

use outplane_driver::Fence;
use outplane_p4runtime_client::{Options, Primacy, Problem as ClientProblem, Target};
use tokio::sync::watch;

use crate::connection::Connection;
use crate::errors::{Error, Problem};
use crate::fence::fence_of;
use crate::pipeline::Pipeline;

/// An id from 2 that is below those of all fences, since these have a generation.
fn below_all_fences(chance: u16) -> u128 {
    u128::from(chance) + 2
}

/// Whether somebody else has this id just now, who is below all fences as well.
fn is_taken(error: &Error) -> bool {
    matches!(*error.problem, Problem::Client(ClientProblem::ArbitrationRefused { .. }))
}

/// Has a switch show whether it refuses whoever was overtaken: [`outplane_p4runtime_client::fences`]. It is asked under an
/// id below all fences, so nobody's way is crossed. One of these numbers after the other makes that, since somebody else may
/// have the same: they are random ones.
///
/// # Errors
/// As there.
pub async fn fences(target: &Target, options: &Options, chances: &[u16]) -> Result<bool, Error> {
    let mut others = chances.iter().copied();
    loop {
        let (chance, tried) = (others.next().unwrap_or_default(), others.len() == 0);
        let options = Options { election_id: below_all_fences(chance), ..options.clone() };
        match outplane_p4runtime_client::fences(target, &options).await.map_err(Error::from) {
            Err(error) if is_taken(&error) && !tried => {}
            answer => return answer,
        }
    }
}

/// The highest fence that a switch has heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Highest {
    /// This one.
    Fence(Fence),
    /// Nobody's: it has been started anew, or forgets whoever is not connected.
    Nobody,
    /// It takes writes from everybody.
    NoArbitration,
}

/// Offers to be a switch's controller under an id that is below all fences, made as for [`fences`], and hears who was above.
/// Nothing is written.
///
/// # Errors
/// What [`Problem`] says of connections and calls; [`ClientProblem::ArbitrationRefused`] where others have each id that was tried.
pub async fn highest(target: &Target, options: &Options, chances: &[u16]) -> Result<Highest, Error> {
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let mut others = chances.iter().copied();
    loop {
        let (chance, tried) = (others.next().unwrap_or_default(), others.len() == 0);
        let options = Options { election_id: below_all_fences(chance), ..options.clone() };
        let error = match Connection::open(target.clone(), Arc::clone(&pipeline), options).await {
            Ok(connection) => {
                let open =
                    connection.primacy().is_some_and(|primacy| *primacy.borrow() == Primacy::NotOffered);
                return Ok(if open { Highest::NoArbitration } else { Highest::Nobody });
            }
            Err(error) => error,
        };
        match &*error.problem {
            Problem::Client(ClientProblem::NotPrimary { primary: Some(id), .. }) => {
                return Ok(Highest::Fence(fence_of(*id)));
            }
            Problem::Client(ClientProblem::ArbitrationRefused { .. }) if !tried => {}
            _ => return Err(error),
        }
    }
}

/// Who may write to a switch, as a stream to it says from now on.
#[derive(Clone, Debug)]
pub struct Primary {
    ours: Option<u128>,
    heard: watch::Receiver<Primacy>,
}

impl Primary {
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        Some(Self { ours: connection.election_id(), heard: connection.primacy()? })
    }

    /// The fence of whoever may write, and whether it is that stream's. None: nobody knows.
    pub fn fence(&self) -> Option<(Fence, bool)> {
        let (id, is_ours) = match &*self.heard.borrow() {
            Primacy::Primary => (self.ours?, true),
            Primacy::Backup(Some(id)) => (*id, false),
            Primacy::Backup(None) | Primacy::NotOffered | Primacy::Lost(_) => return None,
        };
        Some((fence_of(id), is_ours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::election_id;

    #[test]
    fn whoever_only_asks_is_below_all_fences() {
        for chance in [0, u16::MAX] {
            assert!((2..election_id(Fence::new(1, 0))).contains(&below_all_fences(chance)));
        }
    }
}
