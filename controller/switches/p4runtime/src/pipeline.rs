//! The P4 program of a switch.

use std::sync::LazyLock;

use outplane_compiler::program::Program;
use outplane_p4runtime::Schema;

/// A program and what the target's compiler made of it.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The program's ids.
    pub program: Program,
    /// What goes into `p4_device_config`: the BMv2 JSON, or whatever the target takes.
    pub device_config: Vec<u8>,
    /// Names both, see [`Schema::cookie`].
    pub cookie: u64,
}

static OUTPLANE: LazyLock<Pipeline> =
    LazyLock::new(|| Pipeline::new(Program::outplane().clone(), outplane_p4::BMV2_JSON.as_bytes().to_vec()));

impl Pipeline {
    /// A pipeline of a program and its device config.
    pub fn new(program: Program, device_config: Vec<u8>) -> Self {
        let cookie = program.schema().cookie(&device_config);
        Self { program, device_config, cookie }
    }

    /// outplane.p4 as it comes with this build, for v1model targets.
    pub fn outplane() -> &'static Self {
        &OUTPLANE
    }

    /// The program's P4Info, indexed.
    pub fn schema(&self) -> &Schema {
        self.program.schema()
    }
}

/// When to push the pipeline. A push empties all tables of the switch, ours and others'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Push {
    /// Not at all; a switch with another pipeline is an error.
    Never,
    /// Where the switch has none or, by the cookie, another one.
    #[default]
    IfDifferent,
    /// The same, but ask the switch to keep entries that fit the new program too (`RECONCILE_AND_COMMIT`). Not every
    /// switch can; then as above.
    Reconcile,
    /// In any case.
    Always,
}

/// What became of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The switch has it already.
    Kept,
    /// It was pushed; the switch may have kept its entries (`RECONCILE_AND_COMMIT`).
    Reconciled,
    /// It was pushed, and the switch is empty (`VERIFY_AND_COMMIT`).
    Committed,
}
