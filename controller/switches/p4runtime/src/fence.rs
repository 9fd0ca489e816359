//! Fences as election ids: the generation above, the attempt below. Here alone they are one.

use outplane_driver::Fence;

/// The election id that an attempt writes under: who has the higher fence has the higher id.
pub fn election_id(fence: Fence) -> u128 {
    u128::from(fence.generation) << 64 | u128::from(fence.attempt)
}

/// The fence behind an election id that a switch names: every id is some fence's.
pub fn fence_of(election_id: u128) -> Fence {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    Fence { generation: half(election_id >> 64), attempt: half(election_id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_and_election_ids_are_one() {
        assert_eq!(election_id(Fence::new(5, 1)), (5 << 64) + 1);
        let fences = [Fence::default(), Fence::new(5, 1), Fence::new(5, u64::MAX), Fence::new(u64::MAX, 0)];
        assert!(fences.map(election_id).is_sorted());
        assert_eq!(fences.map(|fence| fence_of(election_id(fence))), fences);
    }
}
