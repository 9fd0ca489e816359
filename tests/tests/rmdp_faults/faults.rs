//! What fails, and when.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use outplane_testbed::{Chaos, Cluster, DATAGRAM_PORT, History, Part};

pub(crate) struct Faults<'a> {
    cluster: &'a Cluster,
    start: Instant,
    random: Mutex<fastrand::Rng>,
    seed: u64,
    told: Mutex<Vec<String>>,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(cluster: &'a Cluster, seed: u64) -> Self {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Self { cluster, start: Instant::now(), random, seed, told: Mutex::default() }
    }

    /// What was done, and when.
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last things that were done.
    fn last(&self) -> String {
        let told = self.told();
        told[told.len().saturating_sub(5)..].join(",")
    }

    fn tell(&self, what: impl std::fmt::Display) {
        let line = format!("{:6.2} s: {what}", self.start.elapsed().as_secs_f64());
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Some time, so that faults meet tasks in every state.
    fn wait(&self, from_ms: u64, to_ms: u64) {
        let wait = self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(from_ms..=to_ms);
        std::thread::sleep(Duration::from_millis(wait));
    }

    /// First all datagrams are lost. Then 30 % of them are, and 20 % of the distributors' are doubled, and c1 gets and
    /// sends its own up to 30 ms late and so out of order; meanwhile keys are changed, again and again.
    pub(crate) fn datagrams_and_keys(&self, enough: &dyn Fn() -> bool) {
        let cluster = self.cluster;
        cluster.spoil(100, 0).expect("nftables");
        self.wait(2000, 2000);
        let all = cluster.spoilt().expect("counters");
        self.tell(format!("all datagrams were lost: {all:?}"));
        cluster.spoil(30, 20).expect("nftables");
        let chaos = Chaos { seed: self.seed, port: DATAGRAM_PORT, loss: 0, duplicate: 10, delay_us: 30_000 };
        cluster.chaos("c1", &chaos).expect("the relay");
        let mut shared = cluster.shared();
        let mut key = shared.keys.sign_with;
        while key == 1 || !enough() {
            let next = key % 3 + 1;
            // First everybody takes the new key, then everybody signs with it, then nobody takes the old one.
            for (sign_with, accept) in [(key, vec![key, next]), (next, vec![key, next]), (next, vec![next])] {
                self.wait(1500, 2500);
                (shared.keys.sign_with, shared.keys.accept) = (sign_with, accept);
                cluster.write("rotated.toml", &shared.to_toml()).expect("a file");
                cluster
                    .outplane(&["config", "set", "rotated.toml", "--config", "d1.toml"])
                    .expect("a new version");
                self.tell(format!("signed with key {sign_with}, accepted {:?}", shared.keys.accept));
            }
            key = next;
        }
        let spoilt = cluster.spoilt().expect("counters");
        cluster.spoil(0, 0).expect("nftables");
        let relayed = cluster.chaos("c1", &Chaos::default()).expect("the relay");
        self.tell(format!("{spoilt:?}, c1 {relayed:?}"));
        assert!(all.lost > 0 && spoilt.lost * 100 > spoilt.seen * 25, "datagrams were not lost");
        assert!(spoilt.doubled > 0 && relayed.overtaken > 0, "datagrams were not doubled or reordered");
    }

    /// SIGKILL and SIGSTOP of each kind of process, a node cut off, the store away.
    pub(crate) fn processes(&self, enough: &dyn Fn() -> bool) {
        let cluster = self.cluster;
        let (distributors, controllers) = (cluster.names(Part::Distributor), cluster.names(Part::Controller));
        for name in [&controllers[0], &distributors[0], &controllers[1], &distributors[1]] {
            self.kill(name);
        }
        self.kill("s1");
        // Longer than a lease and its half.
        for name in [&controllers[0], &distributors[0], &controllers[1]] {
            self.pause(name, 3500, 4000);
        }
        self.pause("s2", 3000, 3500);
        self.cut(&controllers[2], 3000, 3500);
        for store in cluster.store_processes() {
            self.kill(&store);
            self.pause(&store, 1000, 2000);
        }
        // All of it. Ceph takes long to start; it hangs instead, which is worse than being refused.
        let hangs = cluster.names(Part::Store).is_empty();
        if hangs { cluster.pause("store") } else { cluster.stop("store").map(drop) }.expect("it runs");
        self.tell(if hangs { "the store hangs" } else { "the store stopped" });
        self.wait(10_000, 10_000);
        if hangs { cluster.resume("store") } else { cluster.start_one("store") }.expect("it goes on");
        self.tell("and went on");
        self.await_store();
        for name in controllers.iter().chain(&distributors).cycle() {
            if enough() {
                return;
            }
            self.kill(name);
        }
    }

    fn kill(&self, name: &str) {
        self.wait(200, 700);
        self.cluster.kill(name).expect("it runs");
        self.tell(format!("{name} killed"));
        self.wait(200, 500);
        self.cluster.start_one(name).expect("it starts");
        self.await_store();
        if let Err(error) = self.cluster.wait_ready(name) {
            panic!("after {}: {error:#}", self.last());
        }
        self.tell(format!("{name} ready again"));
    }

    /// Nobody is ready before the store is, and that may take a while of its own.
    fn await_store(&self) {
        let took = History::await_store(self.cluster).unwrap_or_else(|error| {
            panic!("after {}: {error:#}; {}", self.last(), self.cluster.store_state());
        });
        if took > Duration::from_secs(1) {
            self.tell(format!("the store took {took:.1?} to answer"));
        }
    }

    fn pause(&self, name: &str, from_ms: u64, to_ms: u64) {
        self.wait(200, 700);
        self.cluster.pause(name).expect("it runs");
        self.tell(format!("{name} paused"));
        self.wait(from_ms, to_ms);
        self.cluster.resume(name).expect("it runs");
        self.tell(format!("{name} goes on"));
    }

    fn cut(&self, name: &str, from_ms: u64, to_ms: u64) {
        self.wait(200, 700);
        self.cluster.connect(name, false).expect("a link");
        self.tell(format!("{name} cut off"));
        self.wait(from_ms, to_ms);
        self.cluster.connect(name, true).expect("a link");
        self.tell(format!("{name} joined again"));
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}; what was done:\n  {}", self.seed, self.told().join("\n  "));
        }
    }
}
