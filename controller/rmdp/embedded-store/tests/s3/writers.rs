//! Many writers, one winner; and the suite that every store of claims has to pass.

use outplane_rmdp_store::{Secret, Settings, suite};
use tokio::task::JoinSet;

use crate::support::{start, start_with};

fn settings(endpoint: String) -> Settings {
    let keys = crate::support::keys();
    Settings::new(vec![endpoint], "suite", keys.access, Secret::new(keys.secret))
}

/// The SDK's futures are deep where nothing is optimised: deeper than a test's stack.
fn on_a_large_stack<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_stack_size(32 << 20).enable_all().build();
        runtime.expect("a runtime").block_on(test());
    };
    let thread = std::thread::Builder::new().stack_size(32 << 20).spawn(run).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_suite_passes() {
    on_a_large_stack(|| async {
        let store = start().await;
        Box::pin(suite::all(&settings(format!("http://{}", store.server.address())))).await;
        store.stop().await;
    });
}

#[test]
fn the_suite_passes_over_tls() {
    on_a_large_stack(over_tls);
}

async fn over_tls() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let pem = certified.cert.pem();
    let store = start_with(|settings| {
        settings.tls = Some(outplane_embedded_store::Tls {
            certificate: pem.clone().into_bytes(),
            key: certified.signing_key.serialize_pem().into_bytes(),
        });
    })
    .await;
    let ca = store.folder.path().join("ca.pem");
    std::fs::write(&ca, pem).expect("written");
    let mut settings = settings(format!("https://{}", store.server.address()));
    settings.ca = Some(ca);
    Box::pin(suite::all(&settings)).await;
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_writers_one_wins() {
    const WRITERS: usize = 32;
    const ROUNDS: usize = 60;
    let store = start().await;
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(store.client().await);
    }
    for round in 0..ROUNDS {
        let target = format!("/bucket/c/{round}/000001");
        let mut writers = JoinSet::new();
        for (writer, mut client) in clients.drain(..).enumerate() {
            let target = target.clone();
            writers.spawn(async move {
                let status = client.create(&target, format!("writer {writer}").as_bytes()).await;
                (writer, status, client)
            });
        }
        let mut winners = Vec::new();
        for (writer, status, client) in writers.join_all().await {
            match status {
                200 => winners.push(writer),
                412 => {}
                status => panic!("{status}"),
            }
            clients.push(client);
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let held = clients[0].send("GET", &target, &[], b"").await;
        assert_eq!(held.text(), format!("writer {}", winners[0]));
    }
    let metrics = store.server.metrics();
    assert_eq!(metrics.conflicts.get(), ((WRITERS - 1) * ROUNDS) as u64);
    assert_eq!(metrics.put_object.get(), (WRITERS * ROUNDS) as u64);
    assert_eq!(metrics.objects.get(), ROUNDS as u64);
    // Those that change one object in turn: with If-Match, each change is made once, on what its writer has read.
    let target = "/bucket/counter";
    assert_eq!(clients[0].create(target, b"0").await, 200);
    let mut writers = JoinSet::new();
    for mut client in clients {
        writers.spawn(async move {
            loop {
                let held = client.send("GET", target, &[], b"").await;
                let next = held.text().parse::<u64>().expect("a number") + 1;
                let etag = held.header("etag").expect("a tag").to_owned();
                match client
                    .send("PUT", target, &[("if-match", &etag)], next.to_string().as_bytes())
                    .await
                    .status
                {
                    200 => return client,
                    412 => {}
                    status => panic!("{status}"),
                }
            }
        });
    }
    let mut clients = writers.join_all().await;
    assert_eq!(clients[0].send("GET", target, &[], b"").await.text(), WRITERS.to_string());
    drop(clients);
    store.stop().await;
}
