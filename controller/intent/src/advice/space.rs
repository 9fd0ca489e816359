//! Sets of IP packets, and what is left of one when others have taken theirs.
//!
//! A set is a list of boxes, and a box says for each thing that rules look at which values it has. All is exact: rules
//! tell packets apart by these things and nothing else. Numbers of boxes are not bounded here; whoever cuts them counts.

use std::rc::Rc;

/// First and last value, both in it.
pub(super) type Range = (u128, u128);

/// Values, as ranges that ascend and do not touch. Clones share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set(Rc<[Range]>);

impl Set {
    /// The values of ranges in any order, which may overlap.
    pub(super) fn new(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if last.1 == u128::MAX || low <= last.1 + 1 => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self(merged.into())
    }

    pub(super) fn empty() -> Self {
        Self(Rc::new([]))
    }

    pub(super) fn of(low: u128, high: u128) -> Self {
        Self(Rc::new([(low, high)]))
    }

    pub(super) fn one(value: u128) -> Self {
        Self::of(value, value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ranges(&self) -> &[Range] {
        &self.0
    }

    pub(super) fn has(&self, value: u128) -> bool {
        let after = self.0.partition_point(|(low, _)| *low <= value);
        after > 0 && self.0[after - 1].1 >= value
    }

    /// From the first value to the last.
    pub(super) fn hull(&self) -> Option<Range> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        if Rc::ptr_eq(&self.0, &other.0) {
            return !self.is_empty();
        }
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        few.0.iter().any(|(low, high)| {
            let after = many.0.partition_point(|range| range.0 <= *high);
            after > 0 && many.0[after - 1].1 >= *low
        })
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        if Rc::ptr_eq(&self.0, &other.0) {
            return self.clone();
        }
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        let mut both = Vec::new();
        for (low, high) in few.0.iter() {
            let first = many.0.partition_point(|range| range.1 < *low);
            let meeting = many.0[first..].iter().take_while(|range| range.0 <= *high);
            both.extend(meeting.map(|range| (range.0.max(*low), range.1.min(*high))));
        }
        Self(both.into())
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        if Rc::ptr_eq(&self.0, &other.0) {
            return Self::empty();
        }
        let mut left = Vec::new();
        for (low, high) in self.0.iter() {
            let mut next = Some(*low);
            let first = other.0.partition_point(|range| range.1 < *low);
            for range in other.0[first..].iter().take_while(|range| range.0 <= *high) {
                if let Some(from) = next.filter(|from| *from < range.0) {
                    left.push((from, range.0 - 1));
                }
                next = range.1.checked_add(1).filter(|after| after <= high);
            }
            left.extend(next.map(|from| (from, *high)));
        }
        Self(left.into())
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            _ => Self::new(self.0.iter().chain(other.0.iter()).copied().collect()),
        }
    }
}

/// What rules look at. Addresses are those of the box's family; ports are ICMP's type and code where the protocol is
/// that, and all where packets of the protocol have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Destination,
    Protocol,
    SourcePort,
    DestinationPort,
    TcpFlags,
    /// 0: the transport header is there; 1: a fragment after the first, whose ports and flags are all.
    Fragment,
    /// Segments that policies name, from 1; 0 is everything else.
    Segment,
    /// Switches that policies name, from 1; 0 is every other.
    Switch,
}

const FIELDS: usize = 9;

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) v4: bool,
    fields: [Set; FIELDS],
}

impl Region {
    /// Everything of a family within these segments and switches.
    pub(super) fn all(v4: bool, full: &Full, segments: &Set, switches: &Set) -> Self {
        let addresses = if v4 { &full.v4 } else { &full.v6 };
        let fields =
            [addresses, addresses, &full.bytes, &full.ports, &full.ports, &full.bytes, &full.fragment];
        let [src, dst, protocol, sport, dport, flags, fragment] = fields.map(Set::clone);
        let fields = [src, dst, protocol, sport, dport, flags, fragment, segments.clone(), switches.clone()];
        Self { v4, fields }
    }

    pub(super) fn get(&self, field: Field) -> &Set {
        &self.fields[field as usize]
    }

    #[must_use]
    pub(super) fn with(mut self, field: Field, set: Set) -> Self {
        self.fields[field as usize] = set;
        self
    }

    /// Cut down to these values.
    #[must_use]
    pub(super) fn within(self, field: Field, set: &Set) -> Self {
        let both = self.get(field).and(set);
        self.with(field, both)
    }

    /// Addresses and ports swapped.
    #[must_use]
    pub(super) fn mirrored(mut self) -> Self {
        self.fields.swap(Field::Source as usize, Field::Destination as usize);
        self.fields.swap(Field::SourcePort as usize, Field::DestinationPort as usize);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.iter().any(Set::is_empty)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.v4 == other.v4 && self.fields.iter().zip(&other.fields).all(|(own, theirs)| own.meets(theirs))
    }

    /// What another takes of this, and what it leaves in boxes that do not overlap. None: nothing.
    pub(super) fn cut(&self, other: &Self) -> Option<(Self, Vec<Self>)> {
        if !self.meets(other) {
            return None;
        }
        let mut taken = self.clone();
        let mut left = Vec::new();
        for (field, theirs) in other.fields.iter().enumerate() {
            let outside = taken.fields[field].without(theirs);
            if !outside.is_empty() {
                let inside = taken.fields[field].and(theirs);
                let mut piece = taken.clone();
                piece.fields[field] = outside;
                left.push(piece);
                taken.fields[field] = inside;
            }
        }
        Some((taken, left))
    }

    /// How much work it is to look at it.
    pub(super) fn weight(&self) -> usize {
        self.fields.iter().map(|set| set.ranges().len()).sum()
    }
}

/// All values of each field, shared by whoever wants all.
#[derive(Clone, Debug)]
pub(super) struct Full {
    pub(super) v4: Set,
    pub(super) v6: Set,
    /// Protocols and TCP flags.
    pub(super) bytes: Set,
    pub(super) ports: Set,
    pub(super) fragment: Set,
}

impl Full {
    pub(super) fn new() -> Self {
        Self {
            v4: Set::of(0, u32::MAX.into()),
            v6: Set::of(0, u128::MAX),
            bytes: Set::of(0, u8::MAX.into()),
            ports: Set::of(0, u16::MAX.into()),
            fragment: Set::of(0, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = Set> {
        let ends = prop_oneof![4 => 0..20_u128, 1 => Just(u128::MAX), 1 => Just(u128::MAX - 1)];
        let range = (ends.clone(), ends).prop_map(|(one, other)| (one.min(other), one.max(other)));
        vec(range, 0..5).prop_map(Set::new)
    }

    proptest! {
        #![proptest_config(crate::testing::config(500))]

        #[test]
        fn operations_are_those_of_sets(one in sets(), other in sets()) {
            for value in (0..22).chain([u128::MAX - 2, u128::MAX - 1, u128::MAX]) {
                let (a, b) = (one.has(value), other.has(value));
                prop_assert_eq!(one.and(&other).has(value), a && b);
                prop_assert_eq!(one.without(&other).has(value), a && !b);
                prop_assert_eq!(one.or(&other).has(value), a || b);
            }
            prop_assert_eq!(one.meets(&other), !one.and(&other).is_empty());
            prop_assert_eq!(one.or(&other), other.or(&one));
            prop_assert_eq!(one.without(&other).or(&one.and(&other)), one);
        }
    }

    #[test]
    fn what_is_cut_is_gone() {
        let full = Full::new();
        let all = Region::all(true, &full, &Set::one(0), &Set::one(0));
        let web =
            all.clone().with(Field::Protocol, Set::one(6)).with(Field::DestinationPort, Set::of(80, 90));
        let (taken, left) = all.cut(&web).unwrap();
        assert_eq!(taken, web);
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|piece| !piece.meets(&web)));
        assert_eq!(web.cut(&all).unwrap().1, []);
        assert!(web.cut(&Region { v4: false, ..all }).is_none());
        assert!(!web.clone().within(Field::SourcePort, &Set::empty()).meets(&web));
    }
}
