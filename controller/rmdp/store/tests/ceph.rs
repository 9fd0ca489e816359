//! Against a real Ceph with two gateways: what every store has to do, and what it does when parts of it fail.

use std::time::{Duration, Instant};

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use bytes::Bytes;
use outplane_rmdp_store::{Created, EndpointState, Error, Secret, Settings, Store, suite};
use outplane_testbed::Ceph;
use tokio::task::JoinSet;

fn settings(ceph: &Ceph, bucket: &str) -> Settings {
    let mut settings =
        Settings::new(ceph.endpoints(), bucket, ceph.access_key(), Secret::new(ceph.secret_key()));
    settings.deadline = Duration::from_secs(20);
    settings
}

/// The SDK as it is, for what the client has no call for.
fn raw(ceph: &Ceph) -> aws_sdk_s3::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .endpoint_url(&ceph.endpoints()[0])
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            ceph.access_key(),
            ceph.secret_key(),
            None,
            None,
            "test",
        ))
        .http_client(http)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// One Ceph for all of it: it takes its time to start.
#[test]
fn a_store_of_two_gateways() {
    if let Some(why) = Ceph::why_not() {
        println!("SKIPPED: the store client against Ceph: {why}");
        return;
    }
    let mut ceph = Ceph::start(2).expect("Ceph starts");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        Box::pin(suite::all(&settings(&ceph, "suite"))).await;
        Box::pin(versioned_buckets_are_refused(&ceph)).await;
        Box::pin(if_match_is_honest(&ceph)).await;
        Box::pin(report_latency(&ceph)).await;
        Box::pin(a_killed_gateway_costs_no_write(&mut ceph)).await;
        Box::pin(a_stopped_gateway_costs_a_timeout(&mut ceph)).await;
        Box::pin(a_stopped_store_is_waited_for(&ceph)).await;
    });
}

async fn versioned_buckets_are_refused(ceph: &Ceph) {
    let store = Store::new(settings(ceph, "versioned")).expect("good settings");
    store.ensure_bucket().await.expect("made");
    for status in [BucketVersioningStatus::Enabled, BucketVersioningStatus::Suspended] {
        let versioning = VersioningConfiguration::builder().status(status.clone()).build();
        let request =
            raw(ceph).put_bucket_versioning().bucket("versioned").versioning_configuration(versioning);
        request.send().await.expect("set");
        for error in [
            store.ensure_bucket().await.expect_err("refused"),
            store.probe().await.map(|_| ()).expect_err("refused"),
        ] {
            assert!(
                matches!(&error, Error::Versioned { status: told, .. } if told == status.as_str()),
                "{error}"
            );
        }
    }
}

/// Registers over independent stores will need it: of 8 writers with the same `ETag` in hand at most one may win.
///
/// RGW 16.2 compares the header with the bare tag, so that a quoted one, as RFC 9110 and AWS want it, never matches.
async fn if_match_is_honest(ceph: &Ceph) {
    let client = raw(ceph);
    let put =
        |body: &str| client.put_object().bucket("suite").key("ballot").body(body.as_bytes().to_vec().into());
    for quoted in [true, false] {
        let mut all = Vec::new();
        for round in 0..10 {
            let first = put(&format!("start {quoted} {round}")).send().await.expect("written");
            let tag = first.e_tag().expect("a tag");
            let tag = if quoted { tag } else { tag.trim_matches('"') };
            let mut writers = JoinSet::new();
            for writer in 0..8 {
                writers.spawn(put(&format!("{round} {writer}")).if_match(tag).send());
            }
            let won = writers.join_all().await.iter().filter(|result| result.is_ok()).count();
            assert!(won <= 1, "round {round}: {won} have won");
            all.push(won);
        }
        println!("If-Match, quoted {quoted}: winners of 8 in each round: {all:?}");
    }
}

/// Numbers for people; nothing is asserted.
async fn report_latency(ceph: &Ceph) {
    let store = Store::new(settings(ceph, "suite")).expect("good settings");
    for number in 0..300 {
        store.create(&format!("latency/{number}"), Bytes::from(format!("{number}"))).await.expect("created");
    }
    let stats = &store.endpoints()[0];
    println!("conditional PUT, one after the other: p50 {:?}, p99 {:?}", stats.p50, stats.p99);
    let listed = store.list("latency/", None, 3).await.expect("listed");
    println!("modified: {:?}", listed.entries.iter().map(|entry| entry.modified).collect::<Vec<_>>());
}

/// Creates objects until told to stop, and says which.
async fn write_while(store: &Store, name: &str, fault: impl AsyncFnOnce()) -> Vec<String> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (store, stopped, name) = (store.clone(), stopped.clone(), name.to_owned());
        writers.spawn(async move {
            let mut keys = Vec::new();
            while !*stopped.borrow() {
                let key = format!("{name}/{writer}/{:06}", keys.len());
                let created = store.create(&key, Bytes::from(key.clone())).await.expect("created in time");
                assert_eq!(created, Created::Ours, "{key}");
                keys.push(key);
            }
            keys
        });
    }
    fault().await;
    stop.send(true).expect("they listen");
    let keys: Vec<String> = writers.join_all().await.into_iter().flatten().collect();
    for key in &keys {
        assert_eq!(store.get(key).await.expect("read").as_deref(), Some(key.as_bytes()));
    }
    keys
}

fn sleep(milliseconds: u64) -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(milliseconds))
}

async fn a_killed_gateway_costs_no_write(ceph: &mut Ceph) {
    let store = Store::new(settings(ceph, "suite")).expect("good settings");
    let keys = write_while(&store, "killed", async || {
        sleep(500).await;
        ceph.kill_gateway(0).expect("killed");
        sleep(1000).await;
    })
    .await;
    let stats = store.endpoints();
    println!("gateway killed: {} objects, {stats:?}", keys.len());
    assert!(stats[0].requests > 0 && stats[1].requests > 0, "the second has taken over");
    assert!(matches!(stats[0].state, EndpointState::Avoided(_)));

    ceph.restart_gateway(0).expect("it starts again");
    let patience = Instant::now() + Duration::from_mins(1);
    while store.endpoints()[0].state != EndpointState::Healthy {
        assert!(Instant::now() < patience, "the first gateway is used again");
        store.get("killed/0/000000").await.expect("read");
    }
}

async fn a_stopped_gateway_costs_a_timeout(ceph: &mut Ceph) {
    let store = Store::new(settings(ceph, "suite")).expect("good settings");
    let keys = write_while(&store, "stopped", async || {
        sleep(500).await;
        ceph.stop_gateway(0).expect("stopped");
        sleep(2000).await;
        ceph.cont_gateway(0).expect("goes on");
    })
    .await;
    let stats = store.endpoints();
    println!("gateway stopped for 2 s: {} objects, {stats:?}", keys.len());
    assert!(stats[0].timeouts > 0);
}

async fn a_stopped_store_is_waited_for(ceph: &Ceph) {
    let store = Store::new(settings(ceph, "suite")).expect("good settings");
    let keys = write_while(&store, "paused", async || {
        sleep(500).await;
        ceph.stop().expect("stopped");
        sleep(4000).await;
        ceph.cont().expect("goes on");
        sleep(1000).await;
    })
    .await;
    println!("store stopped for 4 s: {} objects, {:?}", keys.len(), store.requests());

    ceph.stop().expect("stopped");
    let mut short = settings(ceph, "suite");
    short.deadline = Duration::from_secs(1);
    let hurried = Store::new(short).expect("good settings");
    let error = hurried.create("late/1", Bytes::from_static(b"late")).await.expect_err("no answer");
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    let error = hurried.get("late/1").await.expect_err("no answer");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    ceph.cont().expect("goes on");
    // Whether the first one has landed or not: the same bytes again are ours.
    assert_eq!(store.create("late/1", Bytes::from_static(b"late")).await.expect("created"), Created::Ours);
}
