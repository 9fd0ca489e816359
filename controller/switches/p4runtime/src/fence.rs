//! Fences as election ids: the generation above, then the audit, the attempt below. Here alone they are one.

use outplane_driver::Fence;

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
}
