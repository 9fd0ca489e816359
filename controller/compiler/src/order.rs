//! Orders of things that keep their places.

use std::collections::BTreeSet;

/// The places of a longest increasing part of different numbers.
pub(crate) fn longest_increasing(numbers: &[usize]) -> BTreeSet<usize> {
    // For each length, the place of the lowest number that such a part ends with.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers[*end] < *number);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(place);
        } else {
            ends[length] = place;
        }
    }
    let mut found = BTreeSet::new();
    let mut next = ends.last().copied();
    while let Some(place) = next {
        found.insert(place);
        next = before[place];
    }
    found
}
