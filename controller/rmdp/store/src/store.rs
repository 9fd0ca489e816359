//! The client's calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{BucketVersioningStatus, Delete, EncodingType, ObjectIdentifier};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use crate::call::{Operation, Shared, Stop, Walk, What, timed};
use crate::connector::Http;
use crate::endpoint::{Endpoint, Tried};
use crate::listing::page;
use crate::trouble::{Status, Trouble};
use crate::{Created, EndpointStats, Error, Page, RequestCounts, Settings};

/// Keys that S3 deletes or lists in one request.
const MAX_KEYS: usize = 1000;
/// How often a store may say that an object exists and then that it does not, before `create` gives up.
const MAX_CONTRADICTIONS: u32 = 8;

/// A client of one store. Clones share everything: connections, counters, what is known of the endpoints.
///
/// All calls end by [`Settings::deadline`]. They may be dropped at any time; a write that was under way may then have
/// been done or not.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What came of a conditional PUT.
enum Put {
    Created,
    /// Whether the answer has S3's code for it.
    Exists {
        by_its_code: bool,
    },
    /// It may have been carried out, and may still be.
    Open,
    /// It never left.
    Unsent,
}

impl Store {
    /// A client; nothing is sent yet.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        check(&settings)?;
        let skew = Arc::default();
        let http = Http::new(&settings, Arc::clone(&skew))?;
        let endpoints = settings
            .endpoints
            .iter()
            .map(|url| Endpoint::new(url.clone(), client(url, &settings, http.clone())))
            .collect();
        Ok(Self { shared: Arc::new(Shared::new(settings, endpoints, skew)) })
    }

    /// Creates the bucket where it is absent; refuses a versioned one.
    pub async fn ensure_bucket(&self) -> Result<(), Error> {
        let bucket = &self.shared.settings.bucket;
        let mut walk = Walk::new(&self.shared, What("create bucket", bucket));
        let created = walk
            .until_answered(Operation::Bucket, 0, |client, limit| {
                timed(limit, client.create_bucket().bucket(bucket).send())
            })
            .await;
        match created {
            // Not created: it exists, or it is not ours to create, or a place must be named. The next request tells.
            Ok(_) | Err(Stop::Trouble(_, Trouble::Status(Status { http: 400 | 403 | 409, .. }))) => {}
            Err(stop) => return Err(walk.error(stop)),
        }
        self.refuse_versioned().await
    }

    /// Refuses a bucket that is, or was, versioned.
    pub async fn refuse_versioned(&self) -> Result<(), Error> {
        let bucket = &self.shared.settings.bucket;
        let mut walk = Walk::new(&self.shared, What("read the versioning of bucket", bucket));
        let versioning = walk
            .until_answered(Operation::Bucket, 0, |client, limit| {
                timed(limit, client.get_bucket_versioning().bucket(bucket).send())
            })
            .await
            .map_err(|stop| walk.error(stop))?;
        match versioning.status {
            None => Ok(()),
            Some(status @ (BucketVersioningStatus::Enabled | BucketVersioningStatus::Suspended)) => {
                Err(Error::Versioned { bucket: bucket.clone(), status: status.as_str().to_owned() })
            }
            Some(other) => Err(Error::Versioned { bucket: bucket.clone(), status: format!("{other:?}") }),
        }
    }

    /// Creates `key` unless it exists, and tells whose it is: `PutObject` with `If-None-Match: *`.
    ///
    /// `body` must differ from every other writer's, so carry a nonce. Where the store's answer is missing or says
    /// that the object exists, it is read and compared: equal bytes are ours. An attempt whose effect is open is
    /// repeated; that cannot do harm, as the bytes are the same and the first to be written stay.
    ///
    /// [`Error::Unknown`]: the object may exist with these bytes, or may come to.
    pub async fn create(&self, key: &str, body: Bytes) -> Result<Created, Error> {
        self.check_size(key, &body)?;
        let full = self.full(key);
        let mut walk = Walk::new(&self.shared, What("create", key));
        let mut contradictions = 0;
        loop {
            let exists = match self.try_to_create(&mut walk, &full, &body).await {
                Ok(Put::Created) => return Ok(Created::Ours),
                Ok(Put::Unsent) => continue,
                Ok(Put::Open) => false,
                Ok(Put::Exists { .. }) => true,
                Err(stop) => return Err(walk.error(stop)),
            };
            match self.read(&mut walk, &full).await {
                Ok(Some(found)) if found == body => return Ok(Created::Ours),
                Ok(Some(found)) => return Ok(Created::Theirs(found)),
                Ok(None) => {}
                Err(stop) => return Err(walk.error(stop)),
            }
            contradictions += u32::from(exists);
            if contradictions == MAX_CONTRADICTIONS {
                return Err(self.contradiction(key, &walk));
            }
            walk.pause().await.map_err(|stop| walk.error(stop))?;
        }
    }

    /// Creates `key` unless it exists, for who does not care whose it is: where it exists, that is one request and not
    /// two. Whether it is surely ours.
    ///
    /// [`Error::Unknown`]: as with [`Store::create`].
    pub async fn ensure(&self, key: &str, body: Bytes) -> Result<bool, Error> {
        self.check_size(key, &body)?;
        let full = self.full(key);
        let mut walk = Walk::new(&self.shared, What("create", key));
        loop {
            match self.try_to_create(&mut walk, &full, &body).await {
                Ok(Put::Created) => return Ok(true),
                Ok(Put::Exists { by_its_code: true }) => return Ok(false),
                Ok(Put::Unsent) => continue,
                // Said by something in between, perhaps.
                Ok(Put::Exists { .. }) => match self.read(&mut walk, &full).await {
                    Ok(Some(_)) => return Ok(false),
                    Ok(None) => {}
                    Err(stop) => return Err(walk.error(stop)),
                },
                Ok(Put::Open) => {}
                Err(stop) => return Err(walk.error(stop)),
            }
            walk.pause().await.map_err(|stop| walk.error(stop))?;
        }
    }

    /// One conditional PUT.
    async fn try_to_create(&self, walk: &mut Walk<'_>, full: &str, body: &Bytes) -> Result<Put, Stop> {
        let bucket = &self.shared.settings.bucket;
        let put = |client: Client, limit| {
            let request = client.put_object().bucket(bucket).key(full).if_none_match("*");
            timed(limit, request.body(stream(body)).send())
        };
        match walk.attempt(Operation::Create, body.len(), put).await {
            // Every S3 names the object that it has written; without a name it was something else that answered.
            Ok(Ok(written)) if written.e_tag.is_some() => Ok(Put::Created),
            Ok(Ok(_)) | Err(Stop::Trouble(_, Trouble::Status(Status { http: 409, .. }))) => Ok(Put::Open),
            Ok(Err(Trouble::Unsent(_))) => Ok(Put::Unsent),
            Ok(Err(_)) => {
                walk.doubt = true;
                Ok(Put::Open)
            }
            Err(Stop::Trouble(_, Trouble::Status(Status { http: 412, code, .. }))) => {
                Ok(Put::Exists { by_its_code: code == "PreconditionFailed" })
            }
            Err(stop) => Err(stop),
        }
    }

    fn contradiction(&self, key: &str, walk: &Walk<'_>) -> Error {
        let call = What("create", key).to_string();
        let message =
            format!("the store said {MAX_CONTRADICTIONS} times that it exists, and that it does not");
        if walk.doubt {
            return Error::Unknown { call, last: message };
        }
        let endpoint = self.shared.settings.endpoints.join(", ");
        Error::Refused { endpoint, call, status: 412, code: "PreconditionFailed".to_owned(), message }
    }

    /// Writes `key`, whatever it was. For keys with one writer: a delayed attempt may undo somebody else's write.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        self.check_size(key, &body)?;
        let (bucket, full) = (&self.shared.settings.bucket, self.full(key));
        let mut walk = Walk::new(&self.shared, What("put", key));
        walk.until_answered(Operation::Put, body.len(), |client, limit| {
            timed(limit, client.put_object().bucket(bucket).key(&full).body(stream(&body)).send())
        })
        .await
        .map(|_| ())
        .map_err(|stop| walk.error(stop))
    }

    /// Writes `key` in place of what the tag of an earlier [`Store::get_tagged`] or `replace` stands for: `PutObject` with
    /// `If-Match`. None: it is not that any more, and nothing was written.
    ///
    /// `body` must differ from every other writer's, so carry a number and a name. [`Error::Unknown`]: it may be there, or
    /// may come to be, as long as nobody else writes the key.
    pub async fn replace(&self, key: &str, body: Bytes, tag: &str) -> Result<Option<String>, Error> {
        self.check_size(key, &body)?;
        let bare = tag.trim_matches('"');
        let first = if self.shared.bare_tags.load(Ordering::Relaxed) { bare } else { tag };
        if let Some(new) = self.replace_as(key, &body, first).await? {
            return Ok(Some(new));
        }
        match Box::pin(self.get_tagged(key)).await? {
            // By an earlier try of ours, whose answer was lost.
            Some((found, new)) if found == body => Ok(Some(new)),
            // Ceph 16 compares with the tag as it keeps it, without quotes.
            Some((_, now)) if now == tag && first != bare => {
                let new = Box::pin(self.replace_as(key, &body, bare)).await?;
                self.shared.bare_tags.fetch_or(new.is_some(), Ordering::Relaxed);
                Ok(new)
            }
            _ => Ok(None),
        }
    }

    async fn replace_as(&self, key: &str, body: &Bytes, tag: &str) -> Result<Option<String>, Error> {
        let (bucket, full) = (&self.shared.settings.bucket, self.full(key));
        let mut walk = Walk::new(&self.shared, What("replace", key));
        let put = walk
            .until_answered(Operation::Put, body.len(), |client, limit| {
                let request = client.put_object().bucket(bucket).key(&full).if_match(tag);
                timed(limit, request.body(stream(body)).send())
            })
            .await;
        match put {
            Ok(output) if output.e_tag.is_some() => Ok(output.e_tag),
            // Every S3 names what it has written: something else answered.
            Ok(_) => {
                walk.doubt = true;
                Err(walk.error(Stop::OutOfTime))
            }
            Err(Stop::Trouble(_, Trouble::Status(Status { http: 409 | 412, .. }))) => Ok(None),
            Err(Stop::Trouble(_, Trouble::Status(Status { http: 404, code, .. }))) if code == "NoSuchKey" => {
                Ok(None)
            }
            Err(stop) => Err(walk.error(stop)),
        }
    }

    /// Reads `key` with the tag that stands for its present bytes.
    pub async fn get_tagged(&self, key: &str) -> Result<Option<(Bytes, String)>, Error> {
        let (settings, full) = (&self.shared.settings, self.full(key));
        let mut walk = Walk::new(&self.shared, What("get", key));
        let read = walk
            .until_answered(Operation::Get, 0, |client, limit| {
                fetch_tagged(settings, client, &full, usize::MAX, limit)
            })
            .await;
        match read {
            Ok((bytes, Some(tag))) => Ok(Some((bytes, tag))),
            // As one that did not answer.
            Ok((_, None)) => Err(walk.error(Stop::OutOfTime)),
            Err(Stop::Trouble(_, Trouble::Status(Status { http: 404, code, .. }))) if code == "NoSuchKey" => {
                Ok(None)
            }
            Err(stop) => Err(walk.error(stop)),
        }
    }

    /// Reads `key`. Objects over [`Settings::max_object`] and [`Settings::bound`] are refused, and not read.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.get_within(key, usize::MAX).await
    }

    /// As [`Self::get`], of an object that may have no more than so many bytes.
    pub async fn get_within(&self, key: &str, most: usize) -> Result<Option<Bytes>, Error> {
        let mut walk = Walk::new(&self.shared, What("get", key));
        self.read_within(&mut walk, &self.full(key), most).await.map_err(|stop| walk.error(stop))
    }

    /// Whether there is an object at `key`, of any size: no more than a byte of it is asked for.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let (settings, full) = (&self.shared.settings, self.full(key));
        let mut walk = Walk::new(&self.shared, What("get", key));
        let looked = walk
            .until_answered(Operation::Get, 0, |client, limit| glance(settings, client, &full, limit))
            .await;
        match looked {
            // There is no first byte of what is empty.
            Ok(()) | Err(Stop::Trouble(_, Trouble::Status(Status { http: 416, .. }))) => Ok(true),
            Err(Stop::Trouble(_, Trouble::Status(Status { http: 404, code, .. }))) if code == "NoSuchKey" => {
                Ok(false)
            }
            Err(stop) => Err(walk.error(stop)),
        }
    }

    async fn read(&self, walk: &mut Walk<'_>, full: &str) -> Result<Option<Bytes>, Stop> {
        self.read_within(walk, full, usize::MAX).await
    }

    async fn read_within(&self, walk: &mut Walk<'_>, full: &str, most: usize) -> Result<Option<Bytes>, Stop> {
        let (settings, doubt) = (&self.shared.settings, walk.doubt);
        let result = walk
            .until_answered(Operation::Get, 0, |client, limit| {
                let tagged = fetch_tagged(settings, client, full, most, limit);
                async move { Ok(tagged.await?.0) }
            })
            .await;
        // Reading cannot put a write in doubt.
        walk.doubt = doubt;
        match result {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Stop::Trouble(_, Trouble::Status(Status { http: 404, code, .. }))) if code == "NoSuchKey" => {
                Ok(None)
            }
            Err(stop) => Err(stop),
        }
    }

    /// Lists keys that start with `prefix`, after the key `after`; at most `limit`, and at most 1,000.
    ///
    /// In the order of the keys' bytes. A key that is missing proves nothing: never decide a claim, or that something is
    /// over, by it. An answer that does not say whether it is the end, is out of order or does not go on is none: the
    /// next endpoint is asked, and in the end it is an error.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, Error> {
        let (bucket, full) = (&self.shared.settings.bucket, self.full(prefix));
        let after = after.map(|after| self.full(after));
        let most = i32::try_from(limit.clamp(1, MAX_KEYS)).unwrap_or(1);
        let mut walk = Walk::new(&self.shared, What("list", prefix));
        walk.until_answered(Operation::List, 0, |client, limit| {
            let request = client.list_objects_v2().bucket(bucket).prefix(&full).max_keys(most);
            // Others' keys may have characters that XML cannot say.
            let request = request.encoding_type(EncodingType::Url).set_start_after(after.clone());
            let answer = timed(limit, request.send());
            let (full, after) = (&full, after.as_deref());
            let own = self.shared.settings.prefix.as_str();
            async move { answer.await.and_then(|output| page(output, own, full, after)) }
        })
        .await
        .map_err(|stop| walk.error(stop))
    }

    /// Deletes the keys that exist, 1,000 a request. Not atomic: after an error some may be gone.
    pub async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        for chunk in keys.chunks(MAX_KEYS) {
            self.delete_chunk(chunk).await?;
        }
        Ok(())
    }

    async fn delete_chunk(&self, keys: &[String]) -> Result<(), Error> {
        let bucket = &self.shared.settings.bucket;
        let identifiers = keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(self.full(key)).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Settings(format!("delete: {error}")))?;
        let delete = Delete::builder()
            .set_objects(Some(identifiers))
            .quiet(true)
            .build()
            .map_err(|error| Error::Settings(format!("delete: {error}")))?;
        let first = keys.first().map_or("", String::as_str);
        let what = format!("{first} and {} more", keys.len().saturating_sub(1));
        let mut walk = Walk::new(&self.shared, What("delete", &what));
        let output = walk
            .until_answered(Operation::Delete, keys.len() * 100, |client, limit| {
                timed(limit, client.delete_objects().bucket(bucket).delete(delete.clone()).send())
            })
            .await
            .map_err(|stop| walk.error(stop))?;
        let errors = output.errors.unwrap_or_default();
        let Some(error) = errors.first() else { return Ok(()) };
        let key = error.key().unwrap_or_default();
        Err(Error::NotDeleted {
            count: errors.len(),
            key: key.strip_prefix(&self.shared.settings.prefix).unwrap_or(key).to_owned(),
            code: error.code().unwrap_or("no reason given").to_owned(),
        })
    }

    /// What each endpoint did, in the order of the settings.
    pub fn endpoints(&self) -> Vec<EndpointStats> {
        self.shared.endpoints.iter().map(Endpoint::stats).collect()
    }

    /// By how many milliseconds the store's clock is ahead of this machine's, to about a second, by the `Date` of its last
    /// answer; less than 0: it is behind. None: no answer had one.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.shared.skew.millis()
    }

    /// How many requests were sent.
    pub fn requests(&self) -> RequestCounts {
        self.shared.counts()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The key as the store knows it.
    pub(crate) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.shared.settings.prefix)
    }

    fn check_size(&self, key: &str, body: &Bytes) -> Result<(), Error> {
        let max = self.shared.settings.most(key);
        if body.len() > max {
            let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
            return Err(Error::TooLarge { key: key.to_owned(), size, max });
        }
        Ok(())
    }
}

fn check(settings: &Settings) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::Settings(text));
    if settings.endpoints.is_empty() || settings.endpoints.len() > Tried::MAX {
        return wrong(format!(
            "1 to {} endpoints are needed, {} are given",
            Tried::MAX,
            settings.endpoints.len()
        ));
    }
    for endpoint in &settings.endpoints {
        let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.trim_end_matches('/').is_empty() || rest.contains(char::is_whitespace))
        {
            return wrong(format!("endpoint `{endpoint}` is not http://host:port or https://host:port"));
        }
    }
    if settings.bucket.is_empty() || settings.bucket.contains('/') {
        return wrong(format!("`{}` is not the name of a bucket", settings.bucket));
    }
    if settings.max_requests == 0 || settings.max_requests > tokio::sync::Semaphore::MAX_PERMITS {
        return wrong("at least 1 request at once has to be allowed".to_owned());
    }
    if settings.attempt_timeout.is_zero() || settings.deadline < settings.attempt_timeout {
        return wrong(
            "the deadline of a call has to be at least that of an attempt, and both above 0".to_owned(),
        );
    }
    if settings.deadline > Duration::from_hours(1) {
        return wrong("the deadline of a call has to be an hour at most".to_owned());
    }
    Ok(())
}

fn client(url: &str, settings: &Settings, http: Http) -> Client {
    let credentials =
        Credentials::new(&settings.access_key, settings.secret_key.expose(), None, None, "settings");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url.trim_end_matches('/'))
        .force_path_style(true)
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials)
        .http_client(http)
        // An attempt is one request: who retries, where and whether is decided here and not in the SDK.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The signature covers the body already; checksums beside it cost time, and many stores know none.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .identity_cache(IdentityCache::no_cache())
        .build();
    Client::from_conf(config)
}

pub(crate) fn stream(body: &Bytes) -> ByteStream {
    ByteStream::new(SdkBody::from(body.clone()))
}

/// Bytes of a body that are read although nobody wants them.
const SHORT: usize = 64 << 10;

/// GET with a bounded body. Each part of the body has as long as the answer's head had. On the heap, as in [`timed`].
pub(crate) fn fetch(
    settings: &Settings,
    client: Client,
    full: &str,
    limit: Instant,
) -> impl Future<Output = Result<Bytes, Trouble>> + Send {
    let tagged = fetch_tagged(settings, client, full, usize::MAX, limit);
    async move { Ok(tagged.await?.0) }
}

/// The same with the object's tag, of one that has no more than so many bytes.
fn fetch_tagged(
    settings: &Settings,
    client: Client,
    full: &str,
    most: usize,
    limit: Instant,
) -> impl Future<Output = Result<(Bytes, Option<String>), Trouble>> + Send {
    Box::pin(async move {
        let patience = limit.saturating_duration_since(Instant::now());
        let output = timed(limit, client.get_object().bucket(&settings.bucket).key(full).send()).await?;
        let most = settings.most(full.strip_prefix(&settings.prefix).unwrap_or(full)).min(most);
        let tag = output.e_tag.clone();
        Ok((collect(output, most, patience).await?, tag))
    })
}

/// GET of the first byte. A HEAD would not tell a store's 404 from another's.
fn glance(
    settings: &Settings,
    client: Client,
    full: &str,
    limit: Instant,
) -> impl Future<Output = Result<(), Trouble>> + Send {
    Box::pin(async move {
        let patience = limit.saturating_duration_since(Instant::now());
        let request = client.get_object().bucket(&settings.bucket).key(full).range("bytes=0-0");
        let output = timed(limit, request.send()).await?;
        // A store may send all of it. What is short is read, so that the connection can be used again.
        match collect(output, SHORT, patience).await {
            Ok(_) | Err(Trouble::TooLarge(_)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    })
}

async fn collect(output: GetObjectOutput, max: usize, patience: Duration) -> Result<Bytes, Trouble> {
    let too_large = |size: usize| Trouble::TooLarge(u64::try_from(size).unwrap_or(u64::MAX));
    let stated = usize::try_from(output.content_length.unwrap_or_default()).unwrap_or_default();
    if stated > max {
        return Err(too_large(stated));
    }
    let mut body = output.body;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let part = timeout_at(Instant::now() + patience, body.try_next())
            .await
            .map_err(|_| Trouble::Timeout(patience))?
            .map_err(|error| Trouble::Broken(format!("the object's bytes broke off: {error}")))?;
        let Some(part) = part else { break };
        if first.len() + rest.len() + part.len() > max {
            return Err(too_large(first.len() + rest.len() + part.len()));
        }
        // Most objects come in one part, which needs no copy.
        if first.is_empty() && rest.is_empty() {
            first = part;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(stated);
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&part);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::{Secret, Settings, Store};

    /// Callers keep many of them at once, and put them into their own.
    #[test]
    fn futures_are_small() {
        let settings =
            Settings::new(vec!["http://127.0.0.1:1".to_owned()], "tasks", "key", Secret::new("secret"));
        let store = Store::new(settings).expect("good settings");
        let sizes = [
            size_of_val(&store.create("c/1", Bytes::new())),
            size_of_val(&store.put("n/1", Bytes::new())),
            size_of_val(&store.get("q/1")),
            size_of_val(&store.get_tagged("t/1")),
            size_of_val(&store.exists("q/1")),
            size_of_val(&store.list("q/", None, 1)),
            size_of_val(&store.delete(&[])),
            size_of_val(&store.ensure_bucket()),
        ];
        assert!(sizes.iter().all(|size| *size < 4096), "{sizes:?}");
    }
}
