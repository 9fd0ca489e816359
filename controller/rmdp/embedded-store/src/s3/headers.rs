//! Headers and metadata that an object keeps: `name:value` lines, beside its data in the log.

use s3s::dto::{GetObjectOutput, HeadObjectOutput, Metadata, PutObjectInput, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use crate::engine::format::MAX_HEADERS;

const META: &str = "x-amz-meta-";

/// Names and values, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(super) fn of(input: &PutObjectInput) -> S3Result<Self> {
        let mut all = Vec::new();
        let mut keep = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                all.push((name.to_owned(), value.to_owned()));
            }
        };
        keep("cache-control", input.cache_control.as_deref());
        keep("content-disposition", input.content_disposition.as_deref());
        // How the body was sent is not how the object is.
        let encoding = input.content_encoding.as_deref().map(|value| {
            value
                .split(',')
                .map(str::trim)
                .filter(|part| *part != "aws-chunked")
                .collect::<Vec<_>>()
                .join(",")
        });
        keep("content-encoding", encoding.as_deref().filter(|value| !value.is_empty()));
        keep("content-language", input.content_language.as_deref());
        keep("content-type", input.content_type.as_deref());
        let expires = input.expires.as_ref().map(|time| {
            let mut text = Vec::new();
            time.format(TimestampFormat::HttpDate, &mut text)
                .map(|()| String::from_utf8_lossy(&text).into_owned())
        });
        let expires = expires.transpose().map_err(|error| s3_error!(error, InvalidArgument, "Expires"))?;
        keep("expires", expires.as_deref());
        let mut metadata: Vec<_> = input.metadata.iter().flatten().collect();
        metadata.sort();
        for (name, value) in metadata {
            all.push((format!("{META}{name}"), value.clone()));
        }
        Ok(Self(all))
    }

    pub(super) fn encode(&self) -> S3Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            if name.contains(['\n', ':']) || value.contains('\n') {
                return Err(s3_error!(InvalidArgument, "a header's name or value has a line break"));
            }
            bytes.extend_from_slice(format!("{name}:{value}\n").as_bytes());
        }
        if bytes.len() > MAX_HEADERS {
            return Err(s3_error!(MetadataTooLarge, "headers and metadata have at most {MAX_HEADERS} bytes"));
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(text.lines().filter_map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn metadata(&self) -> Option<Metadata> {
        let pair =
            |(name, value): &(String, String)| Some((name.strip_prefix(META)?.to_owned(), value.clone()));
        let metadata: Metadata = self.0.iter().filter_map(pair).collect();
        (!metadata.is_empty()).then_some(metadata)
    }

    fn expires(&self) -> Option<Timestamp> {
        Timestamp::parse(TimestampFormat::HttpDate, &self.get("expires")?).ok()
    }

    pub(super) fn give_get(&self, output: &mut GetObjectOutput) {
        output.cache_control = self.get("cache-control");
        output.content_disposition = self.get("content-disposition");
        output.content_encoding = self.get("content-encoding");
        output.content_language = self.get("content-language");
        output.content_type = self.get("content-type");
        output.expires = self.expires();
        output.metadata = self.metadata();
    }

    pub(super) fn give_head(&self, output: &mut HeadObjectOutput) {
        output.cache_control = self.get("cache-control");
        output.content_disposition = self.get("content-disposition");
        output.content_encoding = self.get("content-encoding");
        output.content_language = self.get("content-language");
        output.content_type = self.get("content-type");
        output.expires = self.expires();
        output.metadata = self.metadata();
    }
}
