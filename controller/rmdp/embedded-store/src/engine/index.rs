//! What the store holds, in memory: every key in order, and where its bytes are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::disk::File;
use super::format::{Object, put_prefix};

/// MD5 of an object's data.
pub(crate) type Etag = [u8; 16];

/// Where a record starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    /// Bytes of data.
    pub(crate) length: u64,
    /// The file of its own, if it is a large one; 0 if not.
    pub(crate) blob: u64,
    /// Milliseconds since 1970.
    pub(crate) modified: u64,
    pub(crate) etag: Etag,
    pub(crate) crc: u32,
    /// Bytes of headers.
    pub(crate) headers: u16,
}

impl Entry {
    pub(crate) fn new(object: &Object<'_>, place: Place) -> Self {
        let (length, blob) = match object.data {
            super::format::Data::Inline(data) => (data.len() as u64, 0),
            super::format::Data::Blob { id, length } => (length, id),
        };
        Self {
            place,
            length,
            blob,
            modified: object.modified,
            etag: object.etag,
            crc: object.crc,
            headers: u16::try_from(object.headers.len()).unwrap_or(u16::MAX),
        }
    }

    /// Bytes of its record that the headers come after.
    pub(crate) fn prefix(&self, key: &str) -> u64 {
        put_prefix(key.len(), self.blob != 0) as u64
    }

    /// Bytes that its record takes in the log.
    pub(crate) fn in_log(&self, key: &str) -> u64 {
        let data = if self.blob == 0 { self.length } else { 0 };
        self.prefix(key) + u64::from(self.headers) + data
    }

    /// Bytes that it takes in all.
    pub(crate) fn size(&self, key: &str) -> u64 {
        self.prefix(key) + u64::from(self.headers) + self.length
    }
}

/// A bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) place: Place,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
}

/// A change that is on the disk.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put { key: Box<str>, entry: Entry },
    Delete { key: Box<str> },
    Bucket { name: Box<str>, bucket: Bucket },
    MoveObject { key: Box<str>, to: Place },
    MoveBucket { name: Box<str>, to: Place },
}

/// Everything there is. Keys are `bucket/key`; a bucket's name has no slash, so a bucket's keys stand together.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) buckets: BTreeMap<Box<str>, Bucket>,
    objects: BTreeMap<Box<str>, Entry>,
    /// Open segments by number.
    pub(crate) segments: BTreeMap<u64, Arc<dyn File>>,
    /// Bytes that objects take in all.
    pub(crate) live: u64,
    /// Bytes that objects take in the log.
    pub(crate) live_in_log: u64,
}

impl Index {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.objects.get(key)
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> u64 {
        self.objects.len() as u64
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.objects.iter().map(|(key, entry)| (&**key, entry))
    }

    /// Makes the change; says which large object's file has nobody left who needs it.
    pub(crate) fn apply(&mut self, change: Change) -> Option<u64> {
        match change {
            Change::Put { key, entry } => {
                self.live += entry.size(&key);
                self.live_in_log += entry.in_log(&key);
                let before = match self.objects.entry(key) {
                    std::collections::btree_map::Entry::Vacant(place) => {
                        place.insert(entry);
                        return None;
                    }
                    std::collections::btree_map::Entry::Occupied(mut place) => {
                        let before = place.insert(entry);
                        self.live -= before.size(place.key());
                        self.live_in_log -= before.in_log(place.key());
                        before
                    }
                };
                (before.blob != 0 && before.blob != entry.blob).then_some(before.blob)
            }
            Change::Delete { key } => {
                let before = self.objects.remove(&key)?;
                self.live -= before.size(&key);
                self.live_in_log -= before.in_log(&key);
                (before.blob != 0).then_some(before.blob)
            }
            Change::Bucket { name, bucket } => {
                self.buckets.insert(name, bucket);
                None
            }
            Change::MoveObject { key, to } => {
                if let Some(entry) = self.objects.get_mut(&key) {
                    entry.place = to;
                }
                None
            }
            Change::MoveBucket { name, to } => {
                if let Some(bucket) = self.buckets.get_mut(&name) {
                    bucket.place = to;
                }
                None
            }
        }
    }

    /// A page of a bucket's keys in order.
    pub(crate) fn list(&self, query: &Query<'_>) -> Page {
        let start = format!("{}/", query.bucket);
        let strip = start.len();
        let prefix = format!("{start}{}", query.prefix);
        let mut page = Page::default();
        let mut from = match query.after {
            After::Start => Some(Bound::Included(prefix.clone())),
            After::Key(key) => Some(Bound::Excluded(format!("{start}{key}"))),
            After::Prefix(passed) => behind(&format!("{start}{passed}")).map(Bound::Included),
        };
        if let Some(Bound::Included(key) | Bound::Excluded(key)) = &from
            && key.as_str() < prefix.as_str()
        {
            from = Some(Bound::Included(prefix.clone()));
        }
        while let Some(bound) = from.take() {
            for (key, entry) in self.objects.range::<str, _>((as_str(&bound), Bound::Unbounded)) {
                if !key.starts_with(&prefix) {
                    return page;
                }
                if page.items.len() >= query.most {
                    page.truncated = true;
                    return page;
                }
                let name = &key[strip..];
                let group = query.delimiter.and_then(|delimiter| {
                    let rest = &key[prefix.len()..];
                    let end = rest.find(delimiter)? + delimiter.len();
                    Some(&key[..prefix.len() + end])
                });
                if let Some(group) = group {
                    page.items.push(Item::Prefix(group[strip..].to_owned()));
                    // The rest of the group is not looked at.
                    from = behind(group).map(Bound::Included);
                    break;
                }
                page.items.push(Item::Object(name.to_owned(), *entry));
            }
        }
        page
    }
}

fn as_str(bound: &Bound<String>) -> Bound<&str> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// The least string above all those that start with this one. None if there is no such string.
fn behind(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // Order of UTF-8 bytes is that of code points; between U+D7FF and U+E000 there are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

/// What to list.
pub(crate) struct Query<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) after: After<'a>,
    pub(crate) most: usize,
}

/// Where a page starts.
pub(crate) enum After<'a> {
    /// At the first key.
    Start,
    /// Behind this key.
    Key(&'a str),
    /// Behind all keys with this prefix.
    Prefix(&'a str),
}

/// A part of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// Whether there is more.
    pub(crate) truncated: bool,
}

/// A key, or all keys that go on alike up to the delimiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Object(String, Entry),
    Prefix(String),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64) -> Entry {
        let place = Place { segment: 1, offset: number };
        Entry { place, length: 3, blob: 0, modified: 0, etag: [0; 16], crc: 0, headers: 0 }
    }

    fn index<'a>(keys: impl IntoIterator<Item = &'a String>) -> Index {
        let mut index = Index::default();
        for (number, key) in keys.into_iter().enumerate() {
            index.apply(Change::Put { key: format!("b/{key}").into(), entry: entry(number as u64) });
            index.apply(Change::Put { key: format!("a/{key}").into(), entry: entry(0) });
            index.apply(Change::Put { key: format!("b.c/{key}").into(), entry: entry(0) });
        }
        index
    }

    /// All pages together, with the length of each.
    fn all(
        index: &Index,
        prefix: &str,
        delimiter: Option<&str>,
        after: Option<&str>,
        most: usize,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut last: Option<Item> = None;
        loop {
            let start = match &last {
                None => after.map_or(After::Start, After::Key),
                Some(Item::Object(key, _)) => After::Key(key),
                Some(Item::Prefix(prefix)) => After::Prefix(prefix),
            };
            let page = index.list(&Query { bucket: "b", prefix, delimiter, after: start, most });
            assert!(page.items.len() <= most);
            assert!(!page.truncated || page.items.len() == most);
            last = page.items.last().cloned();
            found.extend(page.items.into_iter().map(|item| match item {
                Item::Object(key, _) => key,
                Item::Prefix(prefix) => format!("{prefix}..."),
            }));
            if !page.truncated {
                return found;
            }
        }
    }

    proptest! {
        #[test]
        fn pages_together_are_the_plain_list(
            keys in proptest::collection::btree_set("[ab/\u{d7ff}\u{10ffff}]{1,5}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in proptest::option::of("[/a]{1,2}"),
            after in proptest::option::of("[ab/\u{d7ff}]{1,4}"),
            most in 1..7_usize,
        ) {
            let mut expected = Vec::new();
            let mut groups = BTreeSet::new();
            for key in keys.iter().filter(|key| key.starts_with(&prefix)) {
                if after.as_ref().is_some_and(|after| key <= after) {
                    continue;
                }
                let group = delimiter.as_ref().and_then(|delimiter| {
                    let end = key[prefix.len()..].find(delimiter)? + delimiter.len();
                    Some(key[..prefix.len() + end].to_owned())
                });
                match group {
                    None => expected.push(key.clone()),
                    Some(group) if groups.insert(group.clone()) => expected.push(format!("{group}...")),
                    Some(_) => {}
                }
            }
            prop_assert_eq!(all(&index(&keys), &prefix, delimiter.as_deref(), after.as_deref(), most), expected);
        }
    }

    #[test]
    fn bytes_are_counted() {
        let mut index = Index::default();
        let put = |blob, length| Change::Put { key: "b/k".into(), entry: Entry { length, blob, ..entry(1) } };
        assert_eq!(index.apply(put(0, 100)), None);
        assert_eq!((index.live, index.live_in_log, index.count()), (140, 140, 1));
        assert_eq!(index.apply(put(7, 1000)), None);
        assert_eq!((index.live, index.live_in_log), (1052, 52));
        assert_eq!(index.apply(put(8, 1000)), Some(7), "the old file is not needed any more");
        assert_eq!(index.apply(Change::Delete { key: "b/k".into() }), Some(8));
        assert_eq!((index.live, index.live_in_log, index.count()), (0, 0, 0));
        assert_eq!(index.apply(Change::Delete { key: "b/k".into() }), None);
    }

    #[test]
    fn behind_a_prefix() {
        for (prefix, expected) in
            [("a/", Some("a0")), ("", None), ("a\u{10ffff}", Some("b")), ("\u{d7ff}", Some("\u{e000}"))]
        {
            assert_eq!(behind(prefix).as_deref(), expected);
        }
    }
}
