//! Answers that no real store gives on demand: lost, late, broken, too big, wrong; and stores that cheat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outplane_rmdp_store::{Created, EndpointState, Error, Secret, Settings, Store};
use tokio::net::TcpSocket;

mod support;

use support::{Act, Request, Server, settings, status, store};

const OURS: Bytes = Bytes::from_static(b"ours");
const THEIRS: Bytes = Bytes::from_static(b"theirs");

/// An endpoint that does `first` with the first conditional PUT, and is honest otherwise.
async fn first_create(first: Act) -> Server {
    let done = AtomicBool::new(false);
    Server::start(move |request, _| {
        if request.is_create() && !done.swap(true, Ordering::Relaxed) { first.clone() } else { Act::Serve }
    })
    .await
}

/// An address at which nobody listens, and nobody else can while this is held.
struct Dead {
    url: String,
    _socket: TcpSocket,
}

impl Dead {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        Self { url: format!("http://{}", socket.local_addr().expect("an address")), _socket: socket }
    }
}

#[tokio::test]
async fn the_first_wins_and_the_second_learns_who() {
    let server = Server::start(|_, _| Act::Serve).await;
    let store = store(&[&server.url]);
    assert_eq!(store.create("c/1", OURS).await.expect("created"), Created::Ours);
    assert_eq!(store.create("c/1", OURS).await.expect("ours still"), Created::Ours);
    assert_eq!(store.create("c/1", THEIRS).await.expect("answered"), Created::Theirs(OURS));
    assert_eq!(store.create("c/2", OURS).await.expect("created"), Created::Ours);
    assert_eq!(store.get("c/2").await.expect("read"), Some(OURS));
    assert_eq!(store.get("c/3").await.expect("read"), None);
    let counts = store.requests();
    assert_eq!((counts.create, counts.get, counts.put), (4, 4, 0), "one request where nothing is in doubt");
}

#[tokio::test]
async fn who_only_wants_it_to_be_there_asks_once() {
    let server = Server::start(|_, _| Act::Serve).await;
    let store = store(&[&server.url]);
    assert!(store.ensure("q/1", OURS).await.expect("created"));
    assert!(!store.ensure("q/1", THEIRS).await.expect("it exists"));
    assert_eq!((store.requests().create, store.requests().get), (2, 0));
    assert_eq!(server.object("q/1"), Some(OURS));
    // Lost answers, and refusals that are not the store's.
    for lost in [Act::Close, Act::Hang, status(500, "InternalError"), status(412, "Captive")] {
        let server = first_create(lost.clone()).await;
        let store = support::store(&[&server.url]);
        assert!(store.ensure("q/1", OURS).await.expect("created"), "{lost:?}");
        assert_eq!(server.object("q/1"), Some(OURS), "{lost:?}");
        let server = first_create(Act::ServeThen(Box::new(lost.clone()))).await;
        let store = support::store(&[&server.url]);
        store.ensure("q/1", OURS).await.expect("it is there");
        assert_eq!(server.object("q/1"), Some(OURS), "{lost:?}");
    }
}

#[tokio::test]
async fn a_412_against_our_own_success_is_ours() {
    for lost in [Act::Close, Act::Hang, status(500, "InternalError"), status(503, "SlowDown")] {
        let server = first_create(Act::ServeThen(Box::new(lost.clone()))).await;
        let store = store(&[&server.url]);
        assert_eq!(store.create("c/1", OURS).await.expect("created"), Created::Ours, "{lost:?}");
        assert_eq!(server.object("c/1"), Some(OURS));
        // The SDK does not repeat by itself, and reading was enough.
        assert_eq!(server.count(Request::is_create), 1, "{lost:?}");
    }
    let server = first_create(Act::ServeThen(Box::new(status(412, "PreconditionFailed")))).await;
    assert_eq!(store(&[&server.url]).create("c/1", OURS).await.expect("created"), Created::Ours);
}

#[tokio::test]
async fn a_failure_before_the_write_is_repeated() {
    let first = [
        Act::Close,
        Act::Hang,
        status(500, "InternalError"),
        status(409, "ConditionalRequestConflict"),
        status(429, "TooManyRequests"),
        Act::Answer(502, "text/html", Bytes::from_static(b"<html>bad gateway")),
    ];
    for act in first {
        let server = first_create(act.clone()).await;
        let store = store(&[&server.url]);
        assert_eq!(store.create("c/1", OURS).await.expect("created"), Created::Ours, "{act:?}");
        assert_eq!(server.object("c/1"), Some(OURS));
        assert_eq!(server.count(Request::is_create), 2, "{act:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_stores_is_checked() {
    // A captive portal says 200 to everything, but names no object.
    let server = Server::start(|_, before| if before == 0 { Act::Endless(0) } else { Act::Serve }).await;
    assert_eq!(store(&[&server.url]).create("c/1", OURS).await.expect("created"), Created::Ours);
    assert_eq!(server.object("c/1"), Some(OURS));
}

#[tokio::test]
async fn a_write_that_lands_late_is_not_lost_sight_of() {
    // The first PUT lands after 400 ms, when the client has long gone on; the second lands before it.
    let server = first_create(Act::Late(Duration::from_millis(400))).await;
    let store = store(&[&server.url]);
    assert_eq!(store.create("c/1", OURS).await.expect("created"), Created::Ours);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.object("c/1"), Some(OURS));

    // Nothing is answered at all: it may exist, and in the end it does.
    let server =
        Server::start(
            |request, _| {
                if request.is_put() { Act::Late(Duration::from_millis(800)) } else { Act::Hang }
            },
        )
        .await;
    let mut short = settings(&[&server.url]);
    short.deadline = Duration::from_millis(500);
    let started = Instant::now();
    let error = Store::new(short).expect("good settings").create("c/1", OURS).await.expect_err("no answer");
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_millis(900), "the deadline holds");
    assert_eq!(server.object("c/1"), None);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(server.object("c/1"), Some(OURS));
}

#[tokio::test]
async fn unknown_only_where_a_write_may_have_been_done() {
    let (one, other) = (Dead::new(), Dead::new());
    let mut short = settings(&[&one.url, &other.url]);
    short.deadline = Duration::from_millis(300);
    let store = Store::new(short).expect("good settings");
    let error = store.create("c/1", OURS).await.expect_err("nobody is there");
    assert!(matches!(&error, Error::Unavailable { call, .. } if call == "create c/1"), "{error}");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    let error = store.get("c/1").await.expect_err("nobody is there");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    // The write hangs, and then the credentials are refused: still open.
    let server =
        Server::start(|request, _| if request.is_put() { Act::Close } else { status(403, "AccessDenied") })
            .await;
    let error = support::store(&[&server.url]).create("c/1", OURS).await.expect_err("refused");
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn a_store_that_contradicts_itself_is_given_up() {
    let server = Server::start(|request, _| {
        if request.is_put() { status(412, "PreconditionFailed") } else { status(404, "NoSuchKey") }
    })
    .await;
    let error = store(&[&server.url]).create("c/1", OURS).await.expect_err("contradiction");
    assert!(matches!(error, Error::Refused { status: 412, .. }), "{error}");
    assert!(server.count(Request::is_create) <= 8);
}

#[tokio::test]
async fn endpoints_are_tried_in_turn_and_counted() {
    let hanging = Server::start(|_, _| Act::Hang).await;
    let failing = Server::start(|_, _| status(500, "InternalError")).await;
    let good = Server::start(|_, _| Act::Serve).await;
    let dead = Dead::new();
    let store = store(&[&dead.url, &hanging.url, &failing.url, &good.url]);
    let started = Instant::now();
    store.put("n/1", OURS).await.expect("the last one takes it");
    assert!(started.elapsed() >= Duration::from_millis(150), "one timeout");
    let stats = store.endpoints();
    assert_eq!(stats.iter().map(|endpoint| endpoint.requests).collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert_eq!(stats.iter().map(|endpoint| endpoint.failures).collect::<Vec<_>>(), [1, 0, 1, 0]);
    assert_eq!(stats.iter().map(|endpoint| endpoint.timeouts).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert!(stats[..3].iter().all(|endpoint| matches!(endpoint.state, EndpointState::Avoided(_))));
    assert_eq!(stats[3].state, EndpointState::Healthy);
    assert!(stats[3].p50.is_some() && stats[3].p99 >= stats[3].p50);
    // And while they are avoided, nothing is lost on them.
    store.get("n/1").await.expect("read");
    assert_eq!(store.endpoints()[1].requests, 1);
    assert_eq!(store.requests().put, 4);
}

#[tokio::test]
async fn a_store_that_is_slow_as_a_whole_is_waited_for() {
    let server = Server::start(|_, _| Act::Serve).await;
    server.objects.lock().expect("no panic").insert("/tasks/b/1".to_owned(), Bytes::from(vec![b'x'; 8]));
    let slow =
        Server::sharing(Arc::clone(&server.objects), |_, _| Act::Trickle(Duration::from_millis(20))).await;
    // Trickles 8 bytes in 160 ms: above an attempt's time as a whole, but each part is in time.
    assert_eq!(store(&[&slow.url]).get("b/1").await.expect("read").expect("there").len(), 8);
    // One byte in 250 ms: the first attempt ends, the second or third has more patience.
    let slower =
        Server::sharing(Arc::clone(&server.objects), |_, _| Act::Trickle(Duration::from_millis(250))).await;
    assert_eq!(store(&[&slower.url]).get("b/1").await.expect("read").expect("there").len(), 8);
    // And no trickle outlives the call, though each part is in time: 3 s for all of it.
    server.objects.lock().expect("no panic").insert("/tasks/b/1".to_owned(), Bytes::from(vec![b'x'; 60]));
    let endless =
        Server::sharing(server.objects.clone(), |_, _| Act::Trickle(Duration::from_millis(50))).await;
    let mut short = settings(&[&endless.url]);
    short.deadline = Duration::from_secs(1);
    let started = Instant::now();
    let error = Store::new(short).expect("good settings").get("b/1").await.expect_err("too slow");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Server::start(|request, _| match request.path.as_str() {
        path if path.contains("list-type") => Act::Endless(64 << 20),
        path if path.contains("stated") => Act::Answer(200, "x/y", Bytes::from(vec![0; 2000])),
        _ => Act::Endless(1 << 20),
    })
    .await;
    let mut small = settings(&[&server.url]);
    small.max_object = 1000;
    let patient = Store::new(small.clone()).expect("good settings");
    for key in ["stated", "unstated"] {
        let error = patient.get(key).await.expect_err("too big");
        assert!(matches!(error, Error::TooLarge { max: 1000, .. }), "{key}: {error}");
    }
    small.deadline = Duration::from_millis(800);
    let store = Store::new(small).expect("good settings");
    let error = store.list("q/", None, 10).await.expect_err("too big");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("limit"), "{error}");
    let error = store.create("c/1", Bytes::from(vec![0; 1001])).await.expect_err("too big to write");
    assert!(matches!(error, Error::TooLarge { size: 1001, .. }), "{error}");
    assert_eq!(store.requests().create, 0);
}

#[tokio::test]
async fn garbage_is_a_failure_of_the_endpoint() {
    let garbage = Server::start(|request, _| match request.method.as_str() {
        "GET" if request.path.contains("list-type") => {
            Act::Answer(200, "application/xml", Bytes::from_static(b"<ListBucketResult><Contents><K"))
        }
        _ => Act::Answer(404, "text/plain", Bytes::from_static(b"\xff\xfe<<<")),
    })
    .await;
    let mut short = settings(&[&garbage.url]);
    short.deadline = Duration::from_millis(400);
    let store = Store::new(short).expect("good settings");
    for error in [
        store.list("q/", None, 10).await.map(|_| ()).expect_err("nonsense"),
        store
            .get("q/1")
            .await
            .map(|_| ())
            .expect_err("a 404 that is not the store's says nothing of the key"),
        store.delete(&["q/1".to_owned()]).await.expect_err("nonsense"),
    ] {
        assert!(matches!(error, Error::Unavailable { .. } | Error::Unknown { .. }), "{error}");
    }
    let end = "<IsTruncated>false</IsTruncated></ListBucketResult>";
    let listings = [
        ("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>".to_owned(), "goes on"),
        (format!("<ListBucketResult><Contents><Key>q/1</Key></Contents>{end}"), "no time"),
        (format!("<ListBucketResult><Contents><Size>1</Size></Contents>{end}"), "no key"),
        // Nothing, and no word that this is all.
        ("<ListBucketResult></ListBucketResult>".to_owned(), "IsTruncated"),
        (format!("<ListBucketResult><KeyCount>3</KeyCount>{end}"), "KeyCount"),
    ];
    for (listing, part) in listings {
        let server =
            Server::start(move |_, _| Act::Answer(200, "application/xml", Bytes::from(listing.clone())))
                .await;
        let mut short = settings(&[&server.url]);
        short.deadline = Duration::from_millis(200);
        let error = Store::new(short).expect("good settings").list("", None, 10).await.expect_err("nonsense");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn misconfiguration_is_told_at_once() {
    let cases = [(403, "InvalidAccessKeyId", "access key"), (404, "NoSuchBucket", "create it")];
    for (code, name, cure) in cases {
        let server = Server::start(move |_, _| status(code, name)).await;
        let store = store(&[&server.url]);
        for error in [
            store.create("c/1", OURS).await.map(|_| ()).expect_err("refused"),
            store.get("c/1").await.map(|_| ()).expect_err("refused"),
            store.list("", None, 1).await.map(|_| ()).expect_err("refused"),
            store.put("c/1", OURS).await.expect_err("refused"),
        ] {
            let text = error.to_string();
            assert!(text.contains(&server.url) && text.contains("`tasks`") && text.contains(cure), "{text}");
        }
        assert_eq!(server.count(|_| true), 4, "no attempt is repeated");
    }
}

#[tokio::test]
async fn settings_are_checked_before_anything_is_sent() {
    let good = settings(&["http://127.0.0.1:1"]);
    let wrong = |change: &dyn Fn(&mut Settings), part: &str| {
        let mut settings = good.clone();
        change(&mut settings);
        let error = Store::new(settings).expect_err("bad settings").to_string();
        assert!(error.contains(part), "{error}");
    };
    wrong(&|settings| settings.endpoints.clear(), "endpoints");
    wrong(&|settings| settings.endpoints = vec!["127.0.0.1:1".into()], "http://host:port");
    wrong(&|settings| settings.endpoints = vec!["http://e".into(); 33], "1 to 32");
    wrong(&|settings| settings.bucket.clear(), "bucket");
    wrong(&|settings| settings.max_requests = 0, "at least 1");
    wrong(&|settings| settings.deadline = Duration::ZERO, "deadline");
    wrong(&|settings| settings.ca = Some("/nowhere.pem".into()), "/nowhere.pem");
    let folder = std::env::temp_dir().join(format!("outplane-store-{}.pem", std::process::id()));
    for (text, part) in [
        ("hello", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "that is none"),
        ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "not PEM"),
    ] {
        std::fs::write(&folder, text).expect("written");
        wrong(&|settings| settings.ca = Some(folder.clone()), part);
    }
    std::fs::remove_file(&folder).expect("removed");
    assert!(!format!("{:?}", Secret::new("s3cr3t")).contains("s3cr3t"));
    let error = Store::new(good).expect("good settings").put("", OURS).await.expect_err("no key");
    assert!(matches!(error, Error::Settings(_)), "{error}");
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let server = Server::start(|_, _| Act::Serve).await;
    let mut narrow = settings(&[&server.url]);
    narrow.max_requests = 1;
    let store = Store::new(narrow).expect("good settings");
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.put(&format!("n/{number}"), OURS).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("written");
    }
    assert!(store.requests().waited > 0);
    assert_eq!(store.requests().put, 20);
}

#[tokio::test]
async fn a_trial_accepts_an_honest_store_and_cleans_up() {
    let server = Server::start(|_, _| Act::Serve).await;
    let second = Server::sharing(Arc::clone(&server.objects), |_, _| Act::Serve).await;
    let gone = Dead::new();
    let trial = store(&[&server.url, &gone.url, &second.url]).trial().await.expect("honest");
    assert_eq!(trial.reached, [server.url.clone(), second.url.clone()]);
    assert_eq!(trial.unreachable.len(), 1);
    assert_eq!(trial.unreachable[0].0, gone.url);
    assert_eq!((trial.rounds, trial.writers), (4, 32));
    assert!(server.objects.lock().expect("no panic").is_empty());
}

/// What a trial says of a store with these endpoints.
async fn refused(endpoints: &[&str]) -> String {
    let error = store(endpoints).trial().await.expect_err("not to be trusted");
    assert!(matches!(error, Error::Dishonest { .. } | Error::Versioned { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_trial_refuses_dishonest_stores_and_says_why() {
    let racy = Server::start(|_, _| Act::CheckThenWrite(Duration::from_millis(2))).await;
    let text = refused(&[&racy.url]).await;
    assert!(
        text.contains("of 32 concurrent writers were told that they had created the same object"),
        "{text}"
    );

    let deaf = Server::start(|_, _| Act::IgnoreCondition).await;
    let text = refused(&[&deaf.url]).await;
    assert!(text.contains("32 of 32 concurrent writers"), "{text}");

    // Each honest on its own, but not one store.
    let (one, other) = (Server::start(|_, _| Act::Serve).await, Server::start(|_, _| Act::Serve).await);
    let text = refused(&[&one.url, &other.url]).await;
    assert!(text.contains("2 of 32 concurrent writers"), "{text}");

    let liar = Server::start(|request, _| {
        if request.is_create() {
            Act::ServeThen(Box::new(status(412, "PreconditionFailed")))
        } else {
            Act::Serve
        }
    })
    .await;
    let text = refused(&[&liar.url]).await;
    assert!(text.contains("its own was kept"), "{text}");

    let old = Server::start(
        |request, _| {
            if request.is_create() { status(501, "NotImplemented") } else { Act::Serve }
        },
    )
    .await;
    let text = refused(&[&old.url]).await;
    assert!(text.contains("does not know `If-None-Match`"), "{text}");

    let versioned = Server::start(|request, _| {
        let body = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        if request.path.contains("versioning") {
            Act::Answer(200, "application/xml", Bytes::from_static(body.as_bytes()))
        } else {
            Act::Serve
        }
    })
    .await;
    let text = refused(&[&versioned.url]).await;
    assert!(text.contains("versioning (Suspended)"), "{text}");
}

#[tokio::test]
async fn keys_that_stay_are_told() {
    let server = Server::start(|_, _| {
        let body = "<DeleteResult><Error><Key>p/q/1</Key><Code>AccessDenied</Code></Error></DeleteResult>";
        Act::Answer(200, "application/xml", Bytes::from_static(body.as_bytes()))
    })
    .await;
    let mut prefixed = settings(&[&server.url]);
    prefixed.prefix = "p/".to_owned();
    let error =
        Store::new(prefixed).expect("good settings").delete(&["q/1".to_owned()]).await.expect_err("kept");
    let text = error.to_string();
    assert!(text.contains("`q/1`") && text.contains("AccessDenied"), "{text}");
}
