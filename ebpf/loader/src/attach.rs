//! The program on the interface, by a link that is pinned.
#![expect(unsafe_code, reason = "a system call that the library does not have")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::libc;

use crate::error::{XdpError, cause};
use crate::pins::{self, Pins};
use crate::settings::{AttachMode, Mode, Settings};

/// Attaches or, where a link of ours is pinned, takes over; gives the mode.
pub(crate) fn attach(program: &mut Xdp, settings: &Settings, pins: &Pins) -> Result<Mode, XdpError> {
    let interface = &settings.interface;
    let number = nix::net::if_::if_nametoindex(interface.as_str())
        .map_err(|_| XdpError::NoInterface(interface.clone()))?;
    for (path, mode) in pins.links() {
        let found = link_interface(&path)?;
        if found == 0 {
            // The interface that it was on is gone.
            std::fs::remove_file(&path).map_err(XdpError::call("unlink", path.display()))?;
            continue;
        }
        if found != number {
            return Err(XdpError::OtherInterface {
                path,
                interface: interface.clone(),
                expected: number,
                found,
            });
        }
        take_over(program, &path, mode, pins)?;
        return Ok(mode);
    }
    let modes: &[Mode] = match settings.mode {
        AttachMode::Auto => &[Mode::Driver, Mode::Generic],
        AttachMode::Driver => &[Mode::Driver],
        AttachMode::Generic => &[Mode::Generic],
    };
    let mut refusal = None;
    for &mode in modes {
        match fresh(program, settings, number, mode, pins) {
            Ok(()) => return Ok(mode),
            Err(XdpError::Unsupported { source, call, cure, interface }) => {
                if mode == Mode::Driver && modes.len() > 1 {
                    tracing::warn!(%interface, %source, "XDP in the driver is not possible ({cure}); trying generic");
                }
                refusal = Some(XdpError::Unsupported { source, call, cure, interface });
            }
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or_else(|| XdpError::Settings("no way to attach".to_owned())))
}

/// Replaces the program of a link; the interface is without a program at no time.
fn take_over(program: &mut Xdp, path: &Path, mode: Mode, pins: &Pins) -> Result<(), XdpError> {
    let failed = |error| program_error("bpf_link_update", path, error);
    let link = PinnedLink::from_pin(path).map_err(|error| link_error("BPF_OBJ_GET", path, error))?;
    let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| link_error("bpf_link", path, error))?;
    let id = program.attach_to_link(link).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    let ours = pins.link(mode);
    if path != ours {
        // A daemon of another ABI version had it: its maps are of no use any more.
        let link = FdLink::try_from(link).map_err(|error| link_error("bpf_link", path, error))?;
        link.pin(&ours).map_err(|error| pin_error(&ours, &error))?;
        if let Some(folder) = path.parent() {
            tracing::warn!(folder = %folder.display(), "taken over from another version: what it remembered is gone");
            pins::remove(folder)?;
        }
    }
    Ok(())
}

fn fresh(
    program: &mut Xdp,
    settings: &Settings,
    number: u32,
    mode: Mode,
    pins: &Pins,
) -> Result<(), XdpError> {
    let interface = &settings.interface;
    let flags = match mode {
        Mode::Driver => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let id = program.attach_to_if_index(number, flags).map_err(|error| refused(interface, mode, error))?;
    let link = program.take_link(id).map_err(|error| program_error("taking the link", interface, error))?;
    let path = pins.link(mode);
    let link = FdLink::try_from(link).map_err(|error| XdpError::Unsupported {
        call: "bpf_link_create",
        interface: interface.clone(),
        cure: "this kernel has no XDP links: Linux 5.15 or later is needed".to_owned(),
        source: io::Error::other(error),
    })?;
    link.pin(&path).map_err(|error| pin_error(&path, &error))?;
    Ok(())
}

/// The kernel's refusals to attach, in words.
fn refused(interface: &str, mode: Mode, error: ProgramError) -> XdpError {
    let call = "bpf_link_create (XDP)";
    let interface = interface.to_owned();
    let code = cause(&error).and_then(io::Error::raw_os_error);
    let source = code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
    match code {
        Some(libc::EBUSY | libc::EEXIST) => XdpError::OtherProgram(interface),
        Some(libc::EPERM | libc::EACCES) => XdpError::NotPermitted { call, interface, source },
        Some(libc::ERANGE) => XdpError::Unsupported {
            call,
            cure: format!(
                "its MTU is too large for XDP in {} mode: set it to at most 3498 (`ip link set dev {interface} mtu \
                 1500`)",
                mode.name()
            ),
            interface,
            source,
        },
        Some(libc::EOPNOTSUPP) => XdpError::Unsupported {
            call,
            interface,
            cure: format!("its driver has no XDP in {} mode: use mode auto or generic", mode.name()),
            source,
        },
        _ => XdpError::Unsupported {
            call,
            interface,
            cure: format!("the kernel refuses {} mode", mode.name()),
            source,
        },
    }
}

fn program_error(call: &'static str, object: impl AsRef<Path>, error: ProgramError) -> XdpError {
    let source = cause(&error).and_then(io::Error::raw_os_error).map(io::Error::from_raw_os_error);
    let source = source.unwrap_or_else(|| io::Error::other(error));
    XdpError::Call { call, object: object.as_ref().display().to_string(), source }
}

fn link_error(call: &'static str, path: &Path, error: LinkError) -> XdpError {
    let source = cause(&error).and_then(io::Error::raw_os_error).map(io::Error::from_raw_os_error);
    let source = source.unwrap_or_else(|| io::Error::other(error));
    XdpError::Call { call, object: path.display().to_string(), source }
}

fn pin_error(path: &Path, error: &(dyn std::error::Error + 'static)) -> XdpError {
    let source = cause(error).and_then(io::Error::raw_os_error).map(io::Error::from_raw_os_error);
    let source = source.unwrap_or_else(|| io::Error::other(error.to_string()));
    XdpError::Call { call: "BPF_OBJ_PIN", object: path.display().to_string(), source }
}

/// Takes the program off now: when the last pin goes the kernel does it too, but some time later.
pub(crate) fn detach(path: &Path) -> Result<(), XdpError> {
    /// What `union bpf_attr` of `linux/bpf.h` has for `BPF_LINK_DETACH`.
    #[repr(C)]
    struct Detach {
        descriptor: u32,
    }
    const LINK_DETACH: libc::c_int = 34;

    let link = open(path)?;
    let detach = Detach { descriptor: link.as_raw_fd().cast_unsigned() };
    // SAFETY: the kernel reads `detach`, which lives past the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw const detach, size_of::<Detach>()) };
    if result < 0 {
        return Err(XdpError::call("BPF_LINK_DETACH", path.display())(io::Error::last_os_error()));
    }
    Ok(())
}

/// Opens a pin.
fn open(path: &Path) -> Result<OwnedFd, XdpError> {
    /// What `union bpf_attr` has for `BPF_OBJ_GET`.
    #[repr(C)]
    struct Get {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    const OBJ_GET: libc::c_int = 7;

    let text = CString::new(path.as_os_str().as_bytes())
        .map_err(|error| XdpError::call("BPF_OBJ_GET", path.display())(error.into()))?;
    let get = Get { path: text.as_ptr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the kernel reads `get` and the path; both live past the call.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw const get, size_of::<Get>()) };
    let descriptor = i32::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(XdpError::call("BPF_OBJ_GET", path.display())(io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The number of the interface that a pinned link is on; 0 when that is gone.
fn link_interface(path: &Path) -> Result<u32, XdpError> {
    /// What `union bpf_attr` has for `BPF_OBJ_GET_INFO_BY_FD`.
    #[repr(C)]
    struct GetInfo {
        descriptor: u32,
        length: u32,
        info: u64,
    }
    /// `struct bpf_link_info` up to what an XDP link says, and some room.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        interface: u32,
        rest: [u32; 27],
    }
    const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

    let link = open(path)?;
    let mut info = Info::default();
    let mut get = GetInfo {
        descriptor: link.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<Info>()).unwrap_or(0),
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`; it and `get` live past the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw mut get, size_of::<GetInfo>()) };
    if result < 0 {
        return Err(XdpError::call("BPF_OBJ_GET_INFO_BY_FD", path.display())(io::Error::last_os_error()));
    }
    Ok(info.interface)
}
