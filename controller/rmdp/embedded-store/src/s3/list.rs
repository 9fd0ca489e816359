//! `ListObjectsV2`: pages, tokens, names as URLs have them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass,
};
use s3s::{S3Result, s3_error};

use super::{answer, hex, length, time};
use crate::engine::index::{After, Item, Query};
use crate::error::Error;
use crate::store::Store;

/// Keys of a page at most, as S3 has it.
const PAGE: usize = 1000;
/// What stays as it is with `encoding-type=url`.
const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

pub(super) fn objects(store: &Store, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let most = match input.max_keys {
        None => PAGE,
        Some(most) => {
            usize::try_from(most).map_err(|_| s3_error!(InvalidArgument, "max-keys is negative"))?.min(PAGE)
        }
    };
    let encode = match input.encoding_type.as_ref().map(EncodingType::as_str) {
        None | Some("") => false,
        Some("url") => true,
        Some(other) => {
            return Err(s3_error!(InvalidArgument, "the encoding type {other} is not one of S3's"));
        }
    };
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let token = input.continuation_token.as_deref().map(Token::decode).transpose()?;
    let after = match (&token, &input.start_after) {
        (Some(Token::Prefix(prefix)), _) => After::Prefix(prefix),
        (Some(Token::Key(key)), _) | (None, Some(key)) => After::Key(key),
        (None, None) => After::Start,
    };
    let page = {
        let index = store.index();
        if !index.buckets.contains_key(&*input.bucket) {
            return Err(answer(Error::NoBucket(input.bucket)));
        }
        // A page of nothing is not a page with more behind it.
        let query =
            Query { bucket: &input.bucket, prefix: &prefix, delimiter: delimiter.as_deref(), after, most };
        if most == 0 { crate::engine::index::Page::default() } else { index.list(&query) }
    };
    let name =
        |text: &str| if encode { utf8_percent_encode(text, KEPT).to_string() } else { text.to_owned() };
    let next = page.items.last().filter(|_| page.truncated).map(|item| match item {
        Item::Object(key, _) => Token::Key(key.clone()).encode(),
        Item::Prefix(prefix) => Token::Prefix(prefix.clone()).encode(),
    });
    let key_count = i32::try_from(page.items.len()).ok();
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for item in page.items {
        match item {
            Item::Object(key, entry) => contents.push(Object {
                key: Some(name(&key)),
                e_tag: Some(ETag::Strong(hex(&entry.etag))),
                last_modified: Some(time(entry.modified)),
                size: length(entry.length),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                ..Object::default()
            }),
            Item::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(name(&prefix)) }),
        }
    }
    Ok(ListObjectsV2Output {
        common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        contents: Some(contents),
        continuation_token: input.continuation_token,
        delimiter: delimiter.as_deref().map(name),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.truncated),
        key_count,
        max_keys: i32::try_from(most).ok(),
        name: Some(input.bucket),
        next_continuation_token: next,
        prefix: Some(name(&prefix)),
        start_after: input.start_after.as_deref().map(name),
        ..ListObjectsV2Output::default()
    })
}

/// Where the next page starts. Clients take it as it is.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// Behind this key.
    Key(String),
    /// Behind all that starts with this.
    Prefix(String),
}

impl Token {
    fn encode(&self) -> String {
        let (kind, text) = match self {
            Token::Key(text) => ('k', text),
            Token::Prefix(text) => ('p', text),
        };
        format!("{kind}{}", utf8_percent_encode(text, NON_ALPHANUMERIC))
    }

    fn decode(token: &str) -> S3Result<Self> {
        let text = |rest: &str| percent_encoding::percent_decode_str(rest).decode_utf8().map(Into::into).ok();
        let token = match token.split_at_checked(1) {
            Some(("k", rest)) => text(rest).map(Token::Key),
            Some(("p", rest)) => text(rest).map(Token::Prefix),
            _ => None,
        };
        token.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_come_back(text in "\\PC{0,30}", any in "\\PC{0,30}") {
            for token in [Token::Key(text.clone()), Token::Prefix(text)] {
                prop_assert_eq!(&Token::decode(&token.encode()).unwrap(), &token);
            }
            let _ = Token::decode(&any);
        }
    }
}
