//! A shell that a page's commands run in, one after the other, as they stand there: in an empty folder with the examples
//! in it, and in a network of its own, so that the ports of the page are free and nothing gets out.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::support::{folder, root};

/// For a command that ends, and for lines of one that does not.
const PATIENCE: Duration = Duration::from_mins(2);

/// Ends with this, and everything that was started in it.
pub(super) struct Shell {
    child: Child,
    stdin: ChildStdin,
    /// What it says: a step's number, and what its command ended with.
    said: Receiver<String>,
    folder: tempfile::TempDir,
    steps: usize,
}

/// What a command has printed, standard error and output as a terminal would show them, and what it ended with.
pub(super) struct Printed {
    pub(super) lines: Vec<String>,
    pub(super) code: i32,
}

impl Shell {
    /// None where namespaces cannot be made; says why.
    pub(super) fn start() -> Result<Self, String> {
        let folder = folder();
        let (work, bin) = (folder.path().join("work"), folder.path().join("bin"));
        for path in [&work, &bin, &folder.path().join("steps")] {
            fs::create_dir(path).expect("a folder");
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_outplane"), bin.join("outplane")).expect("a link");
        for name in ["examples", "packaging"] {
            let from = root().join(name);
            let copied = Command::new("cp").arg("-r").arg(&from).arg(&work).status().expect("cp starts");
            assert!(copied.success(), "{} can be copied", from.display());
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["bash", "--noprofile", "--norc", "-s"])
            .current_dir(&work)
            .env_clear()
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", bin.display()))
            .env("HOME", folder.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("unshare cannot be run: {error}"))?;
        let stdin = child.stdin.take().expect("standard input is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let (sender, said) = mpsc::channel();
        // Ends with the shell.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut shell = Self { child, stdin, said, folder, steps: 0 };
        // `ip netns` keeps its names in /run.
        let prepared = shell.run("ip link set lo up && mount -t tmpfs tmpfs /run").map_err(|why| {
            let mut told = String::new();
            let stderr = shell.child.stderr.take();
            let _ = shell.child.kill();
            if let Some(stderr) = stderr {
                told = BufReader::new(stderr).lines().map_while(Result::ok).collect::<Vec<_>>().join("; ");
            }
            format!("no namespaces: {told} {why}")
        })?;
        if prepared.code != 0 {
            return Err(format!("no namespaces: {}", prepared.lines.join("; ")));
        }
        let lab = include_str!("lab.sh");
        assert_eq!(shell.run(lab)?.code, 0, "lab.sh is read");
        Ok(shell)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join(format!("steps/{}.log", self.steps))
    }

    fn step(&mut self, command: &str) -> String {
        self.steps += 1;
        let script = self.folder.path().join(format!("steps/{}.sh", self.steps));
        fs::write(&script, command).expect("a script");
        format!("</dev/null >{} 2>&1", self.log().display())
    }

    fn say(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.stdin, "{line}").map_err(|error| format!("the shell has ended: {error}"))
    }

    fn lines(&self) -> Vec<String> {
        let printed = fs::read(self.log()).unwrap_or_default();
        // The shell tells of what was killed when it comes to it.
        let steps = self.folder.path().join("steps").display().to_string();
        let notice = |line: &&str| {
            line.starts_with(&steps) && ["Killed", "Terminated"].iter().any(|word| line.contains(word))
        };
        let printed = String::from_utf8_lossy(&printed);
        printed.lines().filter(|line| !notice(line)).map(ToOwned::to_owned).collect()
    }

    /// Waits for what a step ends with.
    fn ended(&mut self) -> Result<Printed, String> {
        loop {
            let said = self.said.recv_timeout(PATIENCE).map_err(|_| {
                format!("it has not ended after {} s:\n{}", PATIENCE.as_secs(), self.lines().join("\n"))
            })?;
            if let Some((step, code)) = said.split_once(' ')
                && step == self.steps.to_string()
            {
                let code = code.parse().map_err(|_| format!("it ended with `{code}`"))?;
                return Ok(Printed { lines: self.lines(), code });
            }
        }
    }

    /// Runs it to its end; what it starts in the background goes on.
    pub(super) fn run(&mut self, command: &str) -> Result<Printed, String> {
        let redirected = self.step(command);
        let script = format!("{}/steps/{}.sh", self.folder.path().display(), self.steps);
        self.say(&format!(". {script} {redirected}; echo \"{} $?\"", self.steps))?;
        self.ended()
    }

    /// Runs one that goes on, until it has printed what is waited for.
    pub(super) fn run_until(
        &mut self,
        command: &str,
        seen: impl Fn(&[String]) -> bool,
    ) -> Result<Printed, String> {
        let printed = self.run(command)?;
        self.wait(seen)?;
        Ok(Printed { lines: self.lines(), ..printed })
    }

    /// The same of one in the foreground, which is then interrupted.
    pub(super) fn run_and_interrupt(
        &mut self,
        command: &str,
        seen: impl Fn(&[String]) -> bool,
    ) -> Result<Printed, String> {
        let redirected = self.step(command);
        self.say(&format!("(exec {command}) {redirected} & last=$!"))?;
        let waited = self.wait(seen);
        self.say(&format!("kill -INT $last; wait $last; echo \"{} $?\"", self.steps))?;
        let printed = self.ended()?;
        waited.map(|()| printed)
    }

    fn wait(&self, seen: impl Fn(&[String]) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !seen(&self.lines()) {
            if start.elapsed() > PATIENCE {
                return Err(format!(
                    "in {} s it has printed:\n{}",
                    PATIENCE.as_secs(),
                    self.lines().join("\n")
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
