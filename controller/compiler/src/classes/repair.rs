//! A cover that goes on: cubes that still match members alone stay, the others are cut, and members that nobody matches
//! get cubes.

use super::cover::{self, Cube, Effort};
use super::ids::Ids;

/// Cubes that match all ids in `on` and no other id in `used`, as many of them as can be from `before`. `on` is part of
/// `used`, both ascending. `own`: they were the set's own, and not those of one like it.
pub(super) fn repair(before: &[Cube], own: bool, on: &[u16], used: &[u16], effort: &mut Effort) -> Vec<Cube> {
    let members: Ids = on.iter().copied().collect();
    let others: Ids = used.iter().copied().filter(|id| !members.contains(*id)).collect();
    let good = |cube: &&Cube| members.meet(**cube) && !others.meet(**cube);
    let mut cubes: Vec<Cube> = before.iter().filter(good).copied().collect();
    let mut covered = Ids::default();
    for cube in &cubes {
        covered.add_within(&members, *cube);
    }
    let open: Vec<u16> = on.iter().copied().filter(|id| !covered.contains(*id)).collect();
    // What is matched already may be matched again.
    let asked: Vec<u16> = used.iter().copied().filter(|id| !covered.contains(*id)).collect();
    cubes.extend(cover::cover(&open, &asked, effort));
    remove_redundant(&mut cubes, &members);
    cubes.sort_unstable();
    if own && !is_doubtful(before.len(), cubes.len()) {
        return cubes;
    }
    let fresh = cover::cover(on, used, effort);
    if cubes.len() > most(fresh.len()) { fresh } else { cubes }
}

/// Whether a cover that has grown is compared with a new one: a small one each time, a large one now and then, since it
/// takes long to make.
fn is_doubtful(before: usize, now: usize) -> bool {
    const FEW: usize = 16;
    now > before && (now < FEW || now / FEW != before / FEW)
}

/// How many cubes a repaired cover may have where a new one has so many: most covers are small, and of these none may be
/// larger, or there would be many more entries; a large one costs many writes if it is replaced.
fn most(fresh: usize) -> usize {
    if fresh < 8 { fresh } else { fresh + fresh / 2 }
}

/// Removes cubes whose members others match, the smallest first.
fn remove_redundant(cubes: &mut Vec<Cube>, members: &Ids) {
    let mut times = vec![0u32; 1 << 16];
    for cube in cubes.iter() {
        for id in members.within(*cube) {
            times[usize::from(id)] += 1;
        }
    }
    cubes.sort_unstable_by_key(|cube| (std::cmp::Reverse(cube.mask.count_ones()), *cube));
    cubes.retain(|cube| {
        let needed = members.within(*cube).any(|id| times[usize::from(id)] == 1);
        if !needed {
            for id in members.within(*cube) {
                times[usize::from(id)] -= 1;
            }
        }
        needed
    });
}
