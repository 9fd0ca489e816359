//! A cover that goes on: cubes that still match members alone stay, the others are cut, and members that nobody matches
//! get cubes.

use super::ancestor::matched;
use super::cover::{self, Cube, Effort, within};

/// Cubes that match all ids in `on` and no other id in `used`, as many of them as can be from `before`. `on` is part of
/// `used`, both ascending.
pub(super) fn repair(before: &[Cube], on: &[u16], used: &[u16], effort: &mut Effort) -> Vec<Cube> {
    let is_on = |id: &u16| on.binary_search(id).is_ok();
    let good = |cube: &&Cube| {
        let mut own = within(**cube, used).peekable();
        own.peek().is_some() && own.all(|id| is_on(&id))
    };
    let mut cubes: Vec<Cube> = before.iter().filter(good).copied().collect();
    let covered = matched(&cubes, on);
    let open: Vec<u16> = on.iter().filter(|id| covered.binary_search(id).is_err()).copied().collect();
    // What is matched already may be matched again.
    let asked: Vec<u16> = used.iter().filter(|id| covered.binary_search(id).is_err()).copied().collect();
    cubes.extend(cover::cover(&open, &asked, effort));
    remove_redundant(&mut cubes, on);
    cubes.sort_unstable();
    let fresh = cover::cover(on, used, effort);
    if cubes.len() > most(fresh.len()) { fresh } else { cubes }
}

/// How many cubes a repaired cover may have where a new one has so many: most covers are small, and of these none may be
/// larger, or there would be many more entries; a large one costs many writes if it is replaced.
fn most(fresh: usize) -> usize {
    if fresh < 8 { fresh } else { fresh + fresh / 2 }
}

/// Removes cubes whose members others match, the smallest first.
fn remove_redundant(cubes: &mut Vec<Cube>, on: &[u16]) {
    let mut times = vec![0u32; on.len()];
    let places =
        |cube: Cube| -> Vec<usize> { within(cube, on).filter_map(|id| on.binary_search(&id).ok()).collect() };
    for cube in cubes.iter() {
        for place in places(*cube) {
            times[place] += 1;
        }
    }
    cubes.sort_unstable_by_key(|cube| (std::cmp::Reverse(cube.mask.count_ones()), *cube));
    cubes.retain(|cube| {
        let own = places(*cube);
        if own.iter().all(|place| times[*place] > 1) {
            for place in own {
                times[place] -= 1;
            }
            return false;
        }
        true
    });
}
