//! XDP for RMDP: verifies each datagram, hands the first copy of each task to the daemon, drops the rest.
//!
//! ```text
//!   frame ─► ours? ─► well formed? ─► network, sender, key? ─► tag right? ─► replay? ─► seen task? ─► ring record
//!              │ no        │ no              │ no              │ no          │ yes       │ yes         │ none: pass
//!              ▼           ▼                 ▼                 ▼             ▼           ▼             ▼
//!             pass      drop, and a counter for each reason                                       reserve, mark,
//!                                                                                                submit; drop
//! ```
//!
//! Whatever is not RMDP to a configured destination passes untouched. Nothing is marked as seen before the ring has
//! room for it, so a full ring costs a datagram (which passes to the stack) and never a task.
#![no_std]
#![no_main]
// One instruction that does nothing: see `packet::fresh`.
#![feature(asm_experimental_arch)]

#[expect(dead_code, reason = "shared with the loader")]
mod abi;
mod count;
mod deliver;
mod maps;
mod packet;
mod verify;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::packet::Parsed;

/// The program.
#[xdp]
pub fn rmdp(context: XdpContext) -> u32 {
    let end = match packet::parse(&context) {
        Parsed::Foreign => return XDP_PASS,
        Parsed::Bad(end) => end,
        Parsed::Datagram(datagram) => deliver::datagram(&context, &datagram),
    };
    end.count(&context)
}

/// What a frame costs before anybody looks at it, for the bench to compare with.
#[xdp]
pub fn bare(_: XdpContext) -> u32 {
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
