//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use nix::libc;

/// Why the XDP program cannot be used as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// A setting is impossible.
    #[error("{0}")]
    Settings(String),
    /// There is no such interface.
    #[error("interface {0} does not exist in this network namespace")]
    NoInterface(String),
    /// The kernel does not let us.
    #[error(
        "{interface}: {call} is not permitted: run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
         (systemd: AmbientCapabilities=)"
    )]
    NotPermitted {
        /// The call that was refused.
        call: &'static str,
        /// The interface.
        interface: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The pins would not outlive us.
    #[error(
        "{0} is not in a bpffs, which keeps the program between two starts: mount one with \
         `mount -t bpf bpf /sys/fs/bpf`, or set the pin folder to where one is mounted"
    )]
    NoBpffs(PathBuf),
    /// Somebody else's XDP program is there.
    #[error(
        "{0}: another XDP program holds this interface (`ip link show dev {0}` tells its id): end its owner, or \
         remove it with `ip link set dev {0} xdp off`"
    )]
    OtherProgram(String),
    /// Another process uses the same pins.
    #[error("{0}: another process of ours has this interface and pin folder; stop it first")]
    InUse(PathBuf),
    /// The pins are of another interface of the same name, in another network namespace.
    #[error(
        "{path} is pinned for interface number {found}, and {interface} has number {expected} here: each network \
         namespace needs a pin folder of its own"
    )]
    OtherInterface {
        /// The pinned link.
        path: PathBuf,
        /// Our interface.
        interface: String,
        /// Its number.
        expected: u32,
        /// The number in the pin.
        found: u32,
    },
    /// A pinned map is not what we would make.
    #[error(
        "{path} does not fit: {what} is {found} and should be {expected}. To keep what it remembers set it back; to \
         begin anew detach first"
    )]
    Shape {
        /// The pinned map.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the pin.
        found: u64,
        /// By the settings.
        expected: u64,
    },
    /// The interface or the kernel cannot do it.
    #[error("{interface}: {call}: {cure}")]
    Unsupported {
        /// The call that failed.
        call: &'static str,
        /// The interface.
        interface: String,
        /// What to do.
        cure: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A call on a file or a map failed.
    #[error("{call} on {object} failed")]
    Call {
        /// The call.
        call: &'static str,
        /// Which pin or map.
        object: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A map operation failed.
    #[error("{doing} failed")]
    Map {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        #[source]
        source: MapError,
    },
    /// The kernel did not take the program or a map of it.
    #[error("{interface}: the kernel does not take the XDP program: Linux 5.15 or later is needed")]
    Load {
        /// The interface.
        interface: String,
        /// What it said.
        #[source]
        source: Box<EbpfError>,
    },
    /// The compiled program lacks something: it is not of this version.
    #[error("the compiled XDP program has no {0}: rebuild it with `cargo xtask ebpf`")]
    Object(&'static str),
    /// A task of ours ended.
    #[error("the blocking part ended early: {0}")]
    Ended(String),
}

impl XdpError {
    pub(crate) fn map(doing: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map { doing, source }
    }

    pub(crate) fn call(call: &'static str, object: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let object = object.to_string();
        move |source| Self::Call { call, object, source }
    }

    /// Loading failed: told apart by the system call's answer.
    pub(crate) fn load(interface: &str, error: EbpfError) -> Self {
        if let Some(refusal) = cause(&error)
            && matches!(refusal.raw_os_error(), Some(libc::EPERM | libc::EACCES))
            && !is_verifier(&error)
        {
            let source = io::Error::from_raw_os_error(refusal.raw_os_error().unwrap_or(libc::EPERM));
            return Self::NotPermitted { call: "bpf", interface: interface.to_owned(), source };
        }
        Self::Load { interface: interface.to_owned(), source: Box::new(error) }
    }
}

/// The verifier's own refusals are EACCES and EINVAL with a log.
fn is_verifier(error: &EbpfError) -> bool {
    matches!(
        error,
        EbpfError::ProgramError(ProgramError::LoadError { verifier_log, .. }) if !verifier_log.to_string().is_empty()
    )
}

/// The system call's answer below an error.
pub(crate) fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}
