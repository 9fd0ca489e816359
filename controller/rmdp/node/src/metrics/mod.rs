//! A node's metrics, for Prometheus. docs/configuration.md has each with its meaning.
//!
//! What other crates count themselves is handed over as a whole from time to time ([`Metrics::set_receiver`] and its
//! like) and written out by [`snapshot`]; what happens in the daemon is counted where it happens. Labels are bounded:
//! members of the configuration, endpoints of the node's file, and words of the enums here.

mod plain;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outplane_rmdp_core::object::{KeptSwitch, SwitchTotals};
use outplane_rmdp_store::{EndpointStats, RequestCounts};
use outplane_rmdp_transport::{Counters, DestinationCounters, Mode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use plain::{Named, Number, PlainMetrics};
use snapshot::Snapshot;

use crate::http::{MetricsSource, Readiness};
use crate::strangers::StrangersOf;

/// Upper bounds of the times of steps, seconds.
const STEP_BOUNDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    60.0,
];

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its word in labels.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.word().encode(encoder)
            }
        }
    };
}

words! {
    /// What a task is because of.
    TaskKind {
        /// A generation of the intent.
        Generation = "generation",
        /// Somebody asks whether the switch answers.
        Probe = "probe",
        /// A switch that did not hold what it should.
        Audit = "audit",
        /// Something else.
        Other = "other",
    }
}

impl TaskKind {
    /// By the kind of its event.
    pub fn of(kind: &str) -> Self {
        Self::ALL.iter().copied().find(|known| known.word() == kind).unwrap_or(Self::Other)
    }
}

words! {
    /// How a task ended, as this node wrote in its decision.
    TaskEnd {
        /// The switch is as desired.
        Done = "done",
        /// A newer generation has overtaken it.
        Superseded = "superseded",
        /// Out of attempts.
        Failed = "failed",
    }
}

words! {
    /// What came of an attempt that this node owned.
    AttemptEnd {
        /// The switch is as desired.
        Done = "done",
        /// It is not.
        Failed = "failed",
        /// The switch has seen a higher fence.
        Fenced = "fenced",
        /// The lease left no time for the first write.
        TooLate = "too_late",
        /// It was stopped.
        Stopped = "stopped",
        /// The switch lacked our pipeline, and the lease left no time to push it.
        NeedsPush = "needs_push",
    }
}

words! {
    /// What came of trying to claim an attempt.
    ClaimOutcome {
        /// It is ours.
        Won = "won",
        /// Another's.
        Lost = "lost",
        /// The store did not say.
        Unknown = "unknown",
    }
}

words! {
    /// A step of a task or of a generation.
    Step {
        /// From a generation's appearance to its compiled tasks.
        Compile = "compile",
        /// PUT of a task into the queue.
        Queue = "queue",
        /// From a task's announce or listing to this node's PUT of a claim.
        Wait = "wait",
        /// PUT of a claim.
        Claim = "claim",
        /// GET of a desired state.
        Fetch = "fetch",
        /// Reading the switch, the difference, and its writes.
        Execute = "execute",
        /// PUT of a decision.
        Decide = "decide",
        /// From a task's announce or listing to its decision, in the node that decided.
        Total = "total",
    }
}

words! {
    /// In what a node is degraded.
    Side {
        /// A node's copies come late or not at all.
        Sender = "sender",
        /// All copies come late to it.
        Receiver = "receiver",
        /// Its copies come late or not at all to this node alone.
        Path = "path",
        /// It is not heard here.
        Silence = "silence",
        /// Its heartbeats get lost on the way here.
        Heartbeats = "heartbeats",
    }
}

/// A queue, map or cache with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What it is, one word of the code: `tasks`, `executions`, `requests`.
    pub name: &'static str,
    /// How much is in it.
    pub now: u64,
    /// How much may be.
    pub bound: u64,
    /// How often something had to wait or was turned away since it was full.
    pub hits: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: TaskEnd,
    kind: TaskKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabel {
    end: AttemptEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabel {
    outcome: ClaimOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    policy: String,
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

/// Rules that have a series of their own; the others are one together, and so are tags that nobody knows.
const MAX_RULES: usize = 256;

/// Why a packet has no line: the queue was full, there were too many of one switch, the batch was full.
const LEFT_OUT: [&str; 3] = ["queue", "rate", "batch"];

/// All metrics of a node. Shared by reference: every method takes `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    snapshot: Arc<Mutex<Snapshot>>,
    tasks: Family<EndLabel, Counter>,
    attempts: Family<AttemptLabel, Counter>,
    claims: Family<ClaimLabel, Counter>,
    steps: Family<StepLabel, Histogram, fn() -> Histogram>,
    logged: Family<RuleLabel, Counter>,
    /// Those that have a series.
    rules: Mutex<std::collections::HashSet<RuleLabel>>,
    left_out: Family<WhyLabel, Counter>,
    alerts: Counter,
    ready: Gauge,
    config_version: Gauge,
}

impl Metrics {
    /// Metrics of a node that has just started. `role` as in the shared configuration.
    pub fn new(node: &str, role: &str) -> Self {
        let mut registry = Registry::with_prefix("outplane");
        let labels =
            [("node", node.to_owned()), ("role", role.to_owned()), ("version", version().to_owned())];
        registry.register("node", "The node and its program", Info::new(labels.to_vec()));
        let mut metrics = Self {
            registry,
            snapshot: Arc::default(),
            tasks: Family::default(),
            attempts: Family::default(),
            claims: Family::default(),
            steps: Family::new_with_constructor(|| Histogram::new(STEP_BOUNDS)),
            logged: Family::default(),
            rules: Mutex::default(),
            left_out: Family::default(),
            alerts: Counter::default(),
            ready: Gauge::default(),
            config_version: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        // Series that are there from the start: a rate over them sees the first one.
        for end in TaskEnd::ALL {
            for kind in [TaskKind::Generation, TaskKind::Probe, TaskKind::Audit] {
                drop(self.tasks.get_or_create(&EndLabel { end: *end, kind }));
            }
        }
        for end in AttemptEnd::ALL {
            drop(self.attempts.get_or_create(&AttemptLabel { end: *end }));
        }
        for outcome in ClaimOutcome::ALL {
            drop(self.claims.get_or_create(&ClaimLabel { outcome: *outcome }));
        }
        for why in LEFT_OUT {
            drop(self.left_out.get_or_create(&WhyLabel { why }));
        }
        let registry = &mut self.registry;
        registry.register(
            "logged_packets",
            "Packets that rules with log denied, as switches sent them here",
            self.logged.clone(),
        );
        registry.register(
            "logged_packets_left_out",
            "Packets that have no line, or whose line is not in the store, since there were too many",
            self.left_out.clone(),
        );
        registry.register(
            "tasks_ended",
            "Decisions that this node wrote, by how the task ended and what it was because of",
            self.tasks.clone(),
        );
        registry.register(
            "attempts",
            "Attempts that this node owned, by what came of them",
            self.attempts.clone(),
        );
        registry.register("claims", "Claims that this node tried, by outcome", self.claims.clone());
        registry.register("step_seconds", "Time of each step of tasks and generations", self.steps.clone());
        registry.register(
            "alerts",
            "Alerts that this node raised: somebody has to look",
            self.alerts.clone(),
        );
        registry.register("ready", "1 if the node does its work, see /ready", self.ready.clone());
        registry.register(
            "config_version",
            "Version of the shared configuration that the node follows; 0 for none",
            self.config_version.clone(),
        );
        registry.register_collector(Box::new(snapshot::Collected(Arc::clone(&self.snapshot))));
    }

    /// All of it as `OpenMetrics` text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// As [`crate::http::Server`] asks for it.
    pub fn source(self: &Arc<Self>, readiness: Readiness) -> MetricsSource {
        let metrics = Arc::clone(self);
        Arc::new(move || {
            metrics.set_ready(readiness.is_ready());
            metrics.encode()
        })
    }

    /// A decision was written.
    pub fn task_ended(&self, end: TaskEnd, kind: TaskKind) {
        self.tasks.get_or_create(&EndLabel { end, kind }).inc();
    }

    /// An attempt of this node is over.
    pub fn attempt_ended(&self, end: AttemptEnd) {
        self.attempts.get_or_create(&AttemptLabel { end }).inc();
    }

    /// A claim was answered.
    pub fn claimed(&self, outcome: ClaimOutcome) {
        self.claims.get_or_create(&ClaimLabel { outcome }).inc();
    }

    /// A step took so long.
    pub fn step(&self, step: Step, took: Duration) {
        self.steps.get_or_create(&StepLabel { step }).observe(took.as_secs_f64());
    }

    /// A rule with `log` has denied a packet; None where nobody knows which.
    pub fn logged(&self, policy: Option<&str>, rule: Option<&str>) {
        let label = |policy: &str, rule: &str| RuleLabel { policy: policy.to_owned(), rule: rule.to_owned() };
        let known = match (policy, rule) {
            (Some(policy), Some(rule)) => label(policy, rule),
            _ => label("unknown", "unknown"),
        };
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rules.len() < MAX_RULES;
        let label = if rules.contains(&known) || room && rules.insert(known.clone()) {
            known
        } else {
            label("others", "others")
        };
        drop(rules);
        self.logged.get_or_create(&label).inc();
    }

    /// So many packets have no line.
    pub fn packets_left_out(&self, why: &'static str, number: u64) {
        if number > 0 {
            self.left_out.get_or_create(&WhyLabel { why }).inc_by(number);
        }
    }

    /// An alert was raised.
    pub fn alert(&self) {
        self.alerts.inc();
    }

    /// Whether the node is ready. The HTTP server does this before each answer.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// The version of the shared configuration that the node follows.
    pub fn set_config_version(&self, version: u64) {
        self.config_version.set(version.try_into().unwrap_or(i64::MAX));
    }

    /// The newest generation that the node knows; 0: the log has none. Until it is said there is no such number.
    pub fn set_generation(&self, generation: u64) {
        self.lock().generation = Some(generation);
    }

    /// Names of the members by sender id: what `sender` labels say. Without a name the label has the id.
    pub fn set_members(&self, names: BTreeMap<u32, String>) {
        self.lock().names = names;
    }

    /// What the receiver has counted, and how datagrams come in.
    pub fn set_receiver(&self, counters: Counters, mode: &Mode) {
        let mut snapshot = self.lock();
        snapshot.receiver = counters;
        snapshot.mode = mode.name();
    }

    /// What the sender has counted.
    pub fn set_sender(&self, destinations: Vec<DestinationCounters>) {
        self.lock().destinations = destinations;
    }

    /// What the store's client has counted.
    pub fn set_store(&self, endpoints: Vec<EndpointStats>, requests: RequestCounts) {
        let mut snapshot = self.lock();
        snapshot.endpoints = endpoints;
        snapshot.requests = requests;
    }

    /// Rights that the store refuses.
    pub fn set_refused(&self, refusals: &[crate::refusals::Refusal]) {
        let refused = refusals.iter().map(|refusal| (refusal.right.word(), refusal.prefix.clone()));
        self.lock().refused = refused.collect();
    }

    /// Keys in the bucket that are not ours.
    pub fn set_strangers(&self, strangers: Vec<StrangersOf>) {
        self.lock().strangers = strangers;
    }

    /// How full queues, maps and caches are.
    pub fn set_sizes(&self, sizes: Vec<Size>) {
        self.lock().sizes = sizes;
    }

    /// The switches that this node keeps, and what its audits have come to.
    pub fn set_kept(&self, switches: Vec<KeptSwitch>, audits: Vec<(&'static str, u64)>) {
        let mut snapshot = self.lock();
        (snapshot.kept, snapshot.audits) = (switches, audits);
    }

    /// Takeovers by what they were, and how long an owner may be silent before it is taken over; none: as long as its lease
    /// lasts.
    pub fn set_takeovers(&self, takeovers: Vec<(&'static str, u64)>, silence: Option<Duration>) {
        let mut snapshot = self.lock();
        (snapshot.takeovers, snapshot.takeover_silence) = (takeovers, silence);
    }

    /// What the rules of the switches have counted that this node keeps, by switch; `series` of the rules have series of
    /// their own. `unused` readings of counters were not added up, and the totals of `unreadable` switches cannot be
    /// read.
    pub fn set_totals(
        &self,
        totals: BTreeMap<String, Arc<SwitchTotals>>,
        series: usize,
        unused: u64,
        unreadable: Vec<String>,
    ) {
        let mut snapshot = self.lock();
        (snapshot.totals, snapshot.rule_series, snapshot.unused_readings) = (totals, series, Some(unused));
        snapshot.unreadable_totals = unreadable;
    }

    /// The packets that the switches have dropped which this node keeps, by switch and reason.
    pub fn set_drops(&self, drops: BTreeMap<String, BTreeMap<&'static str, u64>>) {
        self.lock().drops = drops;
    }

    /// Who is found to be degraded now.
    pub fn set_degraded(&self, marks: Vec<(Side, String)>) {
        self.lock().degraded = marks;
    }

    /// How long ago each of the other members was heard, those that were.
    pub fn set_heard(&self, ages: Vec<(String, Duration)>) {
        self.lock().heard = ages;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
