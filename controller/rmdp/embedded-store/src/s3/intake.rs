//! An object's bytes on their way in: small ones to memory, large ones to a file of their own, all of them checked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{Checksum, PutObjectInput};
use s3s::{S3Result, TrailingHeaders, s3_error};
use tokio_stream::StreamExt as _;

use super::answers::with_status;
use super::{Etag, answer};
use crate::MAX_OBJECT;
use crate::engine::format::{INLINE, castagnoli};
use crate::engine::{Condition, Put, PutData};
use crate::store::{CHUNK, Store};

/// All that a client may ask of an object and that would change what it is, but is not done here.
pub(super) fn supported(input: &PutObjectInput) -> S3Result<()> {
    let acl = input.acl.as_ref().map_or("private", |acl| acl.as_str());
    let class = input.storage_class.as_ref().map_or("STANDARD", |class| class.as_str());
    let not = [
        ("access lists", !matches!(acl, "private" | "bucket-owner-full-control")),
        (
            "grants",
            input.grant_full_control.is_some()
                || input.grant_read.is_some()
                || input.grant_read_acp.is_some()
                || input.grant_write_acp.is_some(),
        ),
        ("storage classes", class != "STANDARD"),
        (
            "encryption",
            input.server_side_encryption.is_some()
                || input.sse_customer_algorithm.is_some()
                || input.sse_customer_key.is_some()
                || input.ssekms_key_id.is_some(),
        ),
        (
            "locks",
            input.object_lock_mode.is_some()
                || input.object_lock_legal_hold_status.is_some()
                || input.object_lock_retain_until_date.is_some(),
        ),
        ("tags", input.tagging.is_some()),
        ("redirects", input.website_redirect_location.is_some()),
        ("appending", input.write_offset_bytes.is_some()),
    ];
    match not.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(s3_error!(NotImplemented, "{what} are not implemented here")),
        None => Ok(()),
    }
}

/// An object's bytes, taken in.
pub(super) struct Body {
    pub(super) length: u64,
    etag: Etag,
    crc: u32,
    data: PutData,
}

impl Body {
    pub(super) fn put(self, key: String, condition: Condition, headers: Vec<u8>) -> Put {
        Put { key, condition, headers, etag: self.etag, crc: self.crc, data: self.data }
    }
}

/// Reads the body to its end.
pub(super) async fn take(
    store: &Store,
    input: &mut PutObjectInput,
    trailers: Option<TrailingHeaders>,
) -> S3Result<Body> {
    let too_large = || s3_error!(EntityTooLarge, "objects have at most {MAX_OBJECT} bytes here");
    let announced = match input.content_length {
        Some(length) => u64::try_from(length).map_err(|_| s3_error!(InvalidArgument, "Content-Length"))?,
        None => 0,
    };
    if announced > MAX_OBJECT {
        return Err(too_large());
    }
    let mut body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
    let mut sums = hashers(input)?;
    let mut md5 = Md5::new();
    let mut crc = castagnoli().digest();
    let (mut held, mut upload, mut length) = (Vec::new(), None, 0_u64);
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| match error.to_string() {
            words if words.contains("Sha256Mismatch") => with_status(
                "XAmzContentSHA256Mismatch",
                400,
                "the body does not have the SHA-256 that was announced",
            ),
            words if words.contains("Signature") => s3_error!(SignatureDoesNotMatch, "a part of the body"),
            words => s3_error!(IncompleteBody, "the body can't be read: {words}"),
        })?;
        length += bytes.len() as u64;
        if length > MAX_OBJECT {
            return Err(too_large());
        }
        md5.update(&bytes);
        sums.update(&bytes);
        crc.update(&bytes);
        held.extend_from_slice(&bytes);
        if upload.is_none() && held.len() > INLINE {
            upload = Some(store.upload(announced.max(length)).await.map_err(answer)?);
        }
        if held.len() >= CHUNK
            && let Some(before) = upload.take()
        {
            upload = Some(before.write(std::mem::take(&mut held)).await.map_err(answer)?);
        }
    }
    let etag = md5.finalize();
    if let Some(expected) = &input.content_md5
        && BASE64_STANDARD.decode(expected).ok().as_deref() != Some(&etag[..])
    {
        return Err(s3_error!(BadDigest, "the body does not have the MD5 that was announced"));
    }
    compare(&sums.finalize(), input, trailers)?;
    let data = match upload {
        None => PutData::Inline(Bytes::from(held)),
        Some(mut upload) => {
            if !held.is_empty() {
                upload = upload.write(held).await.map_err(answer)?;
            }
            upload.finish().await.map_err(answer)?
        }
    };
    Ok(Body { length, etag, crc: crc.finalize(), data })
}

/// Those that the request names, before the body or for behind it.
fn hashers(input: &PutObjectInput) -> S3Result<ChecksumHasher> {
    let algorithm = input.checksum_algorithm.as_ref().map_or("", |algorithm| algorithm.as_str());
    if !matches!(algorithm, "" | "CRC32" | "CRC32C" | "CRC64NVME" | "SHA1" | "SHA256") {
        return Err(s3_error!(NotImplemented, "the checksum {algorithm} is not implemented here"));
    }
    let asked = |name: &str, value: &Option<String>| value.is_some() || algorithm == name;
    Ok(ChecksumHasher {
        crc32: asked("CRC32", &input.checksum_crc32).then(Crc32::new),
        crc32c: asked("CRC32C", &input.checksum_crc32c).then(Crc32c::new),
        crc64nvme: asked("CRC64NVME", &input.checksum_crc64nvme).then(Crc64Nvme::new),
        sha1: asked("SHA1", &input.checksum_sha1).then(Sha1::new),
        sha256: asked("SHA256", &input.checksum_sha256).then(Sha256::new),
    })
}

fn compare(found: &Checksum, input: &PutObjectInput, trailers: Option<TrailingHeaders>) -> S3Result<()> {
    let trailers = trailers.and_then(|trailers| trailers.take());
    for (name, found, header) in [
        ("x-amz-checksum-crc32", &found.checksum_crc32, &input.checksum_crc32),
        ("x-amz-checksum-crc32c", &found.checksum_crc32c, &input.checksum_crc32c),
        ("x-amz-checksum-crc64nvme", &found.checksum_crc64nvme, &input.checksum_crc64nvme),
        ("x-amz-checksum-sha1", &found.checksum_sha1, &input.checksum_sha1),
        ("x-amz-checksum-sha256", &found.checksum_sha256, &input.checksum_sha256),
    ] {
        let trailer = trailers.as_ref().and_then(|trailers| trailers.get(name)?.to_str().ok());
        for expected in [header.as_deref(), trailer].into_iter().flatten() {
            if let Some(found) = found
                && found != expected
            {
                return Err(s3_error!(BadDigest, "the body has {name} {found}, not {expected}"));
            }
        }
    }
    Ok(())
}
