use std::path::Path;

use outplane_rmdp_core::object::RuleTotal;
use outplane_rmdp_store::EndpointState;
use outplane_rmdp_transport::SenderCounters;

use super::*;

fn full() -> Metrics {
    let metrics = Metrics::new("c1", "controller");
    metrics.set_members(BTreeMap::from([(1, "d1".to_owned())]));
    let mut counters = Counters { tasks: 4, ring_full: 5, ..Counters::default() };
    counters.drops.forged = 7;
    let mut d1 = SenderCounters::default();
    d1.announces.copies = 3;
    d1.announces.first = 1;
    d1.announces.duplicates = 2;
    d1.lateness.classes[0] = 1;
    d1.lateness.classes[2] = 2;
    d1.lateness.classes[23] = 1;
    counters.senders.insert(1, d1);
    counters.senders.insert(9, d1);
    metrics.set_receiver(counters, &Mode::Socket { reason: "off".to_owned() });
    let address = "239.255.82.77:8277".parse().unwrap();
    metrics.set_sender(vec![DestinationCounters { address, sent: 8, failed: 1, last_error: None }]);
    let endpoint = EndpointStats {
        endpoint: "http://127.0.0.1:9000".to_owned(),
        requests: 10,
        failures: 1,
        timeouts: 2,
        p50: Some(Duration::from_millis(2)),
        p99: None,
        state: EndpointState::Avoided(Duration::from_secs(1)),
    };
    metrics.set_store(vec![endpoint], RequestCounts { create: 6, ..RequestCounts::default() });
    let strangers = StrangersOf { prefix: "q/", count: 3, example: "q/x".to_owned() };
    metrics.set_strangers(vec![strangers]);
    metrics.set_sizes(vec![Size { name: "tasks", now: 3, bound: 10_000, hits: 0 }]);
    metrics.set_degraded(vec![(Side::Sender, "d2".to_owned())]);
    let kept = KeptSwitch {
        switch: "leaf1".to_owned(),
        generation: 7,
        standing: outplane_rmdp_core::object::Standing::Drifted,
        seen: "no pipeline".to_owned(),
        verified_ms: Some(1_500),
        what: "everything".to_owned(),
        repairs: 2,
        version: None,
        primary: None,
        is_fenced: None,
        counted_ms: None,
    };
    metrics.set_kept(vec![kept], vec![("looked", 3)]);
    metrics.set_takeovers(vec![("over_others", 2)], Some(Duration::from_millis(400)));
    let rule = |rule: &str, packets| RuleTotal {
        policy: "FilterPolicy/edge".to_owned(),
        rule: rule.to_owned(),
        packets,
        bytes: packets * 100,
    };
    let totals = SwitchTotals {
        rules: vec![rule("ssh", 5), rule("web", 67)],
        others: (1, 64),
        read_ms: 2_500,
        ..SwitchTotals::new("leaf1")
    };
    metrics.set_totals([("leaf1".to_owned(), Arc::new(totals))].into(), 1, 4, vec!["leaf2".to_owned()]);
    metrics.set_drops([("leaf1".to_owned(), [("denied", 12), ("spoofed", 0)].into())].into());
    metrics.set_heard(vec![("d2".to_owned(), Duration::from_millis(2500))]);
    metrics.task_ended(TaskEnd::Done, TaskKind::of("generation"));
    metrics.attempt_ended(AttemptEnd::TooLate);
    metrics.claimed(ClaimOutcome::Won);
    metrics.step(Step::Claim, Duration::from_millis(3));
    metrics.logged(Some("FilterPolicy/edge"), Some("r1"));
    metrics.packets_left_out("rate", 5);
    metrics.alert();
    metrics.set_ready(true);
    metrics.set_config_version(12);
    metrics.set_generation(17);
    metrics
}

/// Right after a start nobody has asked the log yet, and says so.
#[test]
fn a_generation_is_said_once_it_is_known() {
    let metrics = Metrics::new("c1", "controller");
    assert!(!metrics.encode().contains("outplane_generation"));
    metrics.set_generation(0);
    assert!(metrics.encode().contains("\noutplane_generation 0.0\n"));
}

/// By switch they are always there, by rule only where the configuration says so.
#[test]
fn rules_have_no_series_unless_wanted() {
    let metrics = Metrics::new("c1", "controller");
    let totals = Arc::new(SwitchTotals::new("leaf1"));
    metrics.set_totals([("leaf1".to_owned(), totals)].into(), 0, 0, Vec::new());
    let text = metrics.encode();
    assert!(text.contains("outplane_switch_packets_total") && !text.contains("outplane_rule_"), "{text}");
}

#[test]
fn what_was_handed_over_is_written() {
    let text = full().encode();
    for line in [
        "outplane_switch_totals_unreadable{switch=\"leaf2\"} 1.0",
        "outplane_node_info{node=\"c1\",role=\"controller\",version=\"0.1.0\"} 1",
        "outplane_datagrams_total{sender=\"d1\",type=\"task\",verdict=\"first\"} 1",
        "outplane_datagrams_total{sender=\"9\",type=\"task\",verdict=\"duplicate\"} 2",
        "outplane_datagrams_dropped_total{reason=\"forged\"} 7",
        "outplane_datagram_lateness_seconds_bucket{le=\"0.000001\",sender=\"d1\"} 1",
        "outplane_datagram_lateness_seconds_bucket{le=\"0.000004\",sender=\"d1\"} 3",
        "outplane_datagram_lateness_seconds_bucket{le=\"+Inf\",sender=\"d1\"} 4",
        "outplane_datagram_lateness_seconds_count{sender=\"d1\"} 4",
        "outplane_receiver_mode{mode=\"socket\"} 1.0",
        "outplane_audits_total{outcome=\"looked\"} 3",
        "outplane_takeovers_total{what=\"over_others\"} 2",
        "outplane_takeover_seconds{limit=\"silence\"} 0.4",
        "outplane_switches{standing=\"drifted\"} 1.0",
        "outplane_switch_kept{switch=\"leaf1\"} 0.0",
        "outplane_switch_generation{switch=\"leaf1\"} 7.0",
        "outplane_switch_verified_seconds{switch=\"leaf1\"} 1.5",
        "outplane_switch_repairs_total{switch=\"leaf1\"} 2",
        "outplane_switch_packets_total{switch=\"leaf1\"} 73",
        "outplane_switch_bytes_total{switch=\"leaf1\"} 7264",
        "outplane_switch_counted_seconds{switch=\"leaf1\"} 2.5",
        "outplane_rule_packets_total{switch=\"leaf1\",policy=\"FilterPolicy/edge\",rule=\"ssh\"} 5",
        "outplane_rule_packets_total{switch=\"leaf1\",policy=\"others\",rule=\"others\"} 67",
        "outplane_rule_bytes_total{switch=\"leaf1\",policy=\"FilterPolicy/edge\",rule=\"ssh\"} 500",
        "outplane_counter_readings_unused_total 4",
        "outplane_switch_dropped_packets_total{switch=\"leaf1\",reason=\"denied\"} 12",
        "outplane_switch_dropped_packets_total{switch=\"leaf1\",reason=\"spoofed\"} 0",
        "outplane_receiver_mode{mode=\"xdp-driver\"} 0.0",
        "outplane_tasks_received_total 4",
        "outplane_ring_full_total 5",
        "outplane_datagrams_sent_total{destination=\"239.255.82.77:8277\"} 8",
        "outplane_store_requests_total{endpoint=\"http://127.0.0.1:9000\"} 10",
        "outplane_store_latency_seconds{endpoint=\"http://127.0.0.1:9000\",quantile=\"0.5\"} 0.002",
        "outplane_store_endpoint_healthy{endpoint=\"http://127.0.0.1:9000\"} 0.0",
        "outplane_store_operations_total{operation=\"create\"} 6",
        "outplane_store_strangers{prefix=\"q/\"} 3.0",
        "outplane_tasks_ended_total{end=\"done\",kind=\"generation\"} 1",
        "outplane_tasks_ended_total{end=\"failed\",kind=\"probe\"} 0",
        "outplane_attempts_total{end=\"too_late\"} 1",
        "outplane_claims_total{outcome=\"won\"} 1",
        "outplane_step_seconds_bucket{le=\"0.005\",step=\"claim\"} 1",
        "outplane_queue_size{what=\"tasks\"} 3.0",
        "outplane_queue_bound{what=\"tasks\"} 10000.0",
        "outplane_degraded{side=\"sender\",node=\"d2\"} 1.0",
        "outplane_logged_packets_total{policy=\"FilterPolicy/edge\",rule=\"r1\"} 1",
        "outplane_logged_packets_left_out_total{why=\"rate\"} 5",
        "outplane_logged_packets_left_out_total{why=\"queue\"} 0",
        "outplane_heard_seconds{node=\"d2\"} 2.5",
        "outplane_config_version 12",
        "outplane_generation 17.0",
        "outplane_alerts_total 1",
        "outplane_ready 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|written| written == line), "no line {line} in\n{text}");
    }
}

#[test]
fn labels_are_bounded() {
    let metrics = Metrics::new("c1", "controller");
    let mut counters = Counters::default();
    for sender in 0..1000 {
        let mut one = SenderCounters::default();
        one.heartbeats.first = 1;
        counters.senders.insert(sender, one);
    }
    metrics.set_receiver(counters, &Mode::XdpDriver);
    for rule in 0..1000 {
        metrics.logged(Some("FilterPolicy/edge"), Some(&format!("r{rule}")));
    }
    let text = metrics.encode();
    let others = "outplane_logged_packets_total{policy=\"others\",rule=\"others\"} 744";
    assert!(text.lines().any(|line| line == others), "{text}");
    let others = "outplane_datagrams_total{sender=\"others\",type=\"heartbeat\",verdict=\"first\"} 872";
    assert!(text.lines().any(|line| line == others), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("outplane_datagrams_total{")).count(),
        128 * 9 + 3
    );
}

/// Names and types are unique, and the page has each.
#[test]
fn the_page_has_every_metric() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let text = full().encode();
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines() {
        let Some(described) = line.strip_prefix("# TYPE ") else { continue };
        let (name, kind) = described.split_once(' ').unwrap();
        assert!(names.insert(name), "{name} twice");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(page.contains(&format!("`{name}{suffix}")), "docs/configuration.md lacks {name}{suffix}");
    }
    assert!(names.len() > 30, "{names:?}");
}
