//! A page of a listing, as a store may state it. What cannot be a page of what was asked for is no answer: a page that
//! is taken for the end, or that hides keys, would be believed to say what is not there.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use crate::trouble::Trouble;
use crate::{ListedObject, Page};

/// Takes a page apart: `own` is the prefix of the settings, `prefix` what was listed, `after` where it was to go on, both
/// in full.
///
/// Refused: no word whether it is the end, more to come behind nothing, keys that were not asked for, out of order or
/// repeated, and fewer or more than it says that it has.
pub(crate) fn page(
    output: ListObjectsV2Output,
    own: &str,
    prefix: &str,
    after: Option<&str>,
) -> Result<Page, Trouble> {
    let nonsense = |what: &str| Trouble::Broken(format!("a listing with {what}"));
    let truncated =
        output.is_truncated.ok_or_else(|| nonsense("no word whether it is the end (IsTruncated)"))?;
    let encoded = output.encoding_type == Some(EncodingType::Url);
    let contents = output.contents.unwrap_or_default();
    if output.key_count.is_some_and(|count| usize::try_from(count) != Ok(contents.len())) {
        return Err(nonsense("another number of keys than it says (KeyCount)"));
    }
    if truncated && contents.is_empty() {
        return Err(nonsense("no keys that goes on"));
    }
    let mut last = after.map(str::to_owned);
    let mut entries = Vec::with_capacity(contents.len());
    for object in contents {
        let key = object.key.ok_or_else(|| nonsense("an object that has no key"))?;
        let key = if encoded { decoded(&key).ok_or_else(|| nonsense("a key that is no text"))? } else { key };
        let modified = object.last_modified.and_then(|time| SystemTime::try_from(time).ok());
        let modified = modified.ok_or_else(|| nonsense("an object that has no time"))?;
        if !key.starts_with(prefix) {
            return Err(nonsense("a key that was not asked for"));
        }
        if last.as_deref().is_some_and(|last| key.as_str() <= last) {
            return Err(nonsense("keys that are not in order"));
        }
        let short = key.strip_prefix(own).ok_or_else(|| nonsense("a key that was not asked for"))?;
        let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        entries.push(ListedObject { key: short.to_owned(), modified, size });
        last = Some(key);
    }
    Ok(Page { entries, truncated })
}

/// A name as URLs have it: as AWS writes them, a blank may be a plus.
fn decoded(key: &str) -> Option<String> {
    let key: Cow<'_, str> =
        if key.contains('+') { Cow::Owned(key.replace('+', " ")) } else { Cow::Borrowed(key) };
    percent_decode_str(&key).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::DateTime;
    use aws_sdk_s3::types::Object;

    use super::*;

    fn output(keys: &[&str], truncated: Option<bool>) -> ListObjectsV2Output {
        let object = |key: &&str| Object::builder().key(*key).last_modified(DateTime::from_secs(1)).build();
        ListObjectsV2Output::builder()
            .set_contents(Some(keys.iter().map(object).collect()))
            .set_is_truncated(truncated)
            .build()
    }

    #[test]
    fn a_page_is_in_order_and_says_whether_it_is_the_end() {
        let found = page(output(&["x/q/1", "x/q/2"], Some(true)), "x/", "x/q/", Some("x/q/0")).unwrap();
        let keys: Vec<_> = found.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!((keys, found.truncated), (vec!["q/1", "q/2"], true));
        assert!(page(output(&[], Some(false)), "x/", "x/q/", None).unwrap().entries.is_empty());
        let none: &[&str] = &[];
        let cases = [
            (none, None, "IsTruncated"),
            (&["x/q/1"], None, "IsTruncated"),
            (none, Some(true), "goes on"),
            (&["x/q/2", "x/q/1"], Some(false), "in order"),
            (&["x/q/1", "x/q/1"], Some(false), "in order"),
            // It begins again where it was to go on.
            (&["x/q/0", "x/q/1"], Some(true), "in order"),
            (&["x/r/1"], Some(false), "not asked for"),
            (&["q/1"], Some(false), "not asked for"),
        ];
        for (keys, truncated, part) in cases {
            let error = page(output(keys, truncated), "x/", "x/q/", Some("x/q/0")).unwrap_err().text();
            assert!(error.contains(part), "{keys:?}: {error}");
        }
    }

    #[test]
    fn fewer_keys_than_it_says_are_not_all() {
        let mut short = output(&["q/1"], Some(false));
        short.key_count = Some(2);
        assert!(page(short.clone(), "", "q/", None).unwrap_err().text().contains("KeyCount"));
        short.key_count = Some(1);
        assert!(page(short, "", "q/", None).is_ok());
    }

    #[test]
    fn names_come_as_urls_have_them() {
        let mut odd = output(&["q/%01", "q/a+b", "q/a%2Bb"], Some(false));
        odd.encoding_type = Some(EncodingType::Url);
        let found = page(odd.clone(), "", "q/", None).unwrap();
        let keys: Vec<_> = found.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["q/\u{1}", "q/a b", "q/a+b"]);
        odd.contents = output(&["q/%ff"], Some(false)).contents;
        assert!(page(odd, "", "q/", None).unwrap_err().text().contains("no text"));
    }
}
