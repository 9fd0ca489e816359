//! Fences as election ids: the generation above, then the audit, the attempt below. Here alone they are one.

use std::sync::Arc;

use outplane_driver::Fence;
use outplane_p4runtime_client::Problem as ClientProblem;
use outplane_p4runtime_client::{Options, Primacy, Target};
use tokio::sync::watch;

use crate::connection::Connection;
use crate::errors::{Error, Problem};
use crate::pipeline::Pipeline;

/// Of an election id: the attempt.
const ATTEMPT_BITS: u32 = u32::BITS - Fence::MAX_ATTEMPT.leading_zeros();
/// Of an election id: the generation above, what tells of it below.
const LOW_BITS: u32 = 64;
const _: () = assert!(Fence::MAX_AUDIT == u64::MAX >> ATTEMPT_BITS);

/// The election id that an attempt writes under: who has the higher fence has the higher id.
pub fn election_id(fence: Fence) -> u128 {
    let Fence { generation, audit, attempt } = fence;
    let low = audit.min(Fence::MAX_AUDIT) << ATTEMPT_BITS | u64::from(attempt.min(Fence::MAX_ATTEMPT));
    u128::from(generation) << LOW_BITS | u128::from(low)
}

/// The fence behind an election id that a switch names: every id is some fence's.
pub fn fence_of(election_id: u128) -> Fence {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    let (generation, low) = (half(election_id >> LOW_BITS), half(election_id));
    let attempt = u32::try_from(low & u64::from(Fence::MAX_ATTEMPT)).unwrap_or(u32::MAX);
    Fence { generation, audit: low >> ATTEMPT_BITS, attempt }
}

/// As people find it in a switch.
pub(crate) fn name(election_id: u128) -> String {
    format!("election id {election_id}")
}

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

    #[test]
    fn fences_and_election_ids_are_one() {
        let repair = |audit, attempt| Fence { generation: 5, audit, attempt };
        assert_eq!(election_id(Fence::new(5, 3)), 5 << 64 | 3);
        assert_eq!(election_id(repair(2, 3)), 5 << 64 | 2 << 20 | 3);
        // A repair is above every attempt at the generation's own task, and below the next generation.
        let order = [
            Fence::default(),
            Fence::new(5, 1),
            Fence::new(5, Fence::MAX_ATTEMPT),
            repair(1, 1),
            repair(1, Fence::MAX_ATTEMPT),
            repair(2, 1),
            repair(Fence::MAX_AUDIT, 1),
            Fence::new(6, 1),
            Fence { generation: u64::MAX, audit: Fence::MAX_AUDIT, attempt: Fence::MAX_ATTEMPT },
        ];
        assert!(order.is_sorted() && order.map(election_id).is_sorted());
        assert_eq!(order.map(|fence| fence_of(election_id(fence))), order);
        for id in [0, 1, u128::MAX, u128::from(u64::MAX), 3 << 64 | 0xf_ffff] {
            assert_eq!(election_id(fence_of(id)), id);
        }
        // What does not fit is the highest that does: no bit of it becomes a generation's.
        assert_eq!(
            fence_of(election_id(repair(u64::MAX, u32::MAX))),
            repair(Fence::MAX_AUDIT, Fence::MAX_ATTEMPT)
        );
    }

    #[test]
    fn whoever_only_asks_is_below_all_fences() {
        for chance in [0, u16::MAX] {
            assert!((2..election_id(Fence::new(1, 0))).contains(&below_all_fences(chance)));
        }
    }
}
