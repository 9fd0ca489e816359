//! A Ceph of one node with RADOS gateways: a real S3 store whose conditional writes are honest.
//!
//! ```text
//!   S3 client ──► radosgw 0 ─┐
//!             └─► radosgw 1 ─┴─► ceph-osd (objects in memory) ◄── ceph-mon (who is who)
//! ```
//!
//! Everything listens on loopback at free ports, or in a namespace with the gateways where the caller wants them; keeps
//! its files in one temporary folder; and ends with the [`Ceph`], or with the process that made it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::netns::Namespace;
use crate::process::{Process, Starter};

/// Folders are called `outplane-ceph-<pid>-..`: the pid tells whether their owner still lives.
const PREFIX: &str = "outplane-ceph-";
/// For one step of the start; a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(90);
const ACCESS_KEY: &str = "OUTPLANETESTBED";
const SECRET_KEY: &str = "a-secret-of-the-test-bed-alone";

/// A running store.
#[derive(Debug)]
pub struct Ceph {
    // Dropped in this order: programs first, their folder last.
    gateways: Vec<Gateway>,
    osd: Process,
    mon: Process,
    starter: Starter,
    place: Place,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Gateway {
    listen: SocketAddr,
    process: Option<Process>,
}

impl Ceph {
    /// Starts a store and that many gateways on loopback, waits until they serve, and makes a user. Takes 15 s or so.
    pub fn start(gateways: usize) -> Result<Self> {
        let listen: Vec<SocketAddr> =
            (0..gateways).map(|_| (Ipv4Addr::LOCALHOST, outplane_loopback::port()).into()).collect();
        Self::start_at(None, &listen)
    }

    /// The same inside a namespace, whose loopback is up, with a gateway at each of these addresses of it.
    pub fn start_in(namespace: &Namespace, listen: &[SocketAddr]) -> Result<Self> {
        Self::start_at(Some(namespace.name().to_owned()), listen)
    }

    fn start_at(namespace: Option<String>, listen: &[SocketAddr]) -> Result<Self> {
        sweep();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let starter = Starter::new();
        let place = Place { folder: folder.path().to_owned(), namespace };
        let mon = place.monitor(&starter)?;
        let osd = place.osd(&starter)?;
        place.user()?;
        let gateways = listen.iter().map(|listen| Gateway { listen: *listen, process: None }).collect();
        let mut ceph = Self { gateways, osd, mon, starter, place, _folder: folder };
        for index in 0..listen.len() {
            ceph.restart_gateway(index)?;
        }
        Ok(ceph)
    }

    /// Why none can be started here, if so: for tests that then say SKIPPED.
    pub fn why_not() -> Option<String> {
        let needed = [
            ("ceph", "ceph-common"),
            ("ceph-authtool", "ceph-common"),
            ("ceph-mon", "ceph-mon"),
            ("ceph-osd", "ceph-osd"),
            ("monmaptool", "ceph-base"),
            ("radosgw", "radosgw"),
            ("radosgw-admin", "radosgw"),
            ("setpriv", "util-linux"),
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let present = |tool: &str| std::env::split_paths(&path).any(|folder| folder.join(tool).exists());
        needed
            .iter()
            .find(|(tool, _)| !present(tool))
            .map(|(tool, package)| format!("`{tool}` is not installed (Debian package {package})"))
    }

    /// `http://<address>:<port>` of each gateway.
    pub fn endpoints(&self) -> Vec<String> {
        self.gateways.iter().map(|gateway| format!("http://{}", gateway.listen)).collect()
    }

    /// The user's access key.
    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    /// The user's secret key.
    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    /// Makes another user of the gateways, who may do nothing before a bucket's policy says so.
    pub fn add_user(&self, uid: &str, access_key: &str, secret_key: &str) -> Result<()> {
        self.place.add_user(uid, access_key, secret_key)
    }

    /// Kills a gateway with SIGKILL; its requests break off.
    pub fn kill_gateway(&mut self, index: usize) -> Result<()> {
        self.gateway(index)?.process = None;
        Ok(())
    }

    /// Starts a gateway at its old address, killing it first where it runs, and waits until it serves.
    pub fn restart_gateway(&mut self, index: usize) -> Result<()> {
        self.kill_gateway(index)?;
        let listen = self.gateway(index)?.listen;
        let process = self.place.gateway(&self.starter, index, listen)?;
        self.gateway(index)?.process = Some(process);
        Ok(())
    }

    /// Stops a gateway with SIGSTOP: connections stay, answers don't come.
    pub fn stop_gateway(&mut self, index: usize) -> Result<()> {
        signal(Signal::SIGSTOP, self.gateway(index)?.process.as_ref())
    }

    /// Lets a stopped gateway go on.
    pub fn cont_gateway(&mut self, index: usize) -> Result<()> {
        signal(Signal::SIGCONT, self.gateway(index)?.process.as_ref())
    }

    /// Stops the whole store with SIGSTOP.
    pub fn stop(&self) -> Result<()> {
        signal(Signal::SIGSTOP, self.processes())
    }

    /// Lets the whole store go on.
    pub fn cont(&self) -> Result<()> {
        signal(Signal::SIGCONT, self.processes())
    }

    /// The last lines of what each program said.
    pub fn tails(&self, lines: usize) -> String {
        let mut text = String::new();
        let mut files: Vec<_> =
            std::fs::read_dir(&self.place.folder).into_iter().flatten().flatten().collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        for file in files {
            let path = file.path();
            if !path.extension().is_some_and(|extension| extension == "log" || extension == "out") {
                continue;
            }
            let Ok(said) = std::fs::read(&path) else { continue };
            let said = String::from_utf8_lossy(&said);
            let all: Vec<_> = said.lines().collect();
            let shown = &all[all.len().saturating_sub(lines)..];
            let name = file.file_name();
            let _ = writeln!(text, "--- {}, the last {} of {} lines", name.display(), shown.len(), all.len());
            let _ = writeln!(text, "{}", shown.join("\n"));
        }
        text
    }

    /// Which of its programs have ended, and what the monitor thinks of the others.
    pub fn state(&mut self) -> String {
        let mut ended = Vec::new();
        let gateways = self.gateways.iter_mut().filter_map(|gateway| gateway.process.as_mut());
        for (name, process) in gateways
            .map(|process| ("radosgw", process))
            .chain([("ceph-osd", &mut self.osd), ("ceph-mon", &mut self.mon)])
        {
            match process.status() {
                Ok(Some(status)) => ended.push(format!("{name} has ended: {status}")),
                Ok(None) => {}
                Err(error) => ended.push(format!("{name}: {error:#}")),
            }
        }
        let conf = self.place.text("ceph.conf");
        let health = self.place.run("ceph", &["-c", &conf, "--connect-timeout", "10", "health", "detail"]);
        let health = health.unwrap_or_else(|error| format!("{error:#}"));
        ended.push(health.split_whitespace().collect::<Vec<_>>().join(" "));
        ended.join("; ")
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        let gateways = self.gateways.iter().filter_map(|gateway| gateway.process.as_ref());
        gateways.chain([&self.osd, &self.mon])
    }

    fn gateway(&mut self, index: usize) -> Result<&mut Gateway> {
        let count = self.gateways.len();
        self.gateways.get_mut(index).with_context(|| format!("there is no gateway {index}, only {count}"))
    }
}

fn signal<'a>(signal: Signal, processes: impl IntoIterator<Item = &'a Process>) -> Result<()> {
    processes.into_iter().try_for_each(|process| process.signal(signal))
}

/// Where everything lies and runs.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    namespace: Option<String>,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Configuration and keys, then the monitor.
    fn monitor(&self, starter: &Starter) -> Result<Process> {
        let id = uuid()?;
        let address = format!("v1:127.0.0.1:{}", outplane_loopback::port());
        File::create(self.path("ceph.conf"))?.write_all(self.configuration(&id, &address).as_bytes())?;
        let keyring = self.text("keyring");
        let users: [(&str, &[&str]); 4] = [
            ("mon.", &["mon", "allow *"]),
            ("client.admin", &["mon", "allow *", "osd", "allow *"]),
            ("osd.0", &["mon", "allow profile osd", "osd", "allow *"]),
            ("client.rgw", &["mon", "allow rw", "osd", "allow rwx"]),
        ];
        for (index, (user, caps)) in users.iter().enumerate() {
            let mut args = vec![keyring.as_str(), "--gen-key", "-n", user];
            if index == 0 {
                args.push("--create-keyring");
            }
            for cap in caps.chunks(2) {
                args.extend(["--cap", cap[0], cap[1]]);
            }
            self.run("ceph-authtool", &args)?;
        }
        let map = self.text("monmap");
        self.run("monmaptool", &["--create", "--fsid", &id, "--addv", "a", &address, &map])?;
        let conf = self.text("ceph.conf");
        self.run("ceph-mon", &["-c", &conf, "--mkfs", "-i", "a", "--monmap", &map, "--keyring", &keyring])?;
        starter.start("ceph-mon", self.daemon("ceph-mon", "mon", &["-i", "a", "-f"])?)
    }

    fn osd(&self, starter: &Starter) -> Result<Process> {
        let (id, conf) = (uuid()?, self.text("ceph.conf"));
        std::fs::create_dir(self.path("osd"))?;
        self.ceph(&["osd", "new", &id, "0"])?;
        self.run("ceph-osd", &["-c", &conf, "-i", "0", "--mkfs", "--osd-uuid", &id])?;
        let osd = starter.start("ceph-osd", self.daemon("ceph-osd", "osd", &["-i", "0", "-f"])?)?;
        wait("the OSD to be up", || Ok(self.ceph(&["osd", "stat"])?.contains("1 up")))
            .with_context(|| self.log("osd"))?;
        Ok(osd)
    }

    /// The first program that talks as a gateway makes the gateways' pools as well.
    fn user(&self) -> Result<()> {
        self.add_user("outplane", ACCESS_KEY, SECRET_KEY)
    }

    fn add_user(&self, uid: &str, access_key: &str, secret_key: &str) -> Result<()> {
        let conf = self.text("ceph.conf");
        let keys = ["--access-key", access_key, "--secret-key", secret_key];
        let create = ["-c", &conf, "-n", "client.rgw", "user", "create", "--uid", uid, "--display-name", "o"];
        self.run("radosgw-admin", &[&create[..], &keys[..]].concat()).map(|_| ())
    }

    fn gateway(&self, starter: &Starter, index: usize, listen: SocketAddr) -> Result<Process> {
        let name = format!("rgw{index}");
        // Without it every GET waits 40 ms for the client's delayed acknowledgement.
        let (frontend, log) =
            (format!("beast endpoint={listen} tcp_nodelay=1"), self.text(&format!("{name}.log")));
        let args = ["-n", "client.rgw", "-f", "--rgw-frontends", &frontend, "--log-file", &log];
        let data = ["--admin-socket", "", "--rgw-data", &self.text(&name)];
        let command = self.daemon("radosgw", &name, &[&args[..], &data[..]].concat())?;
        let mut process = starter.start(&name, command)?;
        let connect = format!("exec 3<>/dev/tcp/{}/{}", listen.ip(), listen.port());
        wait("a gateway to serve", || {
            ensure!(!process.ended()?, "the gateway has ended");
            let mut connect = self.inside("bash", &["-c", &connect]);
            Ok(connect.stderr(Stdio::null()).status()?.success())
        })
        .with_context(|| self.log(&name))?;
        Ok(process)
    }

    /// A daemon that dies with the thread that starts it; what it says goes to `<log>.out`.
    fn daemon(&self, program: &str, log: &str, args: &[&str]) -> Result<Command> {
        let conf = self.text("ceph.conf");
        let mut command = self.inside("setpriv", &["--pdeathsig", "KILL", "--", program, "-c", &conf]);
        command.args(args).stdin(Stdio::null()).stderr(File::create(self.path(&format!("{log}.out")))?);
        Ok(command)
    }

    /// Runs a command of the cluster's administrator, and returns what it printed.
    fn ceph(&self, args: &[&str]) -> Result<String> {
        let conf = self.text("ceph.conf");
        self.run("ceph", &[&["-c", &conf, "--connect-timeout", "90"], args].concat())
    }

    /// Runs a program to its end, and returns what it printed.
    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output =
            self.inside(program, args).output().with_context(|| format!("cannot run `{program}`"))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{program} {}`: {}", args.join(" "), error.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn inside(&self, program: &str, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
        };
        command.args(args);
        command
    }

    fn log(&self, name: &str) -> String {
        format!(
            "{name} said: {}",
            std::fs::read_to_string(self.path(&format!("{name}.out"))).unwrap_or_default()
        )
    }

    fn configuration(&self, id: &str, monitor: &str) -> String {
        let mut text = String::from("[global]\n");
        let settings = [
            ("fsid", id.to_owned()),
            ("mon host", monitor.to_owned()),
            ("mon initial members", "a".to_owned()),
            ("auth cluster required", "cephx".to_owned()),
            ("auth service required", "cephx".to_owned()),
            ("auth client required", "cephx".to_owned()),
            ("public addr", "127.0.0.1".to_owned()),
            ("cluster addr", "127.0.0.1".to_owned()),
            // One copy on one disk is all that there is.
            ("osd pool default size", "1".to_owned()),
            ("osd pool default min size", "1".to_owned()),
            ("mon allow pool size one", "true".to_owned()),
            ("osd crush chooseleaf type", "0".to_owned()),
            ("osd objectstore", "memstore".to_owned()),
            ("memstore device bytes", (1_u64 << 30).to_string()),
            // Small: a dozen pools share the one OSD.
            ("osd pool default pg num", "8".to_owned()),
            ("osd pool default pgp num", "8".to_owned()),
            ("osd pool default pg autoscale mode", "off".to_owned()),
            ("rgw thread pool size", "64".to_owned()),
            ("run dir", self.folder.display().to_string()),
            ("admin socket", self.text("$name.asok")),
            ("log file", self.text("$name.log")),
            ("keyring", self.text("keyring")),
            // Its read leases (0.8 of this) outlive every pause of a test: a placement group whose lease has run out may wait
            // for ever to be readable again (tracker.ceph.com 80404), which is no fault of ours to find.
            ("osd heartbeat grace", "600".to_owned()),
            // It ends where a twentieth of the disk is left, however much that is.
            ("mon data avail crit", "1".to_owned()),
            ("mon data", self.text("mon-data")),
            ("osd data", self.text("osd")),
            ("pid file", String::new()),
            ("setuser", String::new()),
            ("setgroup", String::new()),
        ];
        for (key, value) in settings {
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }
}

fn wait(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done()? {
        ensure!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A random one, from the kernel.
fn uuid() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make a UUID")?;
    Ok(text.trim().to_owned())
}

/// Deletes folders of owners that are gone; their programs went with them.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')?.0.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            // Another test may sweep at the same time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
