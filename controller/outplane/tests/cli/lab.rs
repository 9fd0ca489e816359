//! A store, and the nodes of examples/shared.toml, as processes.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use nix::unistd::Pid;

use crate::support::{command, file, folder, root};

const SECRET: &str = "a-secret-of-tests";

/// Ends with this.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    store: Child,
    /// Where the store listens.
    address: String,
    daemons: Vec<Child>,
}

impl Lab {
    /// A store, files for the nodes, and a shared configuration with free ports; no node runs yet.
    pub(crate) fn start(switch: &str) -> Self {
        let folder = folder();
        let (store, address) = store(&outplane_loopback::address().to_string(), &folder.path().join("store"));
        for name in ["node", "d1", "c1", "c2"] {
            let is = if name == "node" { "d1" } else { name };
            let text = node_file(is, &format!("http://{address}"), "tests", SECRET);
            file(folder.path(), &format!("{name}.toml"), &text);
        }
        file(folder.path(), "shared.toml", &shared(switch));
        Self { folder, store, address, daemons: Vec::new() }
    }

    /// Nobody listens any more where the store was.
    pub(crate) fn end_store(&mut self) {
        let _ = self.store.kill();
        let _ = self.store.wait();
    }

    /// The store ends, and another one takes its address, with what is in this folder of the lab's.
    pub(crate) fn replace_store(&mut self, folder: &str) {
        self.end_store();
        (self.store, _) = store(&self.address, &self.folder.path().join(folder));
    }

    /// A path in the lab's folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("the path is UTF-8").to_owned()
    }

    /// Writes a file into the lab's folder; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        file(self.folder.path(), name, text)
    }

    /// Starts a node that serves its pages; where.
    pub(crate) fn daemon_with_pages(&mut self, role: &str, name: &str) -> String {
        let path = self.path(&format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).expect("it is there");
        let path = self.file(&format!("{name}-pages.toml"), &text.replace("\"off\"", "\"127.0.0.1:0\""));
        let mut child = command([role, "--output", "json", "--config", &path])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let line = first_line(&mut child);
        self.daemons.push(child);
        let up: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        up["http"].as_str().expect("it serves pages").to_owned()
    }

    /// The process of the node that was started last.
    pub(crate) fn newest_daemon(&self) -> Pid {
        pid(self.daemons.last().expect("one was started"))
    }

    /// The store's process.
    pub(crate) fn store_process(&self) -> Pid {
        pid(&self.store)
    }

    /// All nodes end at once.
    pub(crate) fn kill_daemons(&mut self) {
        for child in &mut self.daemons {
            let _ = child.kill();
            let _ = child.wait();
        }
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

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process's number"))
}

/// A node's own file.
pub(crate) fn node_file(name: &str, endpoint: &str, access: &str, secret: &str) -> String {
    format!(
        "name = \"{name}\"\n[store]\nendpoints = [\"{endpoint}\"]\nbucket = \"outplane\"\naccess_key = \"{access}\"\nsecret_key \
         = \"{secret}\"\nattempt_timeout_ms = 2000\n[http]\nlisten = \"off\"\n[log]\nlevel = \"error\"\n[keys]\n1 = \
         \"000102030405060708090a0b0c0d0e0f\"\n"
    )
}

/// examples/shared.toml with free ports, and a switch at this address.
pub(crate) fn shared(switch: &str) -> String {
    let mut shared = std::fs::read_to_string(root().join("examples/shared.toml")).expect("it is there");
    for port in [8277, 8278, 8279] {
        shared = shared.replace(&format!("127.0.0.1:{port}"), &outplane_loopback::address().to_string());
    }
    shared.replace("127.0.0.1:9559", switch)
}

fn store(listen: &str, folder: &Path) -> (Child, String) {
    // Connections of the one before may hold its address for a moment.
    for _ in 0..100 {
        let mut store = command(["store", "--listen", listen, "--bucket", "outplane", "--dir"])
            .arg(folder)
            .env("OUTPLANE_STORE_ACCESS_KEY", "tests")
            .env("OUTPLANE_STORE_SECRET_KEY", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let line = first_line(&mut store);
        if let Some(address) = line.strip_prefix("listening on ") {
            return (store, address.to_owned());
        }
        let _ = store.wait();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the store does not start at {listen}");
}

pub(crate) fn first_line(child: &mut Child) -> String {
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
