//! The P4 program of a switch: which one it has, and ours into it.

use std::sync::LazyLock;

use outplane_compiler::program::Program;
use outplane_p4runtime::Schema;
use outplane_p4runtime::p4::v1::ForwardingPipelineConfig;
use outplane_p4runtime::p4::v1::forwarding_pipeline_config::Cookie;
use outplane_p4runtime::p4::v1::set_forwarding_pipeline_config_request::Action;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::errors::{Error, Problem};
use crate::write::WriteOptions;

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

impl Connection {
    /// The cookie of the switch's pipeline; none where it has no pipeline, or one without a cookie, or does not tell.
    pub async fn cookie(&self) -> Result<Option<u64>, Error> {
        Ok(self.client.cookie().await?)
    }

    /// Makes sure that the switch runs our pipeline.
    pub async fn ensure_pipeline(&self, push: Push) -> Result<Pushed, Error> {
        let is_ours = push != Push::Always && self.cookie().await? == Some(self.pipeline.cookie);
        if is_ours {
            return Ok(Pushed::Kept);
        }
        self.push_pipeline(push, WriteOptions::default()).await
    }

    /// Pushes our pipeline into a switch that has another one, or is to get it in any case.
    pub(crate) async fn push_pipeline(&self, push: Push, options: WriteOptions<'_>) -> Result<Pushed, Error> {
        if push == Push::Never {
            return Err(self.error(Problem::NoPipeline));
        }
        if push == Push::Reconcile {
            match self.set_pipeline(Action::ReconcileAndCommit, options).await {
                Ok(()) => return Ok(Pushed::Reconciled),
                // Nothing advertises this action, and not every server that lacks it says UNIMPLEMENTED. But only where
                // the switch has refused it: two pushes must not run side by side.
                Err(error) if matches!(*error.problem, Problem::PipelineRefused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.set_pipeline(Action::VerifyAndCommit, options).await?;
        Ok(Pushed::Committed)
    }

    async fn set_pipeline(&self, action: Action, options: WriteOptions<'_>) -> Result<(), Error> {
        self.client.check_primacy()?;
        let config = ForwardingPipelineConfig {
            p4info: Some(self.pipeline.schema().p4info().clone()),
            p4_device_config: self.pipeline.device_config.clone(),
            cookie: Some(Cookie { cookie: self.pipeline.cookie }),
        };
        let deadline = options.push.map_or(self.client.options().pipeline_deadline, |(_, within)| within);
        // As late as can be: putting it together may have taken any time.
        if options.push.is_some_and(|(before, _)| Instant::now() >= before) {
            return Err(self.error(Problem::NoPipeline));
        }
        Ok(self.client.push_as(config, action, deadline).await?)
    }
}
