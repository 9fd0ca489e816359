//! A policy change under traffic: no packet sees a mix of the old policy and the new one.

use outplane_testbed::{Stream, SwitchKind, Transport};
use outplane_tests::{Site, swap, switches};

fn change_under_traffic(kind: SwitchKind) {
    let mut site = Site::new(kind, 3).expect("a lab with a switch");
    swap::write_policies(&site).expect("two policies");
    site.outplane(&["apply", "a.yaml"]).expect("the first policy");
    site.lab.hosts[1].agent.serve(Transport::Udp, 7).expect("h2 echoes");

    let stream = Stream {
        destination: site.lab.hosts[1].v4.parse().expect("an address"),
        port: 7,
        rate: 1000,
        milliseconds: 3000,
        window: None,
    };
    // Only what comes back can be waited for.
    let bounded = Stream { window: Some(16), ..stream.clone() };
    let allowed = site.lab.hosts[0].agent.stream(&bounded).expect("h1 sends");
    let denied = site.lab.hosts[2].agent.stream(&stream).expect("h3 sends");
    for file in ["b.yaml", "a.yaml", "b.yaml", "a.yaml", "b.yaml"] {
        swap::change(&site, file).expect("a change");
    }
    let allowed = site.lab.hosts[0].agent.streamed(allowed).expect("h1 reports");
    let denied = site.lab.hosts[2].agent.streamed(denied).expect("h3 reports");
    assert_eq!(allowed.received, allowed.sent, "{}: allowed by both policies, yet lost", kind.name());
    assert_eq!(denied.received, 0, "{}: denied by both policies, yet through", kind.name());
    assert_eq!(denied.sent, 3000);
}

#[test]
fn no_packet_sees_a_mix_of_policies() {
    for kind in switches("policy change under traffic") {
        change_under_traffic(kind);
    }
}
