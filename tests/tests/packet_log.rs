//! Packets that a rule with `log` denies, from a host's wire to a line that names the rule: straight from the switch, and
//! through a controller and the store.

use std::time::{Duration, Instant};

use outplane_testbed::{Flow, Process, SwitchKind, Transport};
use outplane_tests::{Site, switches};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "000102030405060708090a0b0c0d0e0f";

fn policy(site: &Site) -> String {
    format!(
        "{}---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {{name: lab}}
spec: {{ports: [{{switch: leaf1, ports: [1, 2]}}], subnets: [10.0.0.0/24]}}
---
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {{name: edge}}
spec:
  rules:
    - {{name: no-ssh, action: deny, log: true, ports: [{{protocol: TCP, port: 22}}]}}
    - {{name: quiet, action: deny, ports: [{{protocol: TCP, port: 23}}]}}
",
        site.switch_object()
    )
}

/// A connection that is denied.
fn knock(site: &mut Site, port: u16) {
    let destination = site.lab.hosts[1].v4.parse().expect("an address");
    let flow = Flow { transport: Transport::Tcp, destination, port };
    let agent = &mut site.lab.hosts[0].agent;
    let begun = agent.begin(&flow, Duration::from_millis(300)).expect("it begins");
    agent.tried(begun).expect("it ends");
}

fn is_the_line(line: &Value, segment: &str) {
    assert_eq!(line["policy"], "FilterPolicy/edge", "{line}");
    assert_eq!((&line["rule"], &line["switch"]), (&"no-ssh".into(), &"leaf1".into()), "{line}");
    assert_eq!(line["segment"], segment, "{line}");
    let packet = &line["packet"];
    assert_eq!((&packet["src"], &packet["dst"]), (&"10.0.0.1".into(), &"10.0.0.2".into()), "{line}");
    assert_eq!((&packet["proto"], &packet["dport"]), (&"tcp".into(), &22.into()), "{line}");
    assert_eq!((&packet["port"], &packet["tcp_flags"]), (&1.into(), &"SYN".into()), "{line}");
    assert_eq!(
        (&line["src_mac"], &line["dst_mac"]),
        (&"02:00:00:00:00:01".into(), &"02:00:00:00:00:02".into()),
        "{line}"
    );
}

/// Straight from the switch, which is asked by nobody else.
fn from_the_switch(site: &mut Site) {
    site.outplane(&["apply", "policy.yaml"]).expect("the policy");
    let mut command =
        site.command(&["log", "--address", "127.0.0.1:9559", "--follow", "-o", "json", "policy.yaml"]);
    let mut log = Process::start("outplane log", &mut command).expect("it starts");
    let end = Instant::now() + PATIENCE;
    let line = loop {
        assert!(Instant::now() < end, "no line");
        knock(site, 23);
        knock(site, 22);
        if let Ok(line) = log.line(Duration::from_millis(200)) {
            break line;
        }
    };
    is_the_line(&serde_json::from_str(&line).expect("JSON"), "lab");
    // An `apply` takes over, and it says that it hears no more.
    site.outplane(&["apply", "policy.yaml"]).expect("the policy again");
    let status = log.wait_for_end(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(3));
}

/// The lines of `outplane log`, JSON.
fn lines(site: &Site, words: &[&str]) -> Vec<Value> {
    let words = [&["log", "--config", "d1.toml", "-o", "json"], words].concat();
    let output = site.outplane(&words).expect("the lines");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Through the controller that is the switch's primary, and the store.
fn through_controllers(site: &mut Site) {
    let mut store = site.command(&["store", "--dir", "store", "--listen", "127.0.0.1:9000"]);
    store.env("OUTPLANE_STORE_ACCESS_KEY", "tests").env("OUTPLANE_STORE_SECRET_KEY", "a-secret-of-tests");
    let mut store = Process::start("the store", &mut store).expect("it starts");
    store.wait_for("listening", PATIENCE).expect("it listens");
    for name in ["d1", "c1"] {
        let text = format!(
            "name = \"{name}\"\n[store]\nendpoints = [\"http://127.0.0.1:9000\"]\nbucket = \"outplane\"\naccess_key = \
             \"tests\"\nsecret_key = \"a-secret-of-tests\"\n[keys]\n1 = \"{KEY}\"\n[http]\nlisten = \"off\"\n[network]\nxdp = \
             \"off\"\n[log]\nformat = \"json\"\n"
        );
        site.write(&format!("{name}.toml"), &text).expect("its file");
    }
    let member = |name: &str, sender: u16, role: &str| {
        format!(
            "[[member]]\nname = \"{name}\"\nsender = {sender}\nrole = \"{role}\"\naddress = \"127.0.0.1:{}\"\n",
            8276 + sender
        )
    };
    let shared =
        member("d1", 1, "distributor") + &member("c1", 2, "controller") + "[datagrams]\ngroups = []\n";
    site.write("shared.toml", &shared).expect("the shared configuration");
    site.outplane(&["config", "set", "shared.toml", "--config", "d1.toml"]).expect("it is set");
    let mut nodes = Vec::new();
    for (role, name) in [("distributor", "d1"), ("controller", "c1")] {
        let log = std::fs::File::create(site.lab.folder().join(format!("{name}.log"))).expect("its log");
        let mut command = site.command(&[role, "--config", &format!("{name}.toml")]);
        let mut node = Process::start(name, command.stderr(log)).expect("it starts");
        node.wait_for("is up", PATIENCE).expect("it comes up");
        nodes.push(node);
    }
    site.outplane(&["apply", "policy.yaml", "--config", "d1.toml"]).expect("the policy, by a controller");
    let end = Instant::now() + PATIENCE;
    // The segment's name is known once the controller has read the generation.
    let found = loop {
        assert!(Instant::now() < end, "no line: {:?}", lines(site, &[]));
        knock(site, 22);
        knock(site, 23);
        let lines = lines(site, &["--policy", "edge", "--rule", "no-ssh"]);
        if let Some(line) = lines.into_iter().rev().find(|line| line["segment"] == "lab") {
            break line;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    is_the_line(&found, "lab");
    assert_eq!((&found["node"], &found["generation"]), (&"c1".into(), &1.into()), "{found}");
    assert!(lines(site, &["--rule", "quiet"]).is_empty(), "a rule without log sends nothing");
    assert!(lines(site, &["--policy", "other"]).is_empty());
    // The controller's own log has the same, structured.
    let text = std::fs::read_to_string(site.lab.folder().join("c1.log")).expect("its log");
    let mut own = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = own.rfind(|line| line["target"] == "outplane::packets").expect("a line of its own");
    let fields = own.get("fields").unwrap_or(&own);
    assert_eq!(
        (&fields["policy"], &fields["rule"], &fields["dport"]),
        (&"FilterPolicy/edge".into(), &"no-ssh".into(), &22.into()),
        "{own}"
    );
    // A controller drives the switch: nobody else is told.
    let refused = site.command(&["log", "--address", "127.0.0.1:9559"]).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(3));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("primary controller alone"), "{words}");
}

fn on(kind: SwitchKind) {
    let mut site = Site::new(kind, 2).expect("a lab with a switch");
    let text = policy(&site);
    site.write("policy.yaml", &text).expect("a policy");
    from_the_switch(&mut site);
    through_controllers(&mut site);
}

#[test]
fn what_a_rule_with_log_denies_has_a_line_that_names_the_rule() {
    for kind in switches("packets that rules log") {
        on(kind);
    }
}
