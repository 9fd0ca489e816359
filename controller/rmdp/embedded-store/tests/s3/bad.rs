//! Requests that must be refused, and bytes that are no requests.

use outplane_embedded_store::Keys;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Client, amz_date, now};
use crate::support::start;

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_keys_does_nothing() {
    let store = start().await;
    let address = store.server.address();
    let mut good = store.client().await;
    let code = |answer: crate::client::Answer| (answer.status, answer.all("Code").pop().unwrap_or_default());
    let expect = |status: u16, code: &str| (status, code.to_owned());
    let stranger = Keys::new("somebody".into(), "secret-key-of-tests".into()).expect("good keys");
    let mut other = Client::connect(address, &stranger).await;
    assert_eq!(code(other.send("PUT", "/bucket/x", &[], b"x").await), expect(403, "InvalidAccessKeyId"));
    let guess = Keys::new("access-key".into(), "secret-key-guessed".into()).expect("good keys");
    let mut other = Client::connect(address, &guess).await;
    assert_eq!(code(other.send("PUT", "/bucket/x", &[], b"x").await), expect(403, "SignatureDoesNotMatch"));
    // Nobody at all, on every operation.
    let host = address.to_string();
    for line in [
        "PUT /bucket/x",
        "GET /bucket/k",
        "HEAD /bucket/k",
        "DELETE /bucket/k",
        "GET /bucket?list-type=2",
        "GET /",
        "PUT /another",
        "POST /bucket?delete",
    ] {
        let mut nobody = Client::connect(address, &guess).await;
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\n\r\nx");
        let answer = nobody.raw(request.as_bytes(), line.starts_with("HEAD")).await.expect("an answer");
        assert_eq!(answer.status, 403, "{line}");
    }
    // An old request again.
    let old = good.signed("PUT", "/bucket/x", &[], b"x", &amz_date(now() - 3600));
    assert_eq!(code(good.raw(&old, false).await.expect("an answer")), expect(403, "RequestTimeTooSkewed"));
    // A signed request with another body, key, or condition than was signed.
    let date = amz_date(now());
    let signed = good.signed("PUT", "/bucket/x", &[("if-none-match", "*")], b"signed", &date);
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(signed.clone()).expect("text");
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    let mut other = store.client().await;
    let body = other.raw(&changed("\r\n\r\nsigned", "\r\n\r\nforged"), false).await.expect("an answer");
    assert_eq!(code(body), expect(400, "XAmzContentSHA256Mismatch"));
    for (from, to) in [("PUT /bucket/x", "PUT /bucket/y"), ("if-none-match: *", "if-none-match: \"a\"")] {
        let mut other = store.client().await;
        let answer = other.raw(&changed(from, to), false).await.expect("an answer");
        assert_eq!(code(answer), expect(403, "SignatureDoesNotMatch"), "{to}");
    }
    // Signatures of version 2 and forms are not looked at.
    for head in [
        "PUT /bucket/x HTTP/1.1\r\nauthorization: AWS access-key:AAAA\r\ndate: now\r\n",
        "GET /bucket/k?AWSAccessKeyId=access-key&Expires=9999999999&Signature=AAAA HTTP/1.1\r\n",
        "POST /bucket HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=b\r\n",
    ] {
        let mut other = store.client().await;
        let request = format!("{head}host: {host}\r\ncontent-length: 0\r\n\r\n");
        let answer = other.raw(request.as_bytes(), false).await.expect("an answer");
        assert_eq!(code(answer), expect(501, "NotImplemented"), "{head}");
    }
    assert_eq!(good.send("GET", "/bucket?list-type=2", &[], b"").await.all("KeyCount"), ["0"]);
    assert_eq!(good.send("GET", "/", &[], b"").await.all("Name"), ["bucket"]);
    assert!(store.server.metrics().refused.get() >= 12);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_an_answer_and_change_nothing() {
    let store = start().await;
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/k", b"x").await, 200);
    let long_key = format!("/bucket/{}", "k".repeat(1025));
    let long_value = "v".repeat(9000);
    let many = "<Object><Key>k</Key></Object>".repeat(1001);
    for (method, target, headers, body) in [
        ("PUT", long_key.as_str(), &[][..], String::new()),
        ("PUT", "/bucket/a%00b", &[], String::new()),
        ("PUT", "/bucket/%ff%fe", &[], String::new()),
        ("PUT", "/bucket/x", &[("if-none-match", "nonsense")], String::new()),
        ("PUT", "/bucket/x", &[("x-amz-meta-a", long_value.as_str())], String::new()),
        ("PUT", "/bucket/x", &[("content-md5", "???")], String::new()),
        ("PUT", "/bucket/x", &[("expires", "soon")], String::new()),
        ("GET", "/bucket/k", &[("range", "bytes=x")], String::new()),
        ("POST", "/bucket?delete=", &[], String::new()),
        ("POST", "/bucket?delete=", &[], "<Delete>".to_owned()),
        ("POST", "/bucket?delete=", &[], "<Delete></Delete>".to_owned()),
        ("POST", "/bucket?delete=", &[], format!("<Delete>{many}</Delete>")),
        ("POST", "/bucket?delete=", &[], "<".repeat(5 << 20)),
    ] {
        // The answer may come before the body is read, and the connection be closed.
        let mut client = store.client().await;
        let answer = client.send(method, target, headers, body.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{method} {target} {headers:?}: {answer:?}");
        assert!(!answer.all("Code").is_empty(), "{answer:?}");
    }
    assert_eq!(client.send("GET", "/bucket?list-type=2", &[], b"").await.all("Key"), ["k"]);
    store.stop().await;
}

/// A request with some bytes changed, doubled, left out, or cut off.
fn spoil(request: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = request.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..bytes.len());
        match random.u8(..5) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.insert(at, random.u8(..)),
            3 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_survived() {
    let store = start().await;
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/k", b"x").await, 200);
    let mut random = fastrand::Rng::with_seed(7);
    let date = amz_date(now());
    let requests = [
        client.signed("PUT", "/bucket/noise", &[("if-none-match", "*")], b"noise", &date),
        client.signed("GET", "/bucket?list-type=2&max-keys=3&prefix=k", &[], b"", &date),
        client.signed(
            "POST",
            "/bucket?delete=",
            &[],
            b"<Delete><Object><Key>noise</Key></Object></Delete>",
            &date,
        ),
    ];
    for round in 0..600 {
        let bytes = match round % 4 {
            3 => std::iter::repeat_with(|| random.u8(..)).take(300).collect(),
            kind => spoil(&requests[kind], &mut random),
        };
        let mut stream = TcpStream::connect(store.server.address()).await.expect("it still listens");
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 500"), "{:?}", String::from_utf8_lossy(&bytes));
    }
    // Changes that meant nothing may have left whole requests.
    let keys = client.send("GET", "/bucket?list-type=2", &[], b"").await.all("Key");
    assert!(keys == ["k"] || keys == ["k", "noise"], "{keys:?}");
    assert_eq!(client.send("GET", "/bucket/k", &[], b"").await.text(), "x");
    store.stop().await;
}
