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
    raw_of(ceph, ceph.access_key(), ceph.secret_key())
}

fn raw_as(ceph: &Ceph, role: &str) -> aws_sdk_s3::Client {
    raw_of(ceph, &format!("outplane-{role}"), &format!("the-secret-of-a-{role}"))
}

fn raw_of(ceph: &Ceph, access_key: &str, secret_key: &str) -> aws_sdk_s3::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .endpoint_url(&ceph.endpoints()[0])
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            access_key, secret_key, None, None, "test",
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
        Box::pin(roles_write_what_is_theirs(&ceph)).await;
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
            store.trial().await.map(|_| ()).expect_err("refused"),
        ] {
            assert!(
                matches!(&error, Error::Versioned { status: told, .. } if told == status.as_str()),
                "{error}"
            );
        }
    }
}

/// What each role may write by the policy that docs/store-access.md hands out.
const POLICY: &str = include_str!("../../../../packaging/ceph/bucket-policy.json");

/// Keys of every prefix, and who may write them: client, distributor, controller, operator, recovery; a reader nothing.
const WRITERS: [(&str, &str); 18] = [
    ("network", "dcor"),
    ("i/00000000000000000001", "kdor"),
    ("p/00000000000000000001", "or"),
    ("a/00000000000000000001/0", "cr"),
    ("b/00", "dcor"),
    ("q/00/00", "dr"),
    ("c/00/000001", "cr"),
    ("r/00/000001", "cr"),
    ("d/00", "cr"),
    ("h/intent/1", "cr"),
    ("config/1", "or"),
    ("e/c1/1", "dcor"),
    ("n/c1", "dcr"),
    ("k/c1", "cr"),
    ("degraded/c1", "cr"),
    ("l/c1/1", "cr"),
    ("t/00", "cr"),
    ("recovery/0000000000001abe", "r"),
];

async fn roles_write_what_is_theirs(ceph: &Ceph) {
    const BUCKET: &str = "outplane";
    let owner = Store::new(settings(ceph, BUCKET)).expect("good settings");
    owner.ensure_bucket().await.expect("made");
    let roles = [
        ('k', "client"),
        ('d', "distributor"),
        ('c', "controller"),
        ('o', "operator"),
        ('r', "recovery"),
        ('v', "reader"),
    ];
    let mut stores = Vec::new();
    for (letter, role) in roles {
        let (user, secret) = (format!("outplane-{role}"), format!("the-secret-of-a-{role}"));
        ceph.add_user(&user, &user, &secret).expect("made");
        let own = Settings::new(ceph.endpoints(), BUCKET, user, Secret::new(secret));
        stores.push((letter, role, Store::new(own).expect("good settings")));
    }
    let stranger = stores[0].2.get("i/00000000000000000001").await;
    assert!(stranger.is_err(), "without a policy nobody else reads: {stranger:?}");
    raw(ceph).put_bucket_policy().bucket(BUCKET).policy(POLICY).send().await.expect("RGW takes the policy");
    for (letter, role, store) in &stores {
        store.ensure_bucket().await.unwrap_or_else(|error| panic!("{role}: {error}"));
        for (key, writers) in WRITERS {
            let mine = format!("{key}-{role}");
            let key = if key == "network" { key } else { mine.as_str() };
            let created = store.create(key, Bytes::from(format!("{role} was here"))).await;
            assert_eq!(created.is_ok(), writers.contains(*letter), "{role} creates {key}: {created:?}");
            let written = store.put(key, Bytes::from_static(b"over")).await;
            assert_eq!(written.is_ok(), writers.contains(*letter), "{role} writes {key}: {written:?}");
        }
        // All read, keys that are not there, too, and list.
        assert!(store.get("i/00000000000000000001-client").await.expect("read").is_some(), "{role}");
        assert!(store.get("d/none").await.expect("read").is_none(), "{role}");
        assert!(!store.list("i/", None, 10).await.expect("listed").entries.is_empty(), "{role}");
    }
    // An object is its writer's, so the bucket's owner, whom the policy does not name, does not read it.
    let reader = &stores[3].2;
    assert!(owner.get("d/00-controller").await.is_err());
    // Only controllers delete, and who recovers: one after the other of everything that is there.
    for (letter, role, store) in stores.iter().filter(|(letter, ..)| !"cr".contains(*letter)) {
        for victim in ["i/00000000000000000001-client", "d/00-controller", "e/c1/1-operator"] {
            let deleted = store.delete(&[victim.to_owned()]).await;
            assert!(deleted.is_err(), "{role} ({letter}) deletes {victim}");
            assert!(reader.get(victim).await.expect("read").is_some(), "{role}: {victim} is still there");
        }
    }
    for (_, role, _) in &stores {
        let policy = raw_as(ceph, role).put_bucket_policy().bucket(BUCKET).policy(POLICY).send().await;
        assert!(policy.is_err(), "{role} changes the policy");
    }
    let sweeper = &stores[2].2;
    let keys = ["q/00/00-distributor", "d/00-controller", "i/00000000000000000001-client"].map(str::to_owned);
    sweeper.delete(&keys).await.expect("a controller sweeps");
    for key in &keys {
        assert!(reader.get(key).await.expect("read").is_none(), "{key}");
    }
    // Totals are written in place of what they were, by whichever controller has read them.
    let (controller, recovers) = (&stores[2].2, &stores[4].2);
    let (_, tag) = controller.get_tagged("t/00-controller").await.expect("read").expect("it is there");
    let replaced =
        controller.replace("t/00-controller", Bytes::from_static(b"67"), &tag).await.expect("replaced");
    assert!(replaced.is_some());
    // Who restores empties the bucket first.
    recovers.delete(&["t/00-controller".to_owned()]).await.expect("deleted");
    assert!(reader.get("t/00-controller").await.expect("read").is_none());
    // A node makes sure that the store creates once before it claims.
    for (_, role, store) in stores.iter().filter(|(letter, ..)| "dc".contains(*letter)) {
        let trial = store.trial().await.unwrap_or_else(|error| panic!("{role}: {error}"));
        println!("{role}: {trial:?}");
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
