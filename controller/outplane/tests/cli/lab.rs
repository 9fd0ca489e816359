//! A store, and the nodes of examples/shared.toml, as processes.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Stdio};

use crate::support::{command, file, folder, root};

const SECRET: &str = "a-secret-of-tests";

/// Ends with this.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    store: Child,
    daemons: Vec<Child>,
}

impl Lab {
    /// A store, files for the nodes, and a shared configuration with free ports; no node runs yet.
    pub(crate) fn start(switch: &str) -> Self {
        let folder = folder();
        let mut store = command(["store", "--listen", "127.0.0.1:0", "--bucket", "outplane", "--dir"])
            .arg(folder.path().join("store"))
            .env("OUTPLANE_STORE_ACCESS_KEY", "tests")
            .env("OUTPLANE_STORE_SECRET_KEY", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let line = first_line(&mut store);
        let address = line.strip_prefix("listening on ").expect("it says where it listens");
        for name in ["node", "d1", "c1", "c2"] {
            let is = if name == "node" { "d1" } else { name };
            let text = format!(
                "name = \"{is}\"\n[store]\nendpoints = [\"http://{address}\"]\nbucket = \"outplane\"\naccess_key \
                 = \"tests\"\nsecret_key = \"{SECRET}\"\nattempt_timeout_ms = 2000\n[http]\nlisten = \
                 \"off\"\n[log]\nlevel = \"error\"\n[keys]\n1 = \"000102030405060708090a0b0c0d0e0f\"\n"
            );
            file(folder.path(), &format!("{name}.toml"), &text);
        }
        let mut shared = std::fs::read_to_string(root().join("examples/shared.toml")).expect("it is there");
        // Held until all are known, so that they differ.
        let sockets = [8277, 8278, 8279].map(|port| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            let free = socket.local_addr().expect("it has an address");
            shared = shared.replace(&format!("127.0.0.1:{port}"), &free.to_string());
            socket
        });
        drop(sockets);
        file(folder.path(), "shared.toml", &shared.replace("127.0.0.1:9559", switch));
        Self { folder, store, daemons: Vec::new() }
    }

    /// A command line with the paths of this lab.
    pub(crate) fn paths(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (name, shown) in [("shared.toml", "examples/shared.toml"), ("node.toml", "node.toml")] {
            let mut path = String::new();
            let _ = write!(path, "{}", self.folder.path().join(name).display());
            line = line.replace(shown, &path);
        }
        line
    }

    /// Starts a node; what it says when it is up.
    pub(crate) fn daemon(&mut self, role: &str, name: &str) -> String {
        let mut child = command([role, "--config"])
            .arg(self.folder.path().join(format!("{name}.toml")))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let line = first_line(&mut child);
        self.daemons.push(child);
        line
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("standard output is a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("it says something");
    line.trim_end().to_owned()
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.daemons.iter_mut().chain([&mut self.store]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
