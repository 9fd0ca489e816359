//! The S3 operations that there are, on top of the store. All others answer `NotImplemented`, which is what the trait
//! does by itself.

mod answers;
mod conditions;
mod headers;
mod intake;
mod list;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, Error as KeyError, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
    ListBucketsOutput, ListObjectsV2Input, ListObjectsV2Output, PostObjectInput, PostObjectOutput,
    PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio_stream::wrappers::ReceiverStream;

use crate::engine::index::{Entry, Etag};
use crate::engine::{Op, Outcome};
use crate::error::Error;
use crate::store::Store;
pub(crate) use answers::with_status;
use answers::{answer, key_error};
use conditions::{Preconditions, delete_condition, write_condition};
use headers::Headers;

/// Keys of one `DeleteObjects` at most, as S3 has it.
const DELETES: usize = 1000;

/// The operations.
pub(crate) struct Frontend {
    pub(crate) store: Arc<Store>,
}

/// As S3 shows MD5s.
fn hex(etag: &Etag) -> String {
    use std::fmt::Write as _;
    etag.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn time(milliseconds: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(milliseconds))
}

/// Names that XML, and so a list, cannot carry are not taken in.
fn name(bucket: &str, key: &str) -> S3Result<String> {
    if key.is_empty()
        || key.contains(|character: char| {
            character.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&character)
        })
    {
        return Err(s3_error!(InvalidArgument, "keys are not empty and have no control characters"));
    }
    if key.len() > 1024 {
        return Err(s3_error!(KeyTooLongError));
    }
    Ok(format!("{bucket}/{key}"))
}

fn length(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

impl Frontend {
    fn needs_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.store.index().buckets.contains_key(bucket) {
            return Ok(());
        }
        Err(answer(Error::NoBucket(bucket.to_owned())))
    }

    async fn commit(&self, op: Op) -> S3Result<Outcome> {
        let outcome = self.store.commit(op).await;
        if matches!(outcome, Err(Error::Precondition(_))) {
            self.store.metrics().conflicts.add(1);
        }
        outcome.map_err(answer)
    }
}

/// Object versions and parts that were never made.
fn plain(version: Option<&str>, part: Option<i32>) -> S3Result<()> {
    if version.is_some_and(|version| version != "null") {
        return Err(s3_error!(NotImplemented, "objects have no versions here"));
    }
    if part.is_some_and(|part| part != 1) {
        return Err(s3_error!(InvalidPart, "objects have one part here"));
    }
    Ok(())
}

#[async_trait::async_trait]
impl S3 for Frontend {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let metrics = self.store.metrics();
        metrics.put_object.add(1);
        let trailers = request.trailing_headers;
        let mut input = request.input;
        intake::supported(&input)?;
        let key = name(&input.bucket, &input.key)?;
        self.needs_bucket(&input.bucket)?;
        let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let headers = Headers::of(&input)?.encode()?;
        let body = intake::take(&self.store, &mut input, trailers).await?;
        metrics.bytes_in.add(body.length);
        let put = body.put(key, condition, headers);
        let tag = Some(ETag::Strong(hex(&put.etag)));
        self.commit(Op::Put(put)).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: tag, ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let metrics = self.store.metrics();
        metrics.get_object.add(1);
        let input = request.input;
        plain(input.version_id.as_deref(), input.part_number)?;
        let found = self.store.find(&input.bucket, &input.key).map_err(answer)?;
        let entry = found.entry;
        Preconditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        }
        .check(&entry)?;
        let whole = 0..entry.length;
        let range = match input.range {
            Some(range) => range.check(entry.length)?,
            None => whole.clone(),
        };
        let stream = (entry.blob != 0).then(|| found.stream(range.start, range.end));
        let (headers, data) = found.read().await.map_err(answer)?;
        let body = if let Some(chunks) = stream {
            StreamingBlob::wrap(ReceiverStream::new(chunks))
        } else {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            StreamingBlob::from(s3s::Body::from(data.slice(place(range.start)..place(range.end))))
        };
        metrics.bytes_out.add(range.end - range.start);
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body),
            content_length: length(range.end - range.start),
            content_range: input
                .range
                .map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), entry.length)),
            e_tag: Some(ETag::Strong(hex(&entry.etag))),
            last_modified: Some(time(entry.modified)),
            ..GetObjectOutput::default()
        };
        Headers::decode(&headers).give_get(&mut output);
        Ok(S3Response::new(output))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.store.metrics().head_object.add(1);
        let input = request.input;
        plain(input.version_id.as_deref(), input.part_number)?;
        let mut found = self.store.find(&input.bucket, &input.key).map_err(answer)?;
        let entry = found.entry;
        Preconditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        }
        .check(&entry)?;
        let mut output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(entry.length),
            e_tag: Some(ETag::Strong(hex(&entry.etag))),
            last_modified: Some(time(entry.modified)),
            ..HeadObjectOutput::default()
        };
        if entry.headers > 0 {
            found.headers_only();
            let (headers, _) = found.read().await.map_err(answer)?;
            Headers::decode(&headers).give_head(&mut output);
        }
        Ok(S3Response::new(output))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.store.metrics().delete_object.add(1);
        let input = request.input;
        plain(input.version_id.as_deref(), None)?;
        if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "deletes can depend on the ETag (If-Match), not on time or size"
            ));
        }
        let condition = write_condition(input.if_match.as_ref(), None)?;
        let keys = vec![(format!("{}/{}", input.bucket, input.key), condition)];
        let outcome = self.commit(Op::Delete { bucket: input.bucket, keys }).await?;
        if let Outcome::Delete(mut outcomes) = outcome
            && let Some(Err(error)) = outcomes.pop()
        {
            if matches!(error, Error::Precondition(_)) {
                self.store.metrics().conflicts.add(1);
            }
            return Err(answer(error));
        }
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.store.metrics().delete_objects.add(1);
        let input = request.input;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > DELETES {
            return Err(s3_error!(MalformedXML, "1 to {DELETES} keys are deleted at a time"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let mut output = DeleteObjectsOutput::default();
        let (mut errors, mut asked, mut keys): (Vec<KeyError>, Vec<String>, Vec<_>) = Default::default();
        for object in objects {
            match delete_condition(&object) {
                Ok(condition) => {
                    keys.push((format!("{}/{}", input.bucket, object.key), condition));
                    asked.push(object.key);
                }
                Err(error) => errors.push(key_error(object.key, &error)),
            }
        }
        let Outcome::Delete(outcomes) = self.commit(Op::Delete { bucket: input.bucket, keys }).await? else {
            return Err(s3_error!(InternalError));
        };
        let mut deleted = Vec::new();
        for (key, outcome) in asked.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => deleted.push(DeletedObject { key: Some(key), ..DeletedObject::default() }),
                Err(error) => errors.push(key_error(key, &answer(error))),
            }
        }
        output.deleted = (!quiet).then_some(deleted);
        output.errors = (!errors.is_empty()).then_some(errors);
        Ok(S3Response::new(output))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.store.metrics().list_objects.add(1);
        list::objects(&self.store, request.input).map(S3Response::new)
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store.metrics().bucket.add(1);
        let input = request.input;
        if input.object_lock_enabled_for_bucket == Some(true)
            || input.acl.is_some_and(|acl| acl.as_str() != "private")
        {
            return Err(s3_error!(NotImplemented, "buckets have no locks and no access lists here"));
        }
        let location = Some(format!("/{}", input.bucket));
        self.commit(Op::CreateBucket { name: input.bucket }).await?;
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.metrics().bucket.add(1);
        self.needs_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.store.metrics().bucket.add(1);
        let input = request.input;
        let most = input.max_buckets.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0));
        let after = input.continuation_token.unwrap_or_default();
        let prefix = input.prefix.unwrap_or_default();
        let index = self.store.index();
        let mut found =
            index.buckets.iter().filter(|(name, _)| ***name > *after && name.starts_with(&prefix));
        let buckets: Vec<Bucket> = found
            .by_ref()
            .take(most)
            .map(|(name, bucket)| Bucket {
                name: Some(name.to_string()),
                creation_date: Some(time(bucket.created)),
                ..Bucket::default()
            })
            .collect();
        let more = found.next().is_some();
        let continuation_token = buckets.last().filter(|_| more).and_then(|bucket| bucket.name.clone());
        let prefix = (!prefix.is_empty()).then_some(prefix);
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            continuation_token,
            prefix,
            ..ListBucketsOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store.metrics().bucket.add(1);
        self.needs_bucket(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.store.metrics().bucket.add(1);
        self.needs_bucket(&request.input.bucket)?;
        // Without a status: it was never versioned.
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn post_object(&self, _: S3Request<PostObjectInput>) -> S3Result<S3Response<PostObjectOutput>> {
        Err(s3_error!(NotImplemented, "objects are put, not posted"))
    }
}
