//! What objects, lists and buckets do.

use crate::client::{amz_date, hex, now};
use crate::support::start;

fn random(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_keep_their_bytes_headers_and_time() {
    let store = start().await;
    let mut client = store.client().await;
    let sent = [
        ("content-type", "application/x-test"),
        ("cache-control", "no-store"),
        ("content-encoding", "aws-chunked,gzip"),
        ("content-disposition", "attachment"),
        ("content-language", "en"),
        ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("x-amz-meta-owner", "node-1: 7"),
    ];
    let put = client.send("PUT", "/bucket/k", &sent, b"hello").await;
    assert_eq!(put.status, 200, "{put:?}");
    // The MD5 of "hello".
    assert_eq!(put.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    for method in ["GET", "HEAD"] {
        let found = client.send(method, "/bucket/k", &[], b"").await;
        assert_eq!(found.status, 200, "{found:?}");
        assert_eq!(found.body, if method == "GET" { &b"hello"[..] } else { b"" });
        assert_eq!(found.header("content-length"), Some("5"));
        for (name, value) in &sent {
            assert_eq!(found.header(name), Some(value.trim_start_matches("aws-chunked,")), "{name}");
        }
        assert_eq!(found.header("etag"), put.header("etag"));
        assert!(found.header("last-modified").is_some_and(|time| time.ends_with(" GMT")), "{found:?}");
    }
    let range = client.send("GET", "/bucket/k", &[("range", "bytes=1-2")], b"").await;
    assert_eq!((range.status, range.text().as_str()), (206, "el"));
    assert_eq!(range.header("content-range"), Some("bytes 1-2/5"));
    assert_eq!(client.send("GET", "/bucket/k", &[("range", "bytes=9-")], b"").await.status, 416);
    let etag = put.header("etag").unwrap_or_default();
    for (name, value, status) in [
        ("if-none-match", etag, 304),
        ("if-match", etag, 200),
        ("if-match", "\"0123\"", 412),
        ("if-modified-since", "Wed, 21 Oct 2099 07:28:00 GMT", 304),
        ("if-unmodified-since", "Wed, 21 Oct 2015 07:28:00 GMT", 412),
    ] {
        for method in ["GET", "HEAD"] {
            let found = client.send(method, "/bucket/k", &[(name, value)], b"").await;
            assert_eq!(found.status, status, "{method} {name}: {value}");
        }
    }
    // The connection is still in step after answers without a body.
    assert_eq!(client.send("GET", "/bucket/k", &[], b"").await.text(), "hello");
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), ("x-amz-checksum-crc32", "AAAAAA==")];
    for header in wrong {
        let refused = client.send("PUT", "/bucket/bad", &[header], b"hello").await;
        assert_eq!((refused.status, refused.all("Code")), (400, vec!["BadDigest".to_owned()]));
    }
    let right = [("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="), ("x-amz-checksum-crc32", "NhCmhg==")];
    for header in right {
        assert_eq!(client.send("PUT", "/bucket/good", &[header], b"hello").await.status, 200, "{header:?}");
    }
    assert_eq!(client.send("GET", "/bucket/bad", &[], b"").await.status, 404);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_files_and_go_with_their_object() {
    let store = start().await;
    let mut client = store.client().await;
    for (number, length) in [256 << 10, (256 << 10) + 1, 5 << 20, 64 << 20].into_iter().enumerate() {
        let (body, target) = (random(length, 1), format!("/bucket/large/{number}"));
        let meta = [("if-none-match", "*"), ("x-amz-meta-n", "1")];
        assert_eq!(client.send("PUT", &target, &meta, &body).await.status, 200, "{length}");
        assert_eq!(client.create(&target, &body).await, 412);
        let found = client.send("GET", &target, &[], b"").await;
        assert!(found.status == 200 && found.body == body, "{length}: {} {}", found.status, found.body.len());
        assert_eq!(found.header("x-amz-meta-n"), Some("1"));
        let range = format!("bytes={}-{}", length - 100_000, length - 1);
        let part = client.send("GET", &target, &[("range", &range)], b"").await;
        assert!(part.status == 206 && part.body == body[length - 100_000..], "{length}");
    }
    // The refused second writers have left nothing.
    assert_eq!(store.files("blobs").len(), 3);
    let too_large = client.send("PUT", "/bucket/large/x", &[], &random((64 << 20) + 1, 1)).await;
    assert_eq!((too_large.status, too_large.all("Code")), (400, vec!["EntityTooLarge".to_owned()]));
    let store = store.restart(|_| {}).await;
    let mut client = store.client().await;
    assert!(client.send("GET", "/bucket/large/2", &[], b"").await.body == random(5 << 20, 1));
    assert_eq!(client.send("PUT", "/bucket/large/2", &[], b"small now").await.status, 200);
    assert_eq!(client.send("DELETE", "/bucket/large/3", &[], b"").await.status, 204);
    // Files are removed behind the answer.
    let store = store.restart(|_| {}).await;
    assert_eq!(store.files("blobs").len(), 1);
    let mut client = store.client().await;
    assert_eq!(client.send("GET", "/bucket/large/2", &[], b"").await.text(), "small now");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_groups_and_encodings() {
    let store = start().await;
    let mut client = store.client().await;
    for key in ["a/1", "a/2", "b", "c%20%26%3C/1", "c%20%26%3C/2", "d/1"] {
        assert_eq!(client.create(&format!("/bucket/{key}"), b"x").await, 200);
    }
    let mut keys = Vec::new();
    let mut token = String::new();
    loop {
        let found = client.send("GET", &format!("/bucket?{token}list-type=2&max-keys=2"), &[], b"").await;
        keys.extend(found.all("Key"));
        assert_eq!(found.all("KeyCount"), ["2"]);
        let Some(next) = found.all("NextContinuationToken").pop() else { break };
        assert_eq!(found.all("IsTruncated"), ["true"]);
        token = format!("continuation-token={}&", next.replace('%', "%25"));
    }
    assert_eq!(keys, ["a/1", "a/2", "b", "c &amp;&lt;/1", "c &amp;&lt;/2", "d/1"]);
    let groups = client.send("GET", "/bucket?delimiter=%2F&encoding-type=url&list-type=2", &[], b"").await;
    assert_eq!(groups.all("Key"), ["b"]);
    assert_eq!(groups.text().matches("<CommonPrefixes>").count(), 3);
    assert!(groups.text().contains("<Prefix>c%20%26%3C/</Prefix>"), "{}", groups.text());
    let rest = client.send("GET", "/bucket?list-type=2&prefix=a%2F&start-after=a%2F1", &[], b"").await;
    assert_eq!(rest.all("Key"), ["a/2"]);
    assert_eq!(rest.all("Size"), ["1"]);
    assert_eq!(rest.all("ETag").len(), 1);
    assert!(rest.all("LastModified")[0].ends_with('Z'));
    let nothing = client.send("GET", "/bucket?list-type=2&max-keys=0", &[], b"").await;
    assert_eq!(
        (nothing.all("KeyCount"), nothing.all("IsTruncated")),
        (vec!["0".to_owned()], vec!["false".to_owned()])
    );
    for query in
        ["continuation-token=x&list-type=2", "encoding-type=gzip&list-type=2", "list-type=2&max-keys=-1"]
    {
        let refused = client.send("GET", &format!("/bucket?{query}"), &[], b"").await;
        assert_eq!(
            (refused.status, refused.all("Code")),
            (400, vec!["InvalidArgument".to_owned()]),
            "{query}"
        );
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets() {
    let store = start().await;
    let mut client = store.client().await;
    assert_eq!(client.send("PUT", "/second", &[], b"").await.status, 200);
    let again = client.send("PUT", "/second", &[], b"").await;
    assert_eq!((again.status, again.all("Code")), (409, vec!["BucketAlreadyOwnedByYou".to_owned()]));
    assert_eq!(client.send("PUT", "/No_Name", &[], b"").await.status, 400);
    let all = client.send("GET", "/", &[], b"").await;
    assert_eq!(all.all("Name"), ["bucket", "second"]);
    assert_eq!(client.send("HEAD", "/bucket", &[], b"").await.status, 200);
    assert_eq!(client.send("HEAD", "/nowhere", &[], b"").await.status, 404);
    let versioning = client.send("GET", "/bucket?versioning=", &[], b"").await;
    assert!(versioning.status == 200 && versioning.all("Status").is_empty(), "{versioning:?}");
    assert_eq!(client.send("GET", "/bucket?location=", &[], b"").await.status, 200);
    for (method, target) in [("GET", "/nowhere/k"), ("PUT", "/nowhere/k"), ("GET", "/nowhere?list-type=2")] {
        let answer = client.send(method, target, &[], b"").await;
        assert_eq!(
            (answer.status, answer.all("Code")),
            (404, vec!["NoSuchBucket".to_owned()]),
            "{method} {target}"
        );
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_one_and_many() {
    let store = start().await;
    let mut client = store.client().await;
    for number in 0..5 {
        assert_eq!(client.create(&format!("/bucket/{number}"), b"x").await, 200);
    }
    assert_eq!(client.send("DELETE", "/bucket/0", &[], b"").await.status, 204);
    assert_eq!(client.send("DELETE", "/bucket/0", &[], b"").await.status, 204, "it is gone, as asked");
    assert_eq!(client.create("/bucket/0", b"again").await, 200);
    let wrong = [("if-match", "\"00000000000000000000000000000000\"")];
    assert_eq!(client.send("DELETE", "/bucket/0", &wrong, b"").await.status, 412);
    let keys = [0, 1, 2].map(|number| format!("<Object><Key>{number}</Key></Object>")).concat();
    let body = format!("<Delete>{keys}<Object><Key>4</Key><VersionId>7</VersionId></Object></Delete>");
    let many = client.send("POST", "/bucket?delete=", &[], body.as_bytes()).await;
    assert_eq!(many.status, 200, "{many:?}");
    assert_eq!(many.text().matches("<Deleted>").count(), 3);
    assert_eq!(many.all("Code"), ["NotImplemented"]);
    let left = client.send("GET", "/bucket?list-type=2", &[], b"").await;
    assert_eq!(left.all("Key"), ["3", "4"]);
    let body = "<Delete><Quiet>true</Quiet><Object><Key>3</Key></Object></Delete>";
    let quiet = client.send("POST", "/bucket?delete=", &[], body.as_bytes()).await;
    assert!(quiet.status == 200 && !quiet.text().contains("Deleted"), "{quiet:?}");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_says_so() {
    let store = start().await;
    let mut client = store.client().await;
    assert_eq!(client.create("/bucket/k", b"x").await, 200);
    for (method, target, headers) in [
        ("POST", "/bucket/k?uploads=", &[][..]),
        ("PUT", "/bucket/k?partNumber=1&uploadId=x", &[]),
        ("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/k")]),
        ("GET", "/bucket/k?acl=", &[]),
        ("GET", "/bucket/k?versionId=3", &[]),
        ("GET", "/bucket?policy=", &[]),
        ("GET", "/bucket?versions=", &[]),
        ("DELETE", "/bucket", &[]),
        ("PUT", "/bucket?versioning=", &[]),
        ("PUT", "/bucket/x", &[("x-amz-server-side-encryption", "AES256")]),
        ("PUT", "/bucket/x", &[("x-amz-storage-class", "GLACIER")]),
        ("PUT", "/bucket/x", &[("x-amz-acl", "public-read")]),
        ("PUT", "/bucket/x", &[("x-amz-tagging", "a=b")]),
        ("PUT", "/bucket/x", &[("x-amz-object-lock-mode", "GOVERNANCE")]),
        ("PUT", "/locked", &[("x-amz-bucket-object-lock-enabled", "true")]),
    ] {
        let body = match target {
            "/bucket?versioning=" => {
                &b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"[..]
            }
            _ => b"",
        };
        let answer = client.send(method, target, headers, body).await;
        let code = answer.all("Code").pop();
        assert_eq!(
            (answer.status, code.as_deref()),
            (501, Some("NotImplemented")),
            "{method} {target} {answer:?}"
        );
    }
    let list = client.send("GET", "/bucket?list-type=2", &[], b"").await;
    assert_eq!(list.all("Key"), ["k"]);
    store.stop().await;
}

#[test]
fn the_clients_dates_are_right() {
    assert_eq!(amz_date(0), "19700101T000000Z");
    assert_eq!(amz_date(951_827_696), "20000229T123456Z");
    assert!(now() > 1_700_000_000);
    assert_eq!(hex(&[0, 255]), "00ff");
}
