//! What others have counted, written out when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outplane_rmdp_core::object::{KeptSwitch, RuleTotal, Standing, SwitchTotals};
use outplane_rmdp_store::{EndpointState, EndpointStats, RequestCounts};
use outplane_rmdp_transport::{Counters, DestinationCounters, Lateness};
use outplane_rmdp_wire::DatagramType;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Side, Size};
use crate::strangers::StrangersOf;

/// Senders that have series of their own: twice the members that a configuration has at most. Any others are one series
/// together.
const MAX_SENDERS: usize = 128;
/// Switches that have series of their own.
const MAX_SWITCHES: usize = 1000;
/// The label of those others.
const OTHERS: &str = "others";
/// Values of `mode`.
const MODES: [&str; 3] = ["xdp-driver", "xdp-generic", "socket"];

/// The last that was handed over.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) names: BTreeMap<u32, String>,
    pub(super) receiver: Counters,
    pub(super) mode: &'static str,
    pub(super) destinations: Vec<DestinationCounters>,
    pub(super) endpoints: Vec<EndpointStats>,
    pub(super) requests: RequestCounts,
    pub(super) strangers: Vec<StrangersOf>,
    /// Right and prefix.
    pub(super) refused: Vec<(&'static str, String)>,
    pub(super) sizes: Vec<Size>,
    pub(super) degraded: Vec<(Side, String)>,
    pub(super) kept: Vec<KeptSwitch>,
    pub(super) audits: Vec<(&'static str, u64)>,
    pub(super) takeovers: Vec<(&'static str, u64)>,
    pub(super) takeover_silence: Option<Duration>,
    pub(super) generation: Option<u64>,
    /// By switch.
    pub(super) totals: BTreeMap<String, Arc<SwitchTotals>>,
    pub(super) unreadable_totals: Vec<String>,
    pub(super) rule_series: usize,
    pub(super) unused_readings: Option<u64>,
    /// By switch and reason.
    pub(super) drops: BTreeMap<String, BTreeMap<&'static str, u64>>,
    pub(super) heard: Vec<(String, Duration)>,
}

/// Writes the snapshot at each scrape.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Arc<Mutex<Snapshot>>);

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let snapshot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Out(encoder);
        snapshot.datagrams(&mut out)?;
        snapshot.receiver(&mut out)?;
        snapshot.sender(&mut out)?;
        snapshot.store(&mut out)?;
        snapshot.switches(&mut out)?;
        snapshot.totals(&mut out)?;
        snapshot.drops(&mut out)?;
        snapshot.node(&mut out)
    }
}

/// Labels and values of one metric.
type Series<'a, const N: usize, T> = Vec<([(&'static str, &'a str); N], T)>;

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family<S: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (S, M)>,
    ) -> Result<(), Error> {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            value.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: Series<'_, N, u64>,
    ) -> Result<(), Error> {
        let series = series.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, series)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: Series<'_, N, f64>,
    ) -> Result<(), Error> {
        let series = series.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, series)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let value = ConstGauge::new(value as f64);
        value.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

impl Snapshot {
    fn label(&self, sender: u32) -> String {
        self.names.get(&sender).cloned().unwrap_or_else(|| sender.to_string())
    }

    fn datagrams(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let names: Vec<String> =
            self.receiver.senders.keys().take(MAX_SENDERS).map(|id| self.label(*id)).collect();
        let counted = self.receiver.senders.values();
        let of_its_own = names.iter().zip(counted.clone());
        let mut series = Vec::new();
        for datagram_type in DatagramType::ALL {
            let mut others = [0; 3];
            for sender in counted.clone().skip(MAX_SENDERS) {
                let counts = sender.of(datagram_type);
                for (sum, count) in others.iter_mut().zip([counts.first, counts.duplicates, counts.replays]) {
                    *sum += count;
                }
            }
            let known = of_its_own.clone().map(|(name, sender)| {
                let counts = sender.of(datagram_type);
                (name.as_str(), [counts.first, counts.duplicates, counts.replays])
            });
            let others = others.iter().any(|count| *count > 0).then_some((OTHERS, others));
            for (name, counts) in known.chain(others) {
                for (verdict, count) in ["first", "duplicate", "replay"].into_iter().zip(counts) {
                    let labels = [("sender", name), ("type", datagram_type.name()), ("verdict", verdict)];
                    series.push((labels, count));
                }
            }
        }
        out.counters("datagrams", "Authentic datagrams, by sender, type and what became of them", series)?;
        let histograms =
            of_its_own.map(|(name, sender)| ([("sender", name.as_str())], Classes(&sender.lateness)));
        out.family(
            "datagram_lateness_seconds",
            "Arrival of a copy after the first copy of its task (the sum is estimated from the buckets)",
            MetricType::Histogram,
            histograms,
        )
    }

    fn receiver(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let receiver = &self.receiver;
        let drops = receiver.drops.named().map(|(reason, count)| ([("reason", reason)], count));
        out.counters("datagrams_dropped", "Datagrams that were not taken, by reason", drops.to_vec())?;
        let modes = MODES.map(|mode| ([("mode", mode)], f64::from(u8::from(mode == self.mode))));
        out.gauges("receiver_mode", "1 for how datagrams come in", modes.to_vec())?;
        out.counter("tasks_received", "First copies of tasks", receiver.tasks)?;
        out.gauge("dedup_remembered", "Tasks that are remembered as seen", receiver.remembered)?;
        let help = "Tasks that were delivered but not remembered since the memory was full";
        out.counter("dedup_unremembered", help, receiver.unremembered)?;
        let help = "Datagrams that the XDP program passed to sockets since its ring was full";
        out.counter("ring_full", help, receiver.ring_full)?;
        out.counter("fragments", "Fragments to our addresses, which are never RMDP", receiver.fragments)?;
        let help = "Datagrams that the kernel dropped since a socket was full";
        out.counter("socket_overflows", help, receiver.socket_overflows)
    }

    fn sender(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let addresses: Vec<String> =
            self.destinations.iter().map(|destination| destination.address.to_string()).collect();
        let all = addresses.iter().zip(&self.destinations);
        let sent = all.clone().map(|(address, counts)| ([("destination", address.as_str())], counts.sent));
        out.counters("datagrams_sent", "Datagrams that the kernel took", sent.collect())?;
        let failed = all.map(|(address, counts)| ([("destination", address.as_str())], counts.failed));
        out.counters("datagrams_send_failures", "Datagrams that the kernel did not take", failed.collect())
    }

    fn store(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let of = |count: fn(&EndpointStats) -> u64| {
            let series = self.endpoints.iter();
            series.map(|stats| ([("endpoint", stats.endpoint.as_str())], count(stats))).collect()
        };
        out.counters(
            "store_requests",
            "HTTP requests to the store, tries included",
            of(|stats| stats.requests),
        )?;
        out.counters("store_failures", "Requests without a useful answer", of(|stats| stats.failures))?;
        out.counters("store_timeouts", "Requests that were given up", of(|stats| stats.timeouts))?;
        let latencies = self.endpoints.iter().flat_map(|stats| {
            let of = |quantile, value: Option<Duration>| {
                let labels = [("endpoint", stats.endpoint.as_str()), ("quantile", quantile)];
                value.map(|value| (labels, value.as_secs_f64()))
            };
            [of("0.5", stats.p50), of("0.99", stats.p99)].into_iter().flatten()
        });
        out.gauges("store_latency_seconds", "Latency of the last 1,024 answers", latencies.collect())?;
        let up = self.endpoints.iter().map(|stats| {
            let up = matches!(stats.state, EndpointState::Healthy);
            ([("endpoint", stats.endpoint.as_str())], f64::from(u8::from(up)))
        });
        out.gauges("store_endpoint_healthy", "0 while an endpoint is avoided after failures", up.collect())?;
        let RequestCounts { create, put, get, list, delete, bucket, waited } = self.requests;
        let operations = [
            ("create", create),
            ("put", put),
            ("get", get),
            ("list", list),
            ("delete", delete),
            ("bucket", bucket),
        ];
        let operations = operations.map(|(operation, count)| ([("operation", operation)], count));
        out.counters("store_operations", "HTTP requests to the store by operation", operations.to_vec())?;
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let strangers = self.strangers.iter().map(|of| ([("prefix", of.prefix)], of.count as f64));
        let help = "Keys in the bucket that are not Outplane's, by the last listings";
        out.gauges("store_strangers", help, strangers.collect())?;
        let refused = self
            .refused
            .iter()
            .map(|(right, prefix)| ([("right", *right), ("prefix", prefix.as_str())], 1.0));
        let help = "1 for a right that the store refuses to this node's credentials";
        out.gauges("store_refused", help, refused.collect())?;
        let help = "Requests that waited since too many were under way";
        out.counter("store_waited", help, waited)
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    fn switches(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let audits = self.audits.iter().map(|(what, count)| ([("outcome", *what)], *count));
        out.counters("audits", "Audits of switches by what came of them", audits.collect())?;
        let takeovers = self.takeovers.iter().map(|(what, count)| ([("what", *what)], *count));
        let help = "Attempts that went over a silent owner's, owners that were heard again after that, own attempts gone over";
        out.counters("takeovers", help, takeovers.collect())?;
        let silence = self.takeover_silence.map(|silence| ([("limit", "silence")], silence.as_secs_f64()));
        let help = "How long an owner may be silent before it is taken over, where its switch fences";
        out.gauges("takeover_seconds", help, silence.into_iter().collect())?;
        let standings = [Standing::Kept, Standing::Unknown, Standing::Drifted, Standing::Unreachable];
        let standings = standings.map(|standing| {
            let count = self.kept.iter().filter(|kept| kept.standing == standing).count();
            ([("standing", standing.word())], count as f64)
        });
        out.gauges("switches", "Switches that this node keeps, by how they stand", standings.to_vec())?;
        let of = |value: fn(&KeptSwitch) -> Option<f64>| {
            let kept = self.kept.iter().take(MAX_SWITCHES);
            kept.filter_map(|kept| Some(([("switch", kept.switch.as_str())], value(kept)?))).collect()
        };
        let help = "1 if a switch was seen to hold what the newest generation wants at the last look";
        out.gauges(
            "switch_kept",
            help,
            of(|kept| Some(f64::from(u8::from(kept.standing == Standing::Kept)))),
        )?;
        let help = "The generation that a switch is kept at";
        out.gauges("switch_generation", help, of(|kept| Some(kept.generation as f64)))?;
        let help = "When a switch was last seen to hold what it should, Unix time";
        out.gauges("switch_verified_seconds", help, of(|kept| Some(kept.verified_ms? as f64 / 1000.0)))?;
        let repairs = self
            .kept
            .iter()
            .take(MAX_SWITCHES)
            .map(|kept| ([("switch", kept.switch.as_str())], kept.repairs));
        out.counters("switch_repairs", "How often a switch was brought back", repairs.collect())
    }

    /// What switches have dropped, by reason.
    fn drops(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let series = self.drops.iter().take(MAX_SWITCHES).flat_map(|(switch, drops)| {
            drops
                .iter()
                .map(|(reason, packets)| ([("switch", switch.as_str()), ("reason", *reason)], *packets))
        });
        let help = "Packets that a switch has dropped since its program was pushed, as it was looked at last";
        out.counters("switch_dropped_packets", help, series.collect())
    }

    /// What rules have counted: of each switch together, and of as many rules as are wanted by themselves.
    fn totals(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let Some(unused) = self.unused_readings else { return Ok(()) };
        let help =
            "Readings of counters that were not added up: another was faster, the store did not answer";
        out.counter("counter_readings_unused", help, unused)?;
        let help = "Switches whose totals in the store cannot be read, so that what their rules count is not added up";
        let unreadable = self.unreadable_totals.iter().take(MAX_SWITCHES);
        let unreadable = unreadable.map(|switch| ([("switch", switch.as_str())], 1.0));
        out.gauges("switch_totals_unreadable", help, unreadable.collect())?;
        let switches = || self.totals.iter().take(MAX_SWITCHES);
        let sum = |of: fn(&RuleTotal) -> u64, other: fn(&SwitchTotals) -> u64| {
            let all = switches().map(|(switch, totals)| {
                let sum = totals.rules.iter().map(of).fold(other(totals), u64::saturating_add);
                ([("switch", switch.as_str())], sum)
            });
            all.collect::<Vec<_>>()
        };
        let help = "Packets that the rules of a switch have counted, over the lives of its entries";
        out.counters("switch_packets", help, sum(|rule| rule.packets, |totals| totals.others.0))?;
        let help = "Bytes that the rules of a switch have counted";
        out.counters("switch_bytes", help, sum(|rule| rule.bytes, |totals| totals.others.1))?;
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let read = switches()
            .map(|(switch, totals)| ([("switch", switch.as_str())], totals.read_ms as f64 / 1000.0));
        let help = "When the counters of a switch were read last that had counted something, Unix time";
        out.gauges("switch_counted_seconds", help, read.collect())?;
        if self.rule_series == 0 {
            return Ok(());
        }
        let rules = || {
            switches()
                .flat_map(|(switch, totals)| totals.rules.iter().map(move |rule| (switch.as_str(), rule)))
        };
        let series = |of: fn(&RuleTotal) -> u64| {
            let labels = |switch, policy, rule| [("switch", switch), ("policy", policy), ("rule", rule)];
            let own = rules().take(self.rule_series);
            let mut series: Vec<_> = own
                .map(|(switch, rule)| (labels(switch, rule.policy.as_str(), rule.rule.as_str()), of(rule)))
                .collect();
            let mut others: BTreeMap<&str, u64> = BTreeMap::new();
            for (switch, rule) in rules().skip(self.rule_series) {
                let sum = others.entry(switch).or_default();
                *sum = sum.saturating_add(of(rule));
            }
            series.extend(others.into_iter().map(|(switch, sum)| (labels(switch, OTHERS, OTHERS), sum)));
            series
        };
        let help = "Packets that a rule has counted on a switch, over the lives of its entries";
        out.counters("rule_packets", help, series(|rule| rule.packets))?;
        out.counters("rule_bytes", "Bytes that a rule has counted on a switch", series(|rule| rule.bytes))
    }

    fn node(&self, out: &mut Out<'_>) -> Result<(), Error> {
        if let Some(generation) = self.generation {
            out.gauge(
                "generation",
                "Newest generation of the intent that the node knows; 0 for none",
                generation,
            )?;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let of = |value: fn(&Size) -> u64| {
            self.sizes.iter().map(|size| ([("what", size.name)], value(size) as f64)).collect()
        };
        out.gauges("queue_size", "How much is in a queue, map or cache", of(|size| size.now))?;
        out.gauges("queue_bound", "How much may be in it", of(|size| size.bound))?;
        let hits = self.sizes.iter().map(|size| ([("what", size.name)], size.hits)).collect();
        out.counters("queue_bound_hits", "How often it was full when there was more", hits)?;
        let marks = self.degraded.iter().take(4 * MAX_SENDERS);
        let marks = marks.map(|(side, node)| ([("side", side.word()), ("node", node.as_str())], 1.0));
        out.gauges("degraded", "1 for each node that is found to be degraded", marks.collect())?;
        let heard = self.heard.iter().take(MAX_SENDERS);
        let heard = heard.map(|(node, ago)| ([("node", node.as_str())], ago.as_secs_f64()));
        out.gauges("heard_seconds", "How long ago another node was heard", heard.collect())?;
        match resident_bytes() {
            Some(bytes) => out.gauge("resident_memory_bytes", "Memory of the process", bytes),
            None => Ok(()),
        }
    }
}

/// A lateness histogram in classes of powers of two microseconds.
struct Classes<'a>(&'a Lateness);

impl EncodeMetric for Classes<'_> {
    fn encode(&self, mut encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), Error> {
        let classes = &self.0.classes;
        let mut bound = 0.000_001;
        let mut sum = 0.0;
        let mut buckets = Vec::with_capacity(classes.len());
        for (class, count) in classes.iter().enumerate() {
            // Class 0 is zero for nearly all: first copies. The middle of the others is 3/4 of their bound.
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let in_all = *count as f64 * bound * if class == 0 { 0.0 } else { 0.75 };
            sum += in_all;
            buckets.push((if class + 1 == classes.len() { f64::INFINITY } else { bound }, *count));
            bound *= 2.0;
        }
        let count = classes.iter().sum();
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// `VmRSS` of this process.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
