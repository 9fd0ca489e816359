//! The lab itself, with a Linux bridge where the P4 switch will be: what is not filtered passes, what is not
//! connected does not, and nothing stays behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use outplane_testbed::{Flow, Lab, Outcome, Stream, StreamReport, Transport};

fn namespaces_of_this_process() -> usize {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    let mine = format!("op{}-", std::process::id());
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with(&mine)).count()
}

#[test]
fn flows_pass_over_a_bridge_and_nothing_stays() {
    if let Some(why) = outplane_testbed::why_not() {
        println!("SKIPPED: flows over a bridge: {why}");
        return;
    }
    let mut lab = Lab::new(2, Path::new(env!("CARGO_BIN_EXE_outplane-lab-agent"))).expect("the lab stands");
    let switch = lab.switch();
    switch.ip(&["link", "add", "bridge", "type", "bridge"]).expect("a bridge");
    for (_, interface) in lab.ports() {
        switch.ip(&["link", "set", &interface, "master", "bridge"]).expect("a bridge port");
    }
    switch.ip(&["link", "set", "bridge", "up"]).expect("the bridge is up");
    for (transport, port) in [(Transport::Tcp, 80), (Transport::Udp, 53)] {
        lab.hosts[1].agent.serve(transport, port).expect("h2 serves");
    }
    let (v4, v6) = (lab.hosts[1].v4.clone(), lab.hosts[1].v6.clone());
    let mut attempt = |transport, destination: &str, port| {
        let flow = Flow { transport, destination: destination.parse().expect("an address"), port };
        let id = lab.hosts[0].agent.begin(&flow, Duration::from_secs(2)).expect("the agent lives");
        lab.hosts[0].agent.tried(id).expect("the agent answers")
    };
    for address in [&v4, &v6] {
        for (transport, port) in [(Transport::Tcp, 80), (Transport::Udp, 53), (Transport::Icmp, 0)] {
            assert_eq!(attempt(transport, address, port), Outcome::Passed, "{transport} to {address}");
        }
    }
    assert_eq!(attempt(Transport::Icmp, "10.0.0.77", 0), Outcome::Dropped, "nobody is there");

    let destination = v4.parse().expect("an address");
    let stream = Stream { destination, port: 53, rate: 500, milliseconds: 400, window: None };
    let id = lab.hosts[0].agent.stream(&stream).expect("the agent lives");
    let report = lab.hosts[0].agent.streamed(id).expect("the agent answers");
    assert_eq!(report, StreamReport { sent: 200, received: 200 });

    assert_eq!(namespaces_of_this_process(), 3);
    drop(lab);
    assert_eq!(namespaces_of_this_process(), 0);
}
