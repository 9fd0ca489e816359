//! What a daemon tells systemd: that it is ready, what it is at, that it lives, that it stops (`sd_notify(3)`).
//!
//! Where nobody listens (no `NOTIFY_SOCKET`) every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells the service manager.
#[derive(Debug)]
pub struct Notifier {
    watchdog: Option<Duration>,
    last_alive: Option<Duration>,
    status: String,
    send: fn(&[NotifyState<'_>]) -> std::io::Result<()>,
    complained: bool,
}

impl Notifier {
    /// Looks at the environment that systemd gives.
    pub fn from_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled(), sd_notify::notify)
    }

    fn new(watchdog: Option<Duration>, send: fn(&[NotifyState<'_>]) -> std::io::Result<()>) -> Self {
        Self { watchdog, last_alive: None, status: String::new(), send, complained: false }
    }

    /// Start-up is over: the daemon does its work.
    pub fn ready(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// What it is at, for `systemctl status`; told only when it has changed.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.tell(&[NotifyState::Status(&one_line(status))]);
        }
    }

    /// It stops, and finishes what is under way first.
    pub fn stopping(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
    }

    /// The main loop goes round. `now` is any monotonic time, such as `clock::now`. Call it as often as you like, and at
    /// least three times in the watchdog's interval: it is told twice in one.
    pub fn alive(&mut self, now: Duration) {
        let Some(interval) = self.watchdog else { return };
        if self.last_alive.is_none_or(|last| now.saturating_sub(last) >= interval / 2) {
            self.last_alive = Some(now);
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// How long the service manager waits for a sign of life, if it does.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    fn tell(&mut self, state: &[NotifyState<'_>]) {
        if let Err(error) = (self.send)(state)
            && !self.complained
        {
            tracing::warn!(%error, "cannot tell the service manager how we are");
            self.complained = true;
        }
    }
}

/// The protocol has one assignment a line.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands in for a call that may fail")]
    fn note(state: &[NotifyState<'_>]) -> std::io::Result<()> {
        TOLD.with_borrow_mut(|told| told.extend(state.iter().map(ToString::to_string)));
        Ok(())
    }

    #[test]
    fn what_is_told_and_when() {
        let mut notifier = Notifier::new(Some(Duration::from_secs(10)), note);
        notifier.ready("working\nhard");
        notifier.status("working\nhard");
        notifier.status("3 tasks");
        (0..=10).for_each(|second| notifier.alive(Duration::from_secs(100 + second)));
        notifier.stopping("draining");
        let expected = [
            "READY=1",
            "STATUS=working hard",
            "STATUS=3 tasks",
            "WATCHDOG=1",
            "WATCHDOG=1",
            "WATCHDOG=1",
            "STOPPING=1",
            "STATUS=draining",
        ];
        assert_eq!(TOLD.with_borrow_mut(std::mem::take), expected);

        let mut without = Notifier::new(None, note);
        without.alive(Duration::from_secs(1));
        assert!(TOLD.with_borrow_mut(std::mem::take).is_empty());
    }

    /// Over a real socket, in a process of its own since it needs its environment.
    #[test]
    fn a_socket_gets_it() {
        if std::env::var_os("NOTIFY_SOCKET").is_some() && std::env::var_os("OUTPLANE_TEST_NOTIFY").is_some() {
            let mut notifier = Notifier::from_environment();
            assert_eq!(notifier.watchdog(), Some(Duration::from_secs(2)));
            notifier.ready("up");
            notifier.alive(Duration::from_secs(1));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "notify::tests::a_socket_gets_it"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "2000000")
            .env_remove("WATCHDOG_PID")
            .env("OUTPLANE_TEST_NOTIFY", "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let mut buffer = [0; 256];
        let mut receive = || {
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(receive(), "READY=1\nSTATUS=up\n");
        assert_eq!(receive(), "WATCHDOG=1\n");
    }
}
