//! The embedded switch with ports, in a network namespace of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// `outplane -v softswitch` on `interfaces` in a namespace, and traffic that `then` makes there; killed with this.
struct InNamespace(Child);

impl InNamespace {
    /// None where there can be no namespaces.
    fn start(before: &str, switch: &str, then: &str) -> Option<Self> {
        let made = Command::new("unshare").args(["--net", "true"]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: the switch's ports: network namespaces need root, and `unshare` (util-linux)");
            return None;
        }
        let binary = env!("CARGO_BIN_EXE_outplane");
        let script = format!("{before}\n({then}) & exec {binary} -v {switch} --listen 127.0.0.1:0 2>&1");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "sh", "-c", &script]);
        Some(Self(command.stdout(Stdio::piped()).spawn().expect("the shell starts")))
    }

    /// Its lines up to the first with `word`.
    fn lines_until(&mut self, word: &str) -> Vec<String> {
        let stdout = self.0.stdout.take().expect("standard output is a pipe");
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("text");
            let last = line.contains(word);
            lines.push(line);
            if last {
                return lines;
            }
        }
        panic!("no line says {word}: {lines:#?}");
    }
}

impl Drop for InNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn drops_are_told_with_their_reason() {
    // Until the switch is there, and not for ever.
    let ping = "for n in $(seq 100); do ping -c 1 -W 1 127.0.0.1; sleep 0.1; done > /dev/null";
    let Some(mut switch) = InNamespace::start("ip link set lo up", "softswitch --port 1=lo", ping) else {
        return;
    };
    let lines = switch.lines_until("dropped: ");
    let told = lines.last().expect("there is one");
    for word in
        ["no pipeline has been pushed", "port=1=lo", "no_program", "ICMP 127.0.0.1 -> 127.0.0.1 type 8"]
    {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_waited_for() {
    let before = "ip link set lo up";
    let ports = "--output json softswitch --port 1=lo --port 2=later0";
    let make = "sleep 0.2; ip link add later0 type veth peer name other0; ip link set later0 up; sleep 10";
    let Some(mut switch) = InNamespace::start(before, ports, make) else { return };
    let lines = switch.lines_until("the interface is there port=");
    let said = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(
        said("there is no such interface: the port is down until the interface is there and up"),
        "{lines:#?}"
    );
    assert!(said(
        r#""ports":[{"port":1,"interface":"lo","up":true},{"port":2,"interface":"later0","up":false}]"#
    ));
    assert!(lines.last().is_some_and(|line| line.contains("2=later0")), "{lines:#?}");
}
