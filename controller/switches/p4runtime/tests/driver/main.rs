//! The driver against servers: a fake one that can be as odd as real ones, and real ones where they are installed.

mod bmv2;
mod fake;
mod faults;
mod fence;
mod late;
mod memory;
mod packets;
mod states;
mod tls;
