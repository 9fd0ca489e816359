//! Sets of numbers as sorted, disjoint, not adjacent ranges: ports, addresses.

/// A number on a line with ends.
pub trait Point: Copy + Ord + std::fmt::Debug + std::hash::Hash {
    /// The lowest.
    const MIN: Self;
    /// The highest.
    const MAX: Self;
    /// Bits of it.
    const BITS: u32;
    /// The next, none after the last.
    fn next(self) -> Option<Self>;
    /// The one before, none before the first.
    fn previous(self) -> Option<Self>;
    /// As a match value.
    fn value(self) -> u128;
    /// Of the prefix of `length` bits that this number is in: the lowest and the highest.
    fn prefix(self, length: u32) -> (Self, Self);
}

macro_rules! point {
    ($($type:ty)*) => {$(
        impl Point for $type {
            const MIN: Self = Self::MIN;
            const MAX: Self = Self::MAX;
            const BITS: u32 = Self::BITS;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn value(self) -> u128 {
                self.into()
            }
            fn prefix(self, length: u32) -> (Self, Self) {
                let host = Self::MAX.checked_shr(length).unwrap_or(0);
                (self & !host, self | host)
            }
        }
    )*};
}

point!(u16 u32 u128);

/// A set of numbers. Equal sets are equal values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Point> Ranges<T> {
    /// All numbers.
    pub fn full() -> Self {
        Self(vec![(T::MIN, T::MAX)])
    }

    /// The union of ranges low..=high in any order; those with low above high are empty.
    pub fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if last.1.next().is_none_or(|next| low <= next) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        merged.shrink_to_fit();
        Self(merged)
    }

    /// The ranges, ascending.
    pub fn as_slice(&self) -> &[(T, T)] {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every number is in it.
    pub fn is_full(&self) -> bool {
        self.0.as_slice() == [(T::MIN, T::MAX)]
    }

    /// Whether this number is in it.
    pub fn contains(&self, number: T) -> bool {
        let after = self.0.partition_point(|(low, _)| *low <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// Adds a number.
    pub fn insert(&mut self, number: T) {
        let at = self.0.partition_point(|(low, _)| *low <= number);
        if at > 0 && number <= self.0[at - 1].1 {
            return;
        }
        let joins_before = at > 0 && self.0[at - 1].1.next() == Some(number);
        let joins_after = self.0.get(at).is_some_and(|(low, _)| low.previous() == Some(number));
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: T) {
        let Some(at) = self.0.partition_point(|(low, _)| *low <= number).checked_sub(1) else { return };
        let (low, high) = self.0[at];
        if number > high {
            return;
        }
        let below = number.previous().filter(|end| low <= *end).map(|end| (low, end));
        let above = number.next().filter(|start| *start <= high).map(|start| (start, high));
        self.0.splice(at..=at, below.into_iter().chain(above));
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied().collect())
    }

    /// What is in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        let mut common = Vec::new();
        let mut rest = many.0.as_slice();
        for (low, high) in &few.0 {
            rest = without_first(rest, |range| range.1 < *low);
            let meeting = rest.iter().take_while(|range| range.0 <= *high);
            common.extend(meeting.map(|(from, to)| ((*low).max(*from), (*high).min(*to))));
        }
        Self(common)
    }

    /// What is not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(T::MIN);
        for &(low, high) in &self.0 {
            if let (Some(first), Some(last)) = (next, low.previous())
                && first <= last
            {
                gaps.push((first, last));
            }
            next = high.next();
        }
        if let Some(first) = next {
            gaps.push((first, T::MAX));
        }
        Self(gaps)
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        let mut rest = other.0.as_slice();
        for (low, high) in &self.0 {
            rest = without_first(rest, |range| range.1 < *low);
            let mut next = Some(*low);
            for (from, to) in rest.iter().take_while(|range| range.0 <= *high) {
                if let (Some(first), Some(last)) = (next, from.previous())
                    && first <= last
                {
                    left.push((first, last));
                }
                next = to.next();
            }
            if let Some(first) = next.filter(|first| first <= high) {
                left.push((first, *high));
            }
        }
        Self(left)
    }
}

/// The ranges without those at the beginning that are `before` something: few are looked at, however many they are.
fn without_first<T>(ranges: &[(T, T)], before: impl Fn(&(T, T)) -> bool) -> &[(T, T)] {
    let mut step = 1;
    while ranges.get(step - 1).is_some_and(&before) {
        step *= 2;
    }
    let (from, to) = (step / 2, step.min(ranges.len()));
    &ranges[from + ranges[from..to].partition_point(before)..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> impl Strategy<Value = Ranges<u16>> {
        let range = prop_oneof![
            (0u16..40, 0u16..6).prop_map(|(low, length)| (low, low + length)),
            (65_500u16..=65_535, 0u16..6).prop_map(|(low, length)| (low, low.saturating_add(length))),
        ];
        proptest::collection::vec(range, 0..6).prop_map(Ranges::new)
    }

    fn samples() -> impl Iterator<Item = u16> {
        (0..60).chain(65_480..=65_535)
    }

    fn canonical(set: &Ranges<u16>) -> bool {
        set.as_slice().iter().all(|(low, high)| low <= high)
            && set.as_slice().windows(2).all(|pair| u32::from(pair[0].1) + 1 < u32::from(pair[1].0))
    }

    proptest! {
        #[test]
        fn algebra(a in small(), b in small()) {
            for set in [&a.union(&b), &a.intersect(&b), &a.minus(&b), &a.complement()] {
                prop_assert!(canonical(set), "{set:?}");
            }
            for number in samples() {
                let alone = Ranges::new(vec![(number, number)]);
                let (mut more, mut less) = (a.clone(), a.clone());
                more.insert(number);
                less.remove(number);
                prop_assert_eq!(more, a.union(&alone));
                prop_assert_eq!(less, a.minus(&alone));
                let (in_a, in_b) = (a.contains(number), b.contains(number));
                prop_assert_eq!(a.union(&b).contains(number), in_a || in_b);
                prop_assert_eq!(a.intersect(&b).contains(number), in_a && in_b);
                prop_assert_eq!(a.minus(&b).contains(number), in_a && !in_b);
                prop_assert_eq!(a.complement().contains(number), !in_a);
            }
        }
    }

    #[test]
    fn ends_of_the_line() {
        assert!(Ranges::<u16>::full().is_full());
        assert!(Ranges::<u128>::full().complement().is_empty());
        assert!(Ranges::<u32>::default().complement().is_full());
        assert_eq!(Ranges::new(vec![(3u16, 5), (6, u16::MAX)]), Ranges::new(vec![(3, u16::MAX)]));
        assert!(Ranges::new(vec![(5u16, 4)]).is_empty());
    }

    #[test]
    fn prefixes() {
        assert_eq!(0x0a01_0203u32.prefix(8), (0x0a00_0000, 0x0aff_ffff));
        assert_eq!(7u32.prefix(0), (0, u32::MAX));
        assert_eq!(7u32.prefix(32), (7, 7));
        assert_eq!(7u128.prefix(127), (6, 7));
    }
}
