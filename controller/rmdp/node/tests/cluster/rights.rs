//! A store that refuses what a role has to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{NodeStatus, Object};
use outplane_rmdp_node::file::NodeFile;
use tokio::time::{sleep, timeout};

use crate::faults::page;
use crate::proxy::{Pass, Piece, Proxy, last_response};
use crate::support::{Lab, PATIENCE};

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

/// A controller whose claims are cut does no work, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_claims_are_told_until_they_are_taken() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let refuses = Arc::new(AtomicBool::new(true));
    // Claims are refused, as by a bucket policy, for as long as it says so.
    let policy = Arc::clone(&refuses);
    let proxy = Proxy::new(&lab, move || {
        let refuses = Arc::clone(&policy);
        move |piece: Piece<'_>| match piece {
            Piece::FromClient(request)
                if request.starts_with(b"PUT /outplane/c/") && refuses.load(Ordering::Relaxed) =>
            {
                Pass::LastAnswer(last_response("403 Forbidden", DENIED))
            }
            _ => Pass::On,
        }
    })
    .await;
    let _distributor = lab.start("d1").await;
    let mut file: NodeFile = lab.file("c1");
    file.store.endpoints = vec![proxy.endpoint()];
    file.http = Some("127.0.0.1:0".parse().unwrap());
    let controller = lab.start_with_file("c1", file).await;
    let is_told = async || page(&controller, "/metrics").await.contains("outplane_store_refused{");
    assert!(!is_told().await, "nothing is refused yet");
    let generation = lab.apply(3).await;
    let until = async |wanted: &dyn Fn(&NodeStatus) -> bool| {
        let says = async {
            loop {
                if let Ok(Some(Object::Status(status))) = lab.objects.get(&Key::Status("c1".to_owned())).await
                    && wanted(&status)
                {
                    return status;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, says).await.expect("the status says so")
    };
    let status = until(&|status| !status.alerts.is_empty()).await;
    let [alert] = &status.alerts[..] else { panic!("{status:?}") };
    assert!(alert.starts_with("may not write c/: ") && alert.contains("create c/"), "{alert}");
    assert!(alert.contains("(AccessDenied)") && alert.contains("docs/store-access.md"), "{alert}");
    let metrics = page(&controller, "/metrics").await;
    let line = "outplane_store_refused{right=\"write\",prefix=\"c/\"} 1.0";
    assert!(metrics.contains(line), "{metrics}");
    refuses.store(false, Ordering::Relaxed);
    lab.converged(generation).await;
    until(&|status| status.alerts.is_empty()).await;
    assert!(!is_told().await, "it is over");
    controller.drain().await;
}

/// What a store does beside what it has to.
const WELL: u8 = 0;
const QUOTA: u8 = 1;
const NO_SPACE: u8 = 2;
const DENIES: u8 = 3;
const HANGS_UP: u8 = 4;

fn says(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>no</Message></Error>")
}

/// It answers all reads: who cannot write is not ready all the same, says why, and is ready when a write is taken. One
/// outage is one alert, whatever it was that could not be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_no_writes_is_told_of_until_it_does() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let mode = Arc::new(AtomicU8::new(WELL));
    let judged = Arc::clone(&mode);
    let proxy = Proxy::new(&lab, move || {
        let mode = Arc::clone(&judged);
        move |piece: Piece<'_>| {
            let Piece::FromClient(request) = piece else { return Pass::On };
            let puts = request.starts_with(b"PUT ");
            match mode.load(Ordering::Relaxed) {
                QUOTA if puts => Pass::LastAnswer(last_response("403 Forbidden", &says("QuotaExceeded"))),
                NO_SPACE if puts => Pass::LastAnswer(last_response("507 Full", &says("StorageFull"))),
                DENIES => Pass::LastAnswer(last_response("403 Forbidden", DENIED)),
                HANGS_UP if puts => Pass::End,
                _ => Pass::On,
            }
        }
    })
    .await;
    let _distributor = lab.start("d1").await;
    let mut file: NodeFile = lab.file("c1");
    file.store.endpoints = vec![proxy.endpoint()];
    file.http = Some("127.0.0.1:0".parse().unwrap());
    let controller = lab.start_with_file("c1", file).await;
    // What stands, and what is over, by its own pages: nothing can be written to the store.
    let texts = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(ToString::to_string).collect()
    };
    let told = async |wanted: &dyn Fn(&str, &[String]) -> bool| {
        let says = async {
            loop {
                let ready = page(&controller, "/ready").await;
                let status = page(&controller, "/status").await;
                let status = status.split("\r\n\r\n").last().unwrap_or_default();
                let status: serde_json::Value = serde_json::from_str(status).unwrap();
                let alerts = texts(&status["alerts"]);
                if wanted(&ready, &alerts) {
                    return (alerts, texts(&status["past"]));
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, says).await.expect("its page says so")
    };
    let ready = |page: &str| page.ends_with("\nready\n");
    told(&|page, _| ready(page)).await;
    for (number, (trouble, words)) in [
        (QUOTA, "is full (QuotaExceeded): raise its quota"),
        (NO_SPACE, "is full (StorageFull): raise its quota"),
        (HANGS_UP, "the store answers and takes nothing that is written"),
        (DENIES, "denied (AccessDenied)"),
    ]
    .into_iter()
    .enumerate()
    {
        mode.store(trouble, Ordering::Relaxed);
        let has = |alerts: &[String], words: &str| alerts.iter().any(|alert| alert.contains(words));
        let (alerts, _) =
            told(&|page, alerts| page.contains(words) && !ready(page) && has(alerts, words)).await;
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        if trouble == DENIES {
            // Long enough that it is taken for one that is away.
            told(&|_, alerts| has(alerts, "is away")).await;
        }
        mode.store(WELL, Ordering::Relaxed);
        let (_, past) = told(&|page, alerts| ready(page) && alerts.is_empty()).await;
        assert_eq!(past.len(), number + 1, "{past:?}");
    }
    controller.drain().await;
}

/// What it has done it cannot say any more: it ends when its longest lease is over, and leaves the rest to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_cut_at_its_limit() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    // Decisions have no answer, and nothing else has from then on.
    let proxy = Proxy::new(&lab, move || {
        let seen = Arc::clone(&seen);
        move |piece: Piece<'_>| match piece {
            Piece::FromClient(request) if request.starts_with(b"PUT /outplane/d/") => {
                seen.store(true, Ordering::Relaxed);
                Pass::End
            }
            _ if seen.load(Ordering::Relaxed) => Pass::End,
            _ => Pass::On,
        }
    })
    .await;
    let _distributor = lab.start("d1").await;
    let mut file: NodeFile = lab.file("c1");
    file.store.endpoints = vec![proxy.endpoint()];
    let controller = lab.start_with_file("c1", file).await;
    let generation = lab.apply(3).await;
    let executes = async {
        while !done.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, executes).await.expect("it executes");
    let (start, limit) = (Instant::now(), Duration::from_secs(5));
    controller.drain().await;
    let took = start.elapsed();
    // Its last words to the store have a deadline of their own.
    assert!((limit * 4 / 5..limit * 3).contains(&took), "{took:?}");
    let _other = lab.start("c2").await;
    lab.converged(generation).await;
}
