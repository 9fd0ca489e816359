//! Conditions of requests (RFC 9110, 13).

use hyper::header::{ETAG, HeaderMap, HeaderValue};
use s3s::dto::{ETag, ETagCondition, ObjectIdentifier, Timestamp};
use s3s::{S3Result, s3_error};

use super::{Entry, Etag, hex, time};
use crate::engine::{Condition, Tag};

fn tag(condition: &ETagCondition) -> Tag {
    let Some(etag) = condition.as_etag() else { return Tag::Any };
    strong(etag)
}

fn strong(etag: &ETag) -> Tag {
    match etag.as_strong().and_then(parse) {
        Some(etag) => Tag::Is(etag),
        None => Tag::Foreign,
    }
}

/// An MD5 in hexadecimal, as ours are.
fn parse(text: &str) -> Option<Etag> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

/// The condition of a write. One that no object could ever fail is a mistake, and would be a dangerous one.
pub(super) fn write_condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    let if_none_match = if_none_match.map(tag);
    if if_none_match == Some(Tag::Foreign) {
        return Err(s3_error!(
            InvalidArgument,
            "If-None-Match of a write is * or an ETag that this store has given"
        ));
    }
    Ok(Condition { if_match: if_match.map(tag), if_none_match })
}

/// The condition of one of many deletes.
pub(super) fn delete_condition(object: &ObjectIdentifier) -> S3Result<Condition> {
    super::plain(object.version_id.as_deref(), None)?;
    if object.last_modified_time.is_some() || object.size.is_some() {
        return Err(s3_error!(NotImplemented, "deletes can depend on the ETag, not on time or size"));
    }
    Ok(Condition { if_match: object.e_tag.as_ref().map(strong), if_none_match: None })
}

/// The conditions of a read.
#[expect(clippy::struct_field_names, reason = "the headers' names")]
pub(super) struct Preconditions<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    pub(super) if_modified_since: Option<&'a Timestamp>,
    pub(super) if_unmodified_since: Option<&'a Timestamp>,
}

impl Preconditions<'_> {
    /// In the order of RFC 9110, 13.2.2. Times in headers have whole seconds, so the object's is cut to them.
    pub(super) fn check(&self, entry: &Entry) -> S3Result<()> {
        let modified = time(entry.modified / 1000 * 1000);
        let failed = match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => !tag(condition).matches(&entry.etag),
            (None, Some(since)) => modified > *since,
            (None, None) => false,
        };
        if failed {
            return Err(s3_error!(PreconditionFailed, "the condition on the object does not hold"));
        }
        let unchanged = match (self.if_none_match, self.if_modified_since) {
            // Weak comparison here.
            (Some(ETagCondition::ETag(etag)), _) => etag.value() == hex(&entry.etag),
            (Some(ETagCondition::Any), _) => true,
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if !unchanged {
            return Ok(());
        }
        let mut error = s3_error!(NotModified);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", hex(&entry.etag))) {
            headers.insert(ETAG, value);
        }
        error.set_headers(headers);
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::index::Place;

    #[test]
    fn reads() {
        let etag = [0xab; 16];
        let entry = Entry {
            place: Place { segment: 1, offset: 0 },
            length: 1,
            blob: 0,
            modified: 10_500,
            etag,
            crc: 0,
            headers: 0,
        };
        let ours = ETagCondition::ETag(ETag::Strong("ab".repeat(16)));
        let weak = ETagCondition::ETag(ETag::Weak("ab".repeat(16)));
        let other = ETagCondition::ETag(ETag::Strong("a-2".to_owned()));
        let any = ETagCondition::Any;
        let (before, at, after) = (time(9000), time(10_000), time(11_000));
        let none: Option<&ETagCondition> = None;
        let code = |if_match, if_none_match, if_modified_since, if_unmodified_since| {
            Preconditions { if_match, if_none_match, if_modified_since, if_unmodified_since }
                .check(&entry)
                .err()
                .map(|error| error.code().as_str().to_owned())
        };
        let (failed, unchanged) = (Some("PreconditionFailed".to_owned()), Some("NotModified".to_owned()));
        for (found, expected) in [
            (code(none, None, None, None), None),
            (code(Some(&ours), None, None, Some(&before)), None),
            (code(Some(&weak), None, None, None), failed.clone()),
            (code(Some(&other), None, None, None), failed.clone()),
            (code(Some(&any), None, None, None), None),
            (code(None, None, None, Some(&before)), failed),
            (code(None, None, None, Some(&at)), None),
            (code(None, Some(&ours), Some(&before), None), unchanged.clone()),
            (code(None, Some(&weak), None, None), unchanged.clone()),
            (code(None, Some(&other), Some(&after), None), None),
            (code(None, None, Some(&before), None), None),
            (code(None, None, Some(&at), None), unchanged),
        ] {
            assert_eq!(found, expected);
        }
    }
}
