//! Network namespaces by name, through `ip netns`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

/// All our namespaces are called `op<pid>-<name>`: the pid tells whether their owner still lives.
pub(crate) const PREFIX: &str = "op";

/// A network namespace that is deleted with its owner.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace `op<pid>-<name>` with its loopback up.
    pub fn new(name: &str) -> Result<Self> {
        let namespace = Self { name: format!("{PREFIX}{}-{name}", std::process::id()) };
        ip(&["netns", "add", &namespace.name])?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// Runs something on a thread that is inside, and waits for it: sockets that it opens are the namespace's.
    pub fn inside<R: Send>(&self, run: impl FnOnce() -> R + Send) -> Result<R> {
        let path = Path::new("/run/netns").join(&self.name);
        let file = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter the namespace {}", self.name))?;
                Ok(run())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a sysctl of the namespace: `net.ipv6.conf.all.disable_ipv6=1`.
    pub fn sysctl(&self, setting: &str) -> Result<()> {
        run("ip", &["netns", "exec", &self.name, "sysctl", "-qw", setting])
    }

    /// A command that will run inside and that dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program.as_ref());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next lab sweeps what is left.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// Why no lab can be made here, if so: for tests that then say SKIPPED.
pub fn why_not() -> Option<String> {
    match Command::new("id").arg("-u").output() {
        Ok(output) if output.stdout.trim_ascii() == b"0" => {}
        _ => return Some("network namespaces need root".to_owned()),
    }
    for (tool, package) in [("ip", "iproute2"), ("ethtool", "ethtool"), ("setpriv", "util-linux")] {
        if Command::new(tool).arg("--version").output().is_err() {
            return Some(format!("`{tool}` is not installed (Debian package {package})"));
        }
    }
    None
}

/// Deletes namespaces of owners that are gone, with the processes in them.
pub(crate) fn sweep() -> Result<()> {
    let output = Command::new("ip").args(["netns", "list"]).output().context("cannot run `ip netns list`")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(name) = line.split_whitespace().next() else { continue };
        let Some(owner) = owner(name) else { continue };
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        let pids = Command::new("ip").args(["netns", "pids", name]).output()?;
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        ip(&["netns", "delete", name])?;
    }
    Ok(())
}

/// The process that a name of ours names.
pub(crate) fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Runs `ip` and says what it said if it fails.
pub(crate) fn ip(args: &[&str]) -> Result<()> {
    run("ip", args)
}

/// Runs a program to its end and says what it said if it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!("`{program} {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_our_namespaces_have_an_owner() {
        assert_eq!(owner("op123-switch"), Some(123));
        for other in ["op-switch", "opera-1", "blue", "op12", "op1x-h1"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
