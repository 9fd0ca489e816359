//! The program without an interface: packets go through `BPF_PROG_TEST_RUN`. For tests and benches.

use std::io;
use std::time::Duration;

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};

use crate::control::XdpControl;
use crate::error::{XdpError, cause};
use crate::kernel::{Kernel, program};
use crate::receiver::{Delivered, Ring};
use crate::settings::Settings;

/// What the program says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dropped, or taken in by the ring.
    Drop,
    /// On to the network stack.
    Pass,
    /// Something that the program never says.
    Other(u32),
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Of the last repetition.
    pub verdict: Verdict,
    /// The mean time of a repetition.
    pub duration: Duration,
}

/// The program, loaded with maps of its own, on no interface.
pub struct Program {
    ebpf: Ebpf,
    ring: Ring,
    control: XdpControl,
}

impl Program {
    /// Loads it; interface, pin folder and mode of the settings are not used.
    pub fn load(settings: &Settings) -> Result<Self, XdpError> {
        let Kernel { mut ebpf, maps, ring } = Kernel::load(settings, None)?;
        program(&mut ebpf, "bare")?
            .load()
            .map_err(|error| XdpError::load(&settings.interface, error.into()))?;
        Ok(Self { ebpf, ring: Ring(ring), control: XdpControl::new(maps, settings)? })
    }

    /// Runs it on an Ethernet frame, so often in a row. Several threads may, as several processors would.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Run, XdpError> {
        self.run_named("rmdp", frame, repeat)
    }

    /// Runs a program that only passes everything: for the bench to compare with.
    pub fn run_bare(&self, frame: &[u8], repeat: u32) -> Result<Run, XdpError> {
        self.run_named("bare", frame, repeat)
    }

    fn run_named(&self, name: &'static str, frame: &[u8], repeat: u32) -> Result<Run, XdpError> {
        let program: &Xdp = self
            .ebpf
            .program(name)
            .ok_or(XdpError::Object(name))?
            .try_into()
            .map_err(|_| XdpError::Object(name))?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = program.test_run(options).map_err(|error| {
            let code = cause(&error).and_then(io::Error::raw_os_error);
            let source = code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
            XdpError::Call { call: "BPF_PROG_TEST_RUN", object: "the XDP program".to_owned(), source }
        })?;
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            other => Verdict::Other(other),
        };
        Ok(Run { verdict, duration: result.duration })
    }

    /// What it delivered.
    pub fn try_next(&mut self) -> Option<Delivered> {
        self.ring.take()
    }

    /// Settings, counters, the change of generations.
    pub const fn control(&self) -> &XdpControl {
        &self.control
    }
}
