//! Which sets' cubes match an id, without asking each cube.

use std::collections::HashMap;

use super::cover::Cube;

/// Cubes by their masks and values: one look for each mask.
#[derive(Debug, Default)]
pub(super) struct Matching {
    masks: Vec<(u16, HashMap<u16, Vec<u32>>)>,
    places: HashMap<u16, usize>,
}

impl Matching {
    pub(super) fn add(&mut self, cube: Cube, set: u32) {
        let masks = &mut self.masks;
        let place = *self.places.entry(cube.mask).or_insert_with(|| {
            masks.push((cube.mask, HashMap::new()));
            masks.len() - 1
        });
        self.masks[place].1.entry(cube.value).or_default().push(set);
    }

    pub(super) fn remove(&mut self, cube: Cube, set: u32) {
        let Some(place) = self.places.get(&cube.mask) else { return };
        let Some(sets) = self.masks[*place].1.get_mut(&cube.value) else { return };
        if let Some(place) = sets.iter().position(|own| *own == set) {
            sets.swap_remove(place);
        }
        if sets.is_empty() {
            self.masks[*place].1.remove(&cube.value);
        }
    }

    /// The sets, ascending, each once.
    pub(super) fn sets(&self, id: u16) -> Vec<u32> {
        let mut found = Vec::new();
        for (mask, values) in &self.masks {
            if let Some(sets) = values.get(&(id & mask)) {
                found.extend_from_slice(sets);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
