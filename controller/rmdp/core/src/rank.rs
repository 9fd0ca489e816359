//! Who claims first: rendezvous hashing, so that all controllers that see the same ones alive agree without a word, and
//! that one's loss moves only its own switches. A hint that saves requests: views may differ.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// Fixed, so that every node ranks alike.
const KEYS: (u64, u64) = (0x6f75_7470_6c61_6e65, 0x7261_6e6b_2d76_3031);

/// The weight of `node` for `subject`.
pub fn weight(subject: &str, node: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(KEYS.0, KEYS.1);
    for part in [subject, node] {
        hasher.write(&(part.len() as u64).to_be_bytes());
        hasher.write(part.as_bytes());
    }
    hasher.finish()
}

/// The place of `me` among `nodes` (name, degraded) for attempt `attempt` at `subject`, from 0. Degraded nodes stand
/// behind all others; each attempt begins one place further on, because the last one's owner is gone or has failed. A
/// node that is not among them comes last.
pub fn rank<'a>(nodes: impl Iterator<Item = (&'a str, bool)>, subject: &str, attempt: u32, me: &str) -> u32 {
    let mut order: Vec<_> =
        nodes.map(|(node, degraded)| (degraded, std::cmp::Reverse(weight(subject, node)), node)).collect();
    order.sort_unstable();
    let length = u32::try_from(order.len()).unwrap_or(u32::MAX);
    let Some(place) = order.iter().position(|(_, _, node)| *node == me) else { return length };
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    (place + length - (attempt.max(1) - 1) % length) % length
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 4] = ["c1", "c2", "c3", "c4"];

    fn ranks(nodes: &[(&str, bool)], subject: &str, attempt: u32) -> Vec<u32> {
        nodes.iter().map(|(me, _)| rank(nodes.iter().copied(), subject, attempt, me)).collect()
    }

    #[test]
    fn each_place_once_for_each_attempt() {
        let nodes = NODES.map(|node| (node, false));
        for subject in ["leaf1", "leaf2", "leaf3"] {
            for attempt in 1..=9 {
                let mut places = ranks(&nodes, subject, attempt);
                let first = ranks(&nodes, subject, attempt + 1);
                assert!(places.iter().zip(&first).all(|(now, next)| (now + 3) % 4 == *next), "{subject}");
                places.sort_unstable();
                assert_eq!(places, [0, 1, 2, 3]);
            }
        }
    }

    #[test]
    fn switches_are_shared_out() {
        let mut firsts = [0; 4];
        for switch in 0..400 {
            let subject = format!("leaf{switch}");
            let places = ranks(&NODES.map(|node| (node, false)), &subject, 1);
            firsts[places.iter().position(|place| *place == 0).unwrap()] += 1;
        }
        assert!(firsts.iter().all(|count| (60..=140).contains(count)), "{firsts:?}");
    }

    #[test]
    fn a_loss_moves_only_the_lost_ones_switches() {
        let all = NODES.map(|node| (node, false));
        for switch in 0..100 {
            let subject = format!("leaf{switch}");
            let before = ranks(&all, &subject, 1);
            let after = ranks(&all[..3], &subject, 1);
            if before[3] != 0 {
                let first = |places: &[u32]| places.iter().position(|place| *place == 0);
                assert_eq!(first(&before), first(&after), "{subject}");
            }
        }
    }

    #[test]
    fn the_degraded_and_the_unknown_come_last() {
        let nodes = [("c1", true), ("c2", false), ("c3", false)];
        for switch in 0..50 {
            assert_eq!(ranks(&nodes, &format!("leaf{switch}"), 1)[0], 2);
        }
        assert_eq!(rank(nodes.iter().copied(), "leaf1", 1, "c9"), 3);
        assert_eq!(rank(std::iter::empty(), "leaf1", 1, "c9"), 0);
    }

    #[test]
    fn weights_are_fixed() {
        // Written down: nodes of different versions must rank alike.
        assert_ne!(weight("leaf1", "c1"), weight("leaf", "1c1"));
        assert_eq!(weight("leaf1", "c1"), 8_219_415_837_264_331_580);
    }
}
