//! The daemons: a distributor or a controller, from its file to its end.
//!
//! ```text
//!   store probed ─► shared configuration ─► stream epoch ─► sockets, XDP ─► loop ─► drained, left
//!
//!              receiver ── datagrams ──►┐        ┌──► Sender
//!   config/, i/ followed ── events ────►│ Shell  │──► Requests (store)   ─┐
//!                    clock ── Tick ────►│ step() │──► Executions (agent) ─┤
//!                         ▲             └────────┘                        │
//!                         └──────────── replies, outcomes ◄───────────────┘
//! ```
//! One task runs the loop and owns the machine; everything else it started ends with it.

mod alerts;
mod configured;
mod executions;
mod follow;
mod forged;
mod heard;
mod inside;
mod keys;
mod quiet;
mod remember;
mod requests;
mod seconds;
mod shell;
mod start;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outplane_driver_p4runtime::{Pipeline, Tap};
use outplane_rmdp_core::config::{PacketLogConfig, Role, SharedConfig};
use outplane_rmdp_core::io::{Identity, Input};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::task::{NetworkId, Task};
use outplane_rmdp_core::{Controller, Distributor, Instant};
use outplane_rmdp_transport::{Counters, Receiver};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::blobs::Blobs;
use crate::clock;
use crate::error::Error;
use crate::expiry::{self, Expiries};
use crate::file::NodeFile;
use crate::generation::{Compiled, Generations};
use crate::http::{Lacking, Readiness};
use crate::intents::Intents;
use crate::metrics::{Metrics, Step};
use crate::network::{self, Estranged};
use crate::notify::Notifier;
use crate::objects::Objects;
use crate::packets::{self, Names, PacketLog};
use crate::recovery::Memory;
use crate::totals::{Totals, Wanted};
use follow::{Emitted, Event};
use forged::Forged;
use inside::Inside;
use remember::Ahead;
use shell::Shell;

pub use start::{Readable, newest_config, newest_readable, store_settings};
pub use status::{LEFT, VAIN};

/// Events of the followed chains that may wait for the loop; their followers wait then.
const EVENTS: usize = 4;

/// How often a node writes its status.
const STATUS: Duration = Duration::from_secs(5);

/// What a daemon is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The node's own file.
    pub file: NodeFile,
    /// The folder of certificates and keys for switches.
    pub tls: PathBuf,
    /// What it shall be; the shared configuration must agree.
    pub role: Role,
}

/// A daemon that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// Its name.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// Its stream epoch.
    pub epoch: u64,
    /// Version of the shared configuration.
    pub config: u64,
    /// How datagrams come in.
    pub receiver: String,
    /// Where they come in.
    pub addresses: Vec<SocketAddr>,
    /// Where it serves metrics and health.
    pub http: Option<SocketAddr>,
}

/// Runs a daemon until `stop` and then until it is drained. `up` is called once, when it does its work.
///
/// When somebody has recovered the store ([`crate::recovery`]), it joins the network that the store is of then, as if it
/// had been started again.
///
/// Dropping the future ends it at once: what it had claimed is left to the others.
pub async fn run(setup: Setup, stop: CancellationToken, up: impl FnOnce(&Up) + Send) -> Result<(), Error> {
    let mut memory = start::remembered(&setup.file).await;
    let served = start::pages(&setup, memory.as_ref()).await?;
    let mut up: Option<Tell<'_>> = Some(Box::new(up));
    loop {
        let started = match stop.run_until_cancelled(start::start(&setup, &served, memory.as_ref())).await {
            None => return Ok(()),
            Some(started) => started?,
        };
        match Box::pin(joined(setup.clone(), started, stop.clone(), up.take())).await? {
            End::Left => return Ok(()),
            End::Joins(remembered) => memory = Some(*remembered),
        }
    }
}

/// Whom to tell that it is up.
type Tell<'t> = Box<dyn FnOnce(&Up) + Send + 't>;

/// How a daemon has ended.
enum End {
    /// It was asked to.
    Left,
    /// Somebody has recovered the store: it begins anew, with what it remembers.
    Joins(Box<Memory>),
}

/// From when it has joined its network until it leaves it.
async fn joined(
    setup: Setup,
    started: Started,
    stop: CancellationToken,
    up: Option<Tell<'_>>,
) -> Result<End, Error> {
    let me = Identity { name: setup.file.name.clone(), network: started.network, epoch: started.epoch };
    let (config, now) = (Arc::clone(&started.config), clock::instant());
    match setup.role {
        Role::Controller => {
            let mut machine = Controller::new(me, config, now);
            if let Some(grace) = start::grace_before(&started.objects, started.version).await {
                machine.hold_grace(grace, now);
            }
            let objects = started.objects.clone();
            // Nobody reads what another of these has read.
            let generations = Generations::new();
            let blobs = Blobs::new(objects.clone()).reading(generations.clone());
            let intents = Intents::new(objects.clone()).reading(generations.clone());
            let (tap, taken) = Tap::new(Pipeline::outplane().schema(), packets::QUEUE);
            let (names, log) = (Names::default(), started.config.packet_log.clone());
            let (wanted, follow_wanted) = watch::channel(Wanted::default());
            let (totals, accounts) = Totals::new(objects.clone(), setup.file.name.clone(), follow_wanted);
            let agent = Agent::new(blobs, intents.clone(), setup.tls.clone())
                .with_packets(tap, names.clone())
                .with_totals(totals);
            let (node, epoch, metrics) =
                (setup.file.name.clone(), started.epoch, Arc::clone(&started.metrics));
            let mut daemon = Daemon::new(setup, started, machine, Some(agent));
            let (settings, follow) = watch::channel(log);
            daemon.packet_settings = Some(settings);
            daemon.generations = generations;
            daemon.wanted = wanted;
            daemon.tasks.spawn(accounts.run());
            let log = PacketLog { taken, names, intents, objects, metrics, settings: follow, node, epoch };
            daemon.tasks.spawn(log.run());
            Box::pin(daemon.run(stop, up)).await
        }
        Role::Distributor => {
            let machine = Distributor::new(me, config, now);
            Box::pin(Daemon::new(setup, started, machine, None).run(stop, up)).await
        }
    }
}

/// What `start` brings up.
struct Started {
    objects: Objects,
    network: NetworkId,
    config: Arc<SharedConfig>,
    version: u64,
    epoch: u64,
    /// What it has written there.
    nonce: String,
    receiver: Receiver,
    sender: outplane_rmdp_transport::Sender,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    page: Arc<Mutex<serde_json::Value>>,
    http: Option<SocketAddr>,
    /// Keys without a secret.
    missing: Vec<u16>,
    /// The newest one of the log; 0 for none.
    generation: u64,
    /// What the node remembers.
    memory: Memory,
    /// What is to be said of the networks that it was of before.
    estranged: Option<Estranged>,
}

struct Daemon<M> {
    setup: Setup,
    shell: Shell<M>,
    objects: Objects,
    network: NetworkId,
    receiver: Receiver,
    version: u64,
    epoch: u64,
    nonce: String,
    page: Arc<Mutex<serde_json::Value>>,
    http: Option<SocketAddr>,
    tasks: JoinSet<()>,
    chores: JoinSet<()>,
    copies: Counters,
    /// When another network's datagrams were told of last.
    strangers: Option<std::time::Instant>,
    /// What a controller has read of generations.
    generations: Generations,
    config_hint: watch::Sender<u64>,
    intent_hint: watch::Sender<u64>,
    probe_hint: watch::Sender<u64>,
    /// Tasks of an entry of the log of probes that wait for room, and whether they may be known.
    probes: (VecDeque<Task>, bool),
    /// Whoever drains ends by then, whatever is left: no lease of its own lasts longer.
    ends_by: Option<Instant>,
    notifier: Notifier,
    /// None for distributors: they hear of no packets.
    packet_settings: Option<watch::Sender<PacketLogConfig>>,
    /// Whose totals stay.
    wanted: watch::Sender<Wanted>,
    /// When the daemon came up.
    since: Duration,
    /// The newest generation that could not be carried out, and why.
    bad_generation: Option<String>,
    /// What is wrong with the newest configuration, or lacking for it.
    bad_config: Option<String>,
    /// The last that was told of kept switches named some.
    told_kept: Arc<AtomicBool>,
    /// What it remembers of its network.
    memory: Memory,
    /// The newest stream epochs that were heard, by sender: members, and commands.
    epochs: BTreeMap<u32, u64>,
    /// As it lies in its file.
    written: Memory,
    /// It is being written.
    writing: JoinSet<(Memory, std::io::Result<()>)>,
    /// That it could not be written was told.
    told_unwritten: bool,
    /// What is to be said of the networks that it was of before.
    estranged: Option<Estranged>,
    /// Generations that others tell of and the log does not have.
    ahead: Ahead,
    /// In whose name datagrams are refused as forged, and of whom that was told.
    forged: Forged,
    told_forged: BTreeSet<u32>,
}

impl<M: Inside> Daemon<M> {
    fn new(setup: Setup, started: Started, machine: M, agent: Option<Agent>) -> Self {
        let Started {
            objects,
            network,
            config,
            version,
            epoch,
            nonce,
            receiver,
            sender,
            metrics,
            readiness,
            ..
        } = started;
        let shell = Shell::new(machine, objects.clone(), agent, sender, config, metrics, readiness);
        let mut daemon = Self {
            setup,
            shell,
            objects,
            network,
            receiver,
            version,
            epoch,
            nonce,
            page: started.page,
            http: started.http,
            tasks: JoinSet::new(),
            chores: JoinSet::new(),
            copies: Counters::default(),
            strangers: None,
            config_hint: watch::channel(0).0,
            intent_hint: watch::channel(0).0,
            probe_hint: watch::channel(0).0,
            probes: (VecDeque::new(), false),
            ends_by: None,
            notifier: Notifier::from_environment(),
            packet_settings: None,
            wanted: watch::channel(Wanted::default()).0,
            since: clock::now(),
            bad_generation: None,
            bad_config: None,
            told_kept: Arc::default(),
            memory: started.memory,
            generations: Generations::new(),
            epochs: BTreeMap::new(),
            written: Memory::default(),
            writing: JoinSet::new(),
            told_unwritten: false,
            estranged: started.estranged,
            ahead: Ahead::default(),
            forged: Forged::default(),
            told_forged: BTreeSet::new(),
        };
        daemon.shell.knows(started.generation);
        daemon.secrets_missing(&started.missing);
        daemon
    }

    async fn run(mut self, stop: CancellationToken, up: Option<Tell<'_>>) -> Result<End, Error> {
        let joins = CancellationToken::new();
        let (events, mut followed) = mpsc::channel(EVENTS);
        // One entry at a time: the others stay in the store until there is room.
        let (probes, mut asked) = mpsc::channel(1);
        let hints = self.config_hint.subscribe();
        self.tasks.spawn(follow::configs(self.objects.clone(), self.version, hints, events.clone()));
        if self.setup.role == Role::Controller {
            let hints = self.intent_hint.subscribe();
            self.tasks.spawn(follow::wanted(
                self.objects.clone(),
                self.network,
                hints,
                events.clone(),
                self.generations.clone(),
            ));
        }
        if self.setup.role == Role::Distributor {
            let hints = self.intent_hint.subscribe();
            let (tell, expiries) = watch::channel(Expiries::default());
            self.tasks.spawn(follow::generations(
                self.objects.clone(),
                self.network,
                hints,
                events.clone(),
                tell,
            ));
            let (objects, name) = (self.objects.clone(), self.setup.file.name.clone());
            self.tasks.spawn(expiry::follow(objects, name, expiries, self.intent_hint.clone()));
            let hints = self.probe_hint.subscribe();
            self.tasks.spawn(follow::probes(self.objects.clone(), self.network, hints, probes));
        }
        drop(events);
        let epoch = Key::Epoch(self.setup.file.name.clone(), self.epoch);
        let is = network::Identity { network: self.network, epoch, nonce: self.nonce.clone() };
        self.tasks.spawn(network::watch(self.objects.clone(), is, joins.clone()));
        self.announce_up(up);
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut statuses = interval(STATUS);
        statuses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = clock::instant();
            self.notifier.alive(clock::now());
            let wait = self.shell.machine.deadline().map_or(clock::MAX_SLEEP, |deadline| deadline.since(now));
            if wait.is_zero() {
                self.shell.step(Input::Tick);
            }
            if self.is_draining() && self.shell.machine.is_drained() {
                break;
            }
            // Nothing of the network that was is to be written any more, and new fences are above these.
            if joins.is_cancelled() && !self.is_draining() && self.shell.load().executions == 0 {
                return Ok(self.joins());
            }
            if self.ends_by.is_some_and(|end| end <= now) {
                self.abandon();
                break;
            }
            let wait = self.ends_by.map_or(wait, |end| wait.min(end.since(now)));
            self.emit_probes();
            tokio::select! {
                received = self.receiver.next() => self.received(&received),
                ended = self.shell.ended() => self.shell.take(ended),
                event = followed.recv() => match event {
                    Some(event) => self.event(event).await,
                    None => return Err(Error::Ended("following the store")),
                },
                Some(entry) = asked.recv(), if self.probes.0.is_empty() => self.probe(entry),
                () = tokio::time::sleep(wait.min(clock::MAX_SLEEP)) => {}
                _ = seconds.tick() => self.every_second(),
                _ = statuses.tick() => self.write_status(),
                () = stop.cancelled(), if !self.is_draining() => self.drain("asked to stop"),
                () = joins.cancelled(), if self.shell.load().executions == 0 && !self.is_draining() => {}
                Some(_) = self.chores.join_next() => {}
            }
        }
        self.leave().await;
        Ok(End::Left)
    }

    /// The store was recovered: this life of the node ends here.
    fn joins(&mut self) -> End {
        self.shell.readiness.lacks(Lacking::Store, "the store was recovered: joining the network anew");
        self.remember();
        tracing::info!(before = self.memory.network, "joins the network that the store is of now");
        End::Joins(Box::new(self.memory.clone()))
    }

    fn announce_up(&mut self, up: Option<Tell<'_>>) {
        let is = Up {
            node: self.setup.file.name.clone(),
            role: self.setup.role,
            epoch: self.epoch,
            config: self.version,
            receiver: self.receiver.mode().to_string(),
            addresses: self.receiver.unicast().chain(self.receiver.groups()).collect(),
            http: self.http,
        };
        tracing::info!(node = is.node, epoch = is.epoch, config = is.config, receiver = is.receiver, "up");
        self.notifier.ready(&format!("epoch {}, configuration {}", is.epoch, is.config));
        if let Some(up) = up {
            up(&is);
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Config(version, toml) => self.config(version, &toml).await,
            Event::Compiled(compiled, took) => self.compiled(&compiled, took),
            Event::Wanted(compiled) => {
                let Compiled { generation, tasks, .. } = &*compiled;
                let (generation, tasks) = (*generation, tasks.clone());
                self.shell.knows(generation);
                self.bad_generation = None;
                self.keeps(&tasks);
                let config = &self.shell.config;
                let names = tasks.iter().map(Task::switch);
                self.wanted.send_replace(Wanted::new(names, config.horizon() + config.grace()));
                self.shell.step(Input::Wanted { generation, tasks });
            }
            Event::BadGeneration(generation, reason) => {
                self.shell.knows(generation);
                tracing::error!(alert = true, generation, "{reason}");
                self.shell.alert(reason.clone());
                self.bad_generation = Some(reason);
            }
            Event::BadConfig(why) => self.bad_config(&why),
            Event::Fault(what) => tracing::warn!("{what}"),
        }
    }

    fn compiled(&mut self, compiled: &Compiled, took: Duration) {
        let Compiled { generation, tasks, states, switches, .. } = compiled;
        let generation = *generation;
        tracing::info!(generation, switches = tasks.len(), took_us = took.as_micros(), "compiled");
        self.bad_generation = None;
        self.shell.metrics.step(Step::Compile, took);
        self.shell.knows(generation);
        self.shell.keep_states(states.clone());
        for task in tasks {
            let name = task.switch();
            let known = |name| self.shell.config.switches.get(name).is_some_and(|s| s.address.is_some());
            if !switches.contains_key(name) && !known(name) {
                let text = format!(
                    "switch `{name}` of generation {generation} has no address: give it one in the shared \
                     configuration or as a Switch object"
                );
                tracing::error!(task = %task.id(), alert = true, "{text}");
                self.shell.alert(text);
            }
        }
        self.keeps(tasks);
        self.shell.step(Input::Emit { generation, tasks: tasks.clone() });
    }

    /// Which switches there are. One that wants nothing of any does not say that there are none.
    fn keeps(&mut self, tasks: &[Task]) {
        if !tasks.is_empty() {
            self.memory.keeps(tasks.iter().map(|task| task.switch().to_owned()));
        }
    }

    fn probe(&mut self, Emitted { number, tasks, old }: Emitted) {
        tracing::info!(probe = number, switches = tasks.len(), old, "to be probed");
        self.probes = (tasks.into(), old);
    }

    /// As many tasks as there is room for. Whatever makes room wakes the loop.
    fn emit_probes(&mut self) {
        let (tasks, old) = &mut self.probes;
        let room = self.shell.machine.room().min(tasks.len());
        if room > 0 {
            let (tasks, old) = (tasks.drain(..room).collect(), *old);
            self.shell.step(Input::Probe { tasks, old });
        }
    }

    fn is_draining(&self) -> bool {
        self.ends_by.is_some()
    }

    fn drain(&mut self, why: &str) {
        if self.is_draining() {
            return;
        }
        self.ends_by = Some(clock::instant() + self.shell.config.longest_lease());
        tracing::info!(why, "draining: nothing new is claimed, what is under way finishes");
        self.shell.readiness.lacks(Lacking::Draining, format!("draining: {why}"));
        self.notifier.stopping("draining");
        self.shell.step(Input::Drain);
        self.write_status();
    }

    /// The leases of what is in hand are over, so that others take it up; what is not written by now the store does not
    /// take.
    fn abandon(&self) {
        let left = self.shell.machine.describe(8).join(", ");
        let tasks = self.shell.machine.tasks();
        tracing::warn!(
            tasks,
            left,
            alert = true,
            "left to others: the store does not take what became of it"
        );
    }
}
