//! A small S3 client over one connection, which can do what a good one would not; also used by the bench.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use outplane_embedded_store::Keys;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection and the keys to sign with.
pub(crate) struct Client {
    stream: TcpStream,
    keys: Keys,
    host: String,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands between these tags, each time.
    pub(crate) fn all(&self, tag: &str) -> Vec<String> {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let text = self.text();
        let parts = text.split(&open).skip(1);
        parts.filter_map(|part| part.split_once(&close).map(|(value, _)| value.to_owned())).collect()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `20260131T120000Z`, so many seconds since 1970.
pub(crate) fn amz_date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * part + 2) / 5 + 1, if part < 10 { part + 3 } else { part - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{:02}Z", second % 60)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr, keys: &Keys) -> Self {
        let stream = TcpStream::connect(address).await.expect("the store is there");
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, keys: keys.clone(), host: address.to_string(), buffer: Vec::new() }
    }

    /// A signed request's bytes. `target` is the path and the query, encoded and its pairs in order.
    pub(crate) fn signed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        date: &str,
    ) -> Vec<u8> {
        let sum = hex(&Sha256::digest(body));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut all: Vec<(String, &str)> =
            headers.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
        all.extend([
            ("host".to_owned(), self.host.as_str()),
            ("x-amz-content-sha256".to_owned(), sum.as_str()),
            ("x-amz-date".to_owned(), date),
        ]);
        all.sort();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines = all.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}:{}", value.trim());
            text
        });
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{sum}");
        let scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = mac(format!("AWS4{}", self.keys.secret).as_bytes(), &date[..8]);
        let key = ["us-east-1", "s3", "aws4_request"].iter().fold(key, |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &to_sign));
        let access = &self.keys.access;
        let mut request = format!("{method} {target} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in &all {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        let _ = write!(
            request,
            "authorization: AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\r\n"
        );
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Signs, sends, and waits for the answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let request = self.signed(method, target, headers, body, &amz_date(now()));
        self.raw(&request, method == "HEAD").await.expect("an answer")
    }

    /// Sends bytes and reads an answer, if there is a whole one.
    pub(crate) async fn raw(&mut self, request: &[u8], head: bool) -> Option<Answer> {
        // It may answer, and close, before it has read all.
        let _ = self.stream.write_all(request).await;
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head_text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let mut lines = head_text.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |value| value.parse().expect("a number"));
        let length = if head || status == 304 || status == 204 { 0 } else { length };
        assert_eq!(answer.header("transfer-encoding"), None, "bodies have a length: {answer:?}");
        while self.buffer.len() < end + length {
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
        answer.body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        Some(answer)
    }

    /// PUT with `If-None-Match: *`.
    pub(crate) async fn create(&mut self, target: &str, body: &[u8]) -> u16 {
        self.send("PUT", target, &[("if-none-match", "*")], body).await.status
    }
}
