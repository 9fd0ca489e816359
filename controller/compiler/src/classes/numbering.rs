//! Chooses ids so that sets become few cubes.
//!
//! The sets are ordered by size. Sorted by the sets they are in, largest first, atoms form a tree: below the
//! root the atoms of each largest set, below that those that share the next set, and so on. Every subtree gets a
//! block of ids of a power of two, aligned to its size, so a set that is one subtree is one cube. Sets that nest or
//! are disjoint are one subtree each; others are some.

/// Ids of atoms: 1..=65535, all different. `memberships`: the sets each atom is in, ascending; fewer than 65,536 atoms.
/// `sets`: all of them, in the order in which those of one size are taken.
pub(super) fn number(memberships: &[Vec<u32>], sets: &[u32]) -> Vec<u16> {
    let ranked = ranked(memberships, sets);
    let mut order: Vec<u32> = (0u32..).take(memberships.len()).collect();
    order.sort_unstable_by(|left, right| ranked[*left as usize].cmp(&ranked[*right as usize]));

    // Rounding up to powers of two on every level may need more ids than there are; then on fewer levels.
    for levels in [64, 16, 8, 6, 4, 3, 2, 1] {
        let tree = Tree::build(&order, &ranked, levels);
        if let Some(ids) = tree.assign(memberships.len()) {
            return ids;
        }
    }
    let mut ids = vec![0; memberships.len()];
    for (atom, id) in order.iter().zip(1..=u16::MAX) {
        ids[*atom as usize] = id;
    }
    ids
}

/// The memberships in terms of ranks, ascending: rank 0 is the set with the most atoms, ties in their order.
fn ranked(memberships: &[Vec<u32>], sets: &[u32]) -> Vec<Vec<u32>> {
    let mut sizes = vec![0usize; sets.len()];
    for set in memberships.iter().flatten() {
        sizes[*set as usize] += 1;
    }
    let mut by_size = sets.to_vec();
    by_size.sort_by_key(|set| std::cmp::Reverse(sizes[*set as usize]));
    let mut ranks = vec![0u32; sets.len()];
    for (set, rank) in by_size.iter().zip(0u32..) {
        ranks[*set as usize] = rank;
    }
    memberships
        .iter()
        .map(|membership| {
            let mut ranked: Vec<u32> = membership.iter().map(|set| ranks[*set as usize]).collect();
            ranked.sort_unstable();
            ranked
        })
        .collect()
}

/// A block of ids: its own atoms and the blocks within it.
#[derive(Debug, Default)]
struct Node {
    own: Vec<u32>,
    children: Vec<usize>,
    /// Ids it takes: a power of two.
    size: u64,
}

#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
    /// Blocks outside any other.
    top: Vec<usize>,
}

impl Tree {
    fn build(order: &[u32], ranked: &[Vec<u32>], levels: u32) -> Self {
        let mut tree = Self { nodes: Vec::new(), top: Vec::new() };
        tree.top = tree.groups(order, ranked, 0, levels);
        tree
    }

    /// One block for each run of atoms that agree in their set at `depth`.
    fn groups(&mut self, mut atoms: &[u32], ranked: &[Vec<u32>], depth: usize, levels: u32) -> Vec<usize> {
        let mut blocks = Vec::new();
        while let Some(first) = atoms.first() {
            let set = ranked[*first as usize][depth];
            let (group, rest) =
                atoms.split_at(atoms.partition_point(|atom| ranked[*atom as usize][depth] == set));
            blocks.push(self.block(group, ranked, depth + 1, levels));
            atoms = rest;
        }
        // Largest first: aligned to their sizes without gaps.
        blocks.sort_by_key(|block| std::cmp::Reverse(self.nodes[*block].size));
        blocks
    }

    /// A block for atoms that agree in their first `depth` sets.
    fn block(&mut self, atoms: &[u32], ranked: &[Vec<u32>], mut depth: usize, levels: u32) -> usize {
        let mut node = Node::default();
        if levels <= 1 {
            node.own = atoms.to_vec();
        } else {
            // Sets that hold all of the block make no difference within it.
            let (first, last) = (&ranked[atoms[0] as usize], &ranked[atoms[atoms.len() - 1] as usize]);
            while atoms.len() > 1 && first.get(depth).is_some() && first.get(depth) == last.get(depth) {
                depth += 1;
            }
            let (own, deeper) =
                atoms.split_at(atoms.partition_point(|atom| ranked[*atom as usize].len() == depth));
            if atoms.len() == 1 {
                node.own = atoms.to_vec();
            } else {
                node.own = own.to_vec();
                node.children = self.groups(deeper, ranked, depth, levels - 1);
            }
        }
        let ids =
            node.own.len() as u64 + node.children.iter().map(|child| self.nodes[*child].size).sum::<u64>();
        // More than all ids is too many, however many.
        node.size = ids.min(1 << 17).next_power_of_two();
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Ids by atom; none if they don't fit.
    fn assign(&self, atoms: usize) -> Option<Vec<u16>> {
        let total = self.top.iter().map(|block| self.nodes[*block].size).sum::<u64>() + 1;
        let mut end = total.next_power_of_two();
        if end > 1 << 16 {
            return None;
        }
        let mut ids = vec![0; atoms];
        // From the end down, so that id 0 stays free.
        for block in &self.top {
            end -= self.nodes[*block].size;
            self.fill(*block, end, &mut ids);
        }
        Some(ids)
    }

    fn fill(&self, block: usize, start: u64, ids: &mut [u16]) {
        let node = &self.nodes[block];
        let mut next = start;
        for child in &node.children {
            self.fill(*child, next, ids);
            next += self.nodes[*child].size;
        }
        for atom in &node.own {
            ids[*atom as usize] = u16::try_from(next).expect("blocks end at 2^16");
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distinct(memberships: &[Vec<u32>], sets: u32) -> Vec<u16> {
        let ids = number(memberships, &(0..sets).collect::<Vec<u32>>());
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), memberships.len(), "ids differ");
        assert!(!sorted.contains(&0), "0 is nobody's");
        ids
    }

    #[test]
    fn a_set_is_an_aligned_block() {
        // Set 0 holds three atoms, set 1 one of them, set 2 stands apart.
        let memberships = vec![vec![0], vec![0, 1], vec![0, 3], vec![2]];
        let ids = distinct(&memberships, 4);
        let blocks: Vec<u16> = ids.iter().map(|id| id >> 2).collect();
        assert_eq!((blocks[0], blocks[1]), (blocks[2], blocks[2]));
        assert_ne!(blocks[3], blocks[0]);
    }

    #[test]
    fn deep_nesting_stays_within_sixteen_bits() {
        // Every atom is in one set more than the one before.
        let memberships: Vec<Vec<u32>> = (1..=3000u32).map(|count| (0..count).collect()).collect();
        distinct(&memberships, 3000);
    }

    #[test]
    fn all_ids_in_use() {
        let memberships: Vec<Vec<u32>> =
            (0..65_535u32).map(|atom| vec![atom / 3, 30_000 + atom % 3]).collect();
        distinct(&memberships, 30_003);
    }
}
