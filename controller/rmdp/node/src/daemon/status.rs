//! What a daemon tells of itself: its object in the store, its page, its metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use outplane_rmdp_core::Fault;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::liveness::Heard;
use outplane_rmdp_core::object::{
    HeardAt, KeptSwitch, KeptSwitches, NodeStatus, Object, PrimaryOf, Standing,
};

use super::Daemon;
use super::alerts::{Alert, away};
use super::forged::RECENT;
use super::inside::Inside;
use crate::agent::Agent;
use crate::clock;
use crate::http::Lacking;
use crate::metrics::{Side, Size};

/// What stands in place of the receiver in the last status of a node.
pub const LEFT: &str = "left";

/// What stands between what differs on a switch, and why it could not be brought back.
pub const VAIN: &str = "; the last try to bring it back has failed: ";

/// Bytes of words about kept switches, and of each where they are more.
const MOST_WORDS: usize = 2 << 20;
const FEW_WORDS: usize = 100;

/// Tasks in mind that the status shows.
const SHOWN: usize = 20;

impl<M: Inside> Daemon<M> {
    /// What is wrong now.
    fn holding(&self) -> Vec<Alert> {
        let mut alerts: Vec<String> = self.bad_config.iter().chain(&self.bad_generation).cloned().collect();
        let mut lacking = self.shell.readiness.each();
        // Why it is so for the request that was made last is another each time.
        let store = lacking.remove(&Lacking::Store);
        // Whoever is refused everything is told that it is away.
        let rights = lacking.remove(&Lacking::Rights).map(|why| why.replace('\n', "; "));
        let store = store.or(rights).map(away);
        alerts.extend(lacking.values().flat_map(|why| why.lines().map(str::to_owned)));
        alerts.extend(self.objects.warnings());
        alerts.extend(self.estrangements());
        alerts.extend(self.forgeries());
        alerts.extend(self.shell.machine.troubles(clock::instant()));
        let now = clock::instant();
        let kept = self.shell.machine.kept();
        alerts.extend(kept.iter().filter_map(|kept| {
            let why = self.shell.agent()?.totals()?.unreadable(kept.switch)?;
            Some(format!("{}: what its rules count is not added up: {why}", kept.switch))
        }));
        alerts.extend(kept.into_iter().filter_map(|kept| kept.trouble(now)));
        let strangers = self.objects.strangers().all().into_iter();
        // How many there are changes, and comes first.
        let strangers = strangers.map(|of| Alert::of(format!("strangers {}", of.prefix), of.to_string()));
        alerts.into_iter().map(Alert::from).chain(store).chain(strangers).collect()
    }

    fn status(&mut self) -> NodeStatus {
        let (holding, now_ms) = (self.holding(), clock::unix_millis());
        self.shell.alerts.hold(holding, now_ms);
        let standing = self.shell.alerts.standing();
        let (alerts, since_ms) = standing.map(|(text, since)| (text.to_owned(), since)).unzip();
        let past = self.shell.alerts.past(now_ms).cloned().collect();
        let mut tasks = self.shell.machine.describe(SHOWN);
        tasks.extend(self.shell.recent.iter().rev().map(|line| format!("ended {line}")));
        NodeStatus {
            node: self.setup.file.name.clone(),
            role: self.setup.role,
            epoch: self.epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.version,
            generation: self.shell.generation,
            receiver: self.receiver.mode().to_string(),
            draining: self.is_draining(),
            counters: self.counters(),
            tasks,
            alerts,
            heard: self.heard(),
            keys: Some(self.setup.file.keys.keys().copied().collect()),
            estranged: self.objects.shut_by(),
            since_ms,
            past,
            at_ms: 0,
        }
    }

    pub(super) fn name_of(&self, sender: u32) -> String {
        let member = self.shell.config.sender(sender);
        member.map_or_else(|| sender.to_string(), |member| member.name.clone())
    }

    fn heard(&self) -> BTreeMap<String, HeardAt> {
        let heard = self.shell.machine.heard(clock::instant()).into_iter();
        let forged = self.forged.standing(clock::now());
        let at = |heard: Heard| {
            let ms = heard.ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
            // Whoever has left does not send; what comes is refused, so it is not heard.
            let comes = forged.contains_key(&heard.sender) && heard.ago.is_none_or(|ago| ago >= RECENT);
            let (left, silent) = (heard.left && !comes, heard.silent || comes);
            let at = HeardAt { ms, left, silent, lost_percent: heard.lost };
            (self.name_of(heard.sender), at)
        };
        heard.map(at).collect()
    }

    /// Who is degraded in what, as this node sees it.
    fn degraded(&self) -> Vec<(Side, String)> {
        let found = self.shell.machine.degraded().into_iter().map(|found| {
            let side = match found.of {
                Fault::Sender => Side::Sender,
                Fault::Receiver => Side::Receiver,
                Fault::Path => Side::Path,
            };
            (side, self.name_of(found.sender))
        });
        let heard = self.shell.machine.heard(clock::instant()).into_iter();
        let unheard = heard.filter_map(|heard| {
            let lossy = heard.lost.map(|_| Side::Heartbeats);
            Some((if heard.silent { Side::Silence } else { lossy? }, self.name_of(heard.sender)))
        });
        found.chain(unheard).collect()
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters: BTreeMap<String, u64> = self
            .shell
            .machine
            .counters()
            .each()
            .map(|(name, value)| (format!("tasks.{name}"), value))
            .collect();
        let mut add = |name: &str, value: u64| {
            counters.insert(name.to_owned(), value);
        };
        let store = self.objects.store().requests();
        add("store.create", store.create);
        add("store.put", store.put);
        add("store.get", store.get);
        add("store.list", store.list);
        add("store.delete", store.delete);
        add("store.waited", store.waited);
        for endpoint in self.objects.store().endpoints() {
            let name = &endpoint.endpoint;
            add(&format!("endpoint.requests {name}"), endpoint.requests);
            add(&format!("endpoint.failures {name}"), endpoint.failures);
            add(&format!("endpoint.timeouts {name}"), endpoint.timeouts);
            let p50 = endpoint.p50.map_or(0, |p50| p50.as_micros());
            add(&format!("endpoint.p50_us {name}"), u64::try_from(p50).unwrap_or(u64::MAX));
        }
        let received = &self.copies;
        add("receiver.tasks", received.tasks);
        for (reason, count) in received.drops.named() {
            add(&format!("receiver.dropped.{reason}"), count);
        }
        let copies = |f: fn(&outplane_rmdp_transport::TypeCounters) -> u64| {
            received.senders.values().map(|sender| f(&sender.announces)).sum::<u64>()
        };
        add("receiver.announces.copies", copies(|announces| announces.copies));
        add("receiver.announces.first", copies(|announces| announces.first));
        add("receiver.announces.duplicates", copies(|announces| announces.duplicates));
        let load = self.shell.load();
        add("requests.now", load.requests as u64);
        add("requests.most", load.most_requests as u64);
        add("executions.now", load.executions as u64);
        counters
    }

    /// For metrics and the page.
    pub(super) fn publish(&mut self) {
        let metrics = &self.shell.metrics;
        metrics.set_sender(self.shell.sender.counters());
        metrics.set_store(self.objects.store().endpoints(), self.objects.store().requests());
        metrics.set_strangers(self.objects.strangers().all());
        metrics.set_generation(self.shell.generation);
        let (load, limits) = (self.shell.load(), &self.shell.config.limits);
        let counters = self.shell.machine.counters();
        metrics.set_sizes(vec![
            Size {
                name: "tasks",
                now: self.shell.machine.tasks() as u64,
                bound: limits.tasks.into(),
                hits: counters.refused_full,
            },
            Size {
                name: "executions",
                now: load.executions as u64,
                bound: limits.executions.into(),
                hits: 0,
            },
            Size {
                name: "requests",
                now: load.requests as u64,
                bound: limits.requests.into(),
                hits: self.objects.store().requests().waited,
            },
        ]);
        metrics.set_kept(
            self.kept().switches,
            vec![
                ("looked", counters.audits),
                ("drifted", counters.drifts),
                ("failed", counters.audits_failed),
                ("brought_back", counters.repairs),
            ],
        );
        metrics.set_takeovers(
            vec![
                ("over_others", counters.takeovers),
                ("needless", counters.suspected_falsely),
                ("of_own", counters.overtaken_owner),
            ],
            self.shell.machine.silence_limit(),
        );
        if let Some(totals) = self.shell.agent().and_then(Agent::totals) {
            let kept = self.shell.machine.kept();
            let known = totals.known(kept.iter().map(|kept| kept.switch));
            let series = usize::try_from(self.shell.config.counters.rule_series).unwrap_or(usize::MAX);
            let unreadable = kept.iter().filter(|kept| totals.unreadable(kept.switch).is_some());
            let unreadable = unreadable.map(|kept| kept.switch.to_owned()).collect();
            metrics.set_totals(known, series, totals.unused(), unreadable);
        }
        if let Some(agent) = self.shell.agent() {
            let kept = self.shell.machine.kept().into_iter();
            let drops = kept.filter_map(|kept| Some((kept.switch.to_owned(), agent.drops(kept.switch)?)));
            metrics.set_drops(drops.collect());
        }
        metrics.set_degraded(self.degraded());
        let heard = self.shell.machine.heard(clock::instant()).into_iter();
        let heard = heard.filter_map(|heard| Some((self.name_of(heard.sender), heard.ago?)));
        metrics.set_heard(heard.collect());
        let status = self.status();
        self.notifier.status(&format!(
            "generation {}, configuration {}, {} tasks in hand",
            status.generation,
            status.config,
            self.shell.machine.tasks()
        ));
        let mut page = serde_json::to_value(&status).unwrap_or_default();
        page["remembers"] = serde_json::to_value(&self.memory).unwrap_or_default();
        *self.page.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = page;
    }

    /// Writes the status, unless the last one is still under way.
    pub(super) fn write_status(&mut self) {
        if !self.chores.is_empty() {
            return;
        }
        self.shell.changed = false;
        let status = self.status_object();
        let kept = self.kept();
        // That there are none any more is told until it is written.
        let (some, told) = (!kept.switches.is_empty(), Arc::clone(&self.told_kept));
        let kept = (some || told.load(Ordering::Relaxed))
            .then(|| (Key::Kept(kept.node.clone()), Object::Kept(kept)));
        told.fetch_or(some, Ordering::Relaxed);
        // Also where the store has gone back: who looks there is told why nothing happens.
        let objects = self.objects.telling();
        self.chores.spawn(async move {
            for (key, mut object) in [Some(status), kept].into_iter().flatten() {
                match objects.put(&key, &mut object).await {
                    Ok(()) if matches!(key, Key::Kept(_)) => told.store(some, Ordering::Relaxed),
                    Ok(()) => {}
                    Err(error) => tracing::debug!(%error, "cannot write the status"),
                }
            }
        });
    }

    /// The switches that this node keeps.
    fn kept(&self) -> KeptSwitches {
        let (now, unix_ms) = (clock::instant(), clock::unix_millis());
        let switches = self.shell.machine.kept().into_iter().map(|kept| {
            let age = |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
            KeptSwitch {
                switch: kept.switch.to_owned(),
                generation: kept.generation,
                standing: kept.standing,
                seen: match kept.standing {
                    Standing::Kept => format!("generation {}", kept.generation),
                    _ => kept.seen.to_owned(),
                },
                verified_ms: kept.verified.map(|at| unix_ms.saturating_sub(age(at))),
                what: match kept.vain {
                    Some(vain) => format!("{}{VAIN}{vain}", kept.what),
                    None => kept.what.to_owned(),
                },
                repairs: kept.repairs,
                counted_ms: self
                    .shell
                    .agent()
                    .and_then(Agent::totals)
                    .and_then(|totals| totals.read_at(kept.switch)),
                version: self.shell.agent().and_then(|agent| agent.version(kept.switch)),
                is_fenced: self.shell.agent().and_then(|agent| agent.is_fenced(kept.switch)),
                primary: self.shell.agent().and_then(|agent| agent.primary(kept.switch)).map(
                    |(fence, ours)| PrimaryOf {
                        generation: fence.generation,
                        fence: fence.to_string(),
                        ours,
                    },
                ),
            }
        });
        let mut kept =
            KeptSwitches { node: self.setup.file.name.clone(), switches: switches.collect(), at_ms: 0 };
        // Words are bounded each; where they are too many together, how the switches stand is told without.
        let words: usize = kept.switches.iter().map(|kept| kept.what.len() + kept.seen.len()).sum();
        if words > MOST_WORDS {
            for kept in &mut kept.switches {
                kept.what.truncate(kept.what.floor_char_boundary(FEW_WORDS));
                kept.seen.truncate(kept.seen.floor_char_boundary(FEW_WORDS));
            }
        }
        kept
    }

    fn status_object(&mut self) -> (Key, Object) {
        let mut status = self.status();
        // Lines are bounded each; all of them must fit into an object.
        fit(&mut status.tasks, String::len, 20 * 1024);
        fit(&mut status.alerts, String::len, 20 * 1024);
        status.since_ms.truncate(status.alerts.len());
        status.past.reverse();
        fit(&mut status.past, |past| past.text.len() + 100, 8 * 1024);
        status.past.reverse();
        (Key::Status(status.node.clone()), Object::Status(status))
    }

    /// The last word: this node has left, and has nothing in hand.
    pub(super) async fn leave(&mut self) {
        self.chores.shutdown().await;
        let (key, mut object) = self.status_object();
        if let Object::Status(status) = &mut object {
            LEFT.clone_into(&mut status.receiver);
        }
        if let Err(error) = self.objects.put(&key, &mut object).await {
            tracing::warn!(%error, "cannot write the last status");
        }
        tracing::info!("left");
    }
}

/// Leaves as many from the beginning as fit into so many bytes.
fn fit<T>(all: &mut Vec<T>, size: fn(&T) -> usize, most: usize) {
    let mut left = most;
    let fitting = all.iter().take_while(|one| {
        let fits = size(one) <= left;
        left = left.saturating_sub(size(one));
        fits
    });
    let fitting = fitting.count();
    all.truncate(fitting);
}
