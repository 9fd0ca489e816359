//! Our program into a switch.

use outplane_p4runtime::p4::v1::ForwardingPipelineConfig;
use outplane_p4runtime::p4::v1::forwarding_pipeline_config::Cookie;
use outplane_p4runtime::p4::v1::set_forwarding_pipeline_config_request::Action;
use outplane_p4runtime_client::Problem as ClientProblem;

use crate::connection::Connection;
use crate::errors::{Error, Problem};
use crate::pipeline::{Push, Pushed};
use crate::write::WriteOptions;

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
            return Err(self.error(Problem::Client(ClientProblem::NoPipeline)));
        }
        if push == Push::Reconcile {
            match self.set_pipeline(Action::ReconcileAndCommit, options).await {
                Ok(()) => return Ok(Pushed::Reconciled),
                // Nothing advertises this action, and not every server that lacks it says UNIMPLEMENTED. But only where
                // the switch has refused it: two pushes must not run side by side.
                Err(error)
                    if matches!(*error.problem, Problem::Client(ClientProblem::PipelineRefused { .. })) => {}
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
        let deadline = options.lease.loading.within().unwrap_or(self.client.options().pipeline_deadline);
        // As late as can be: putting it together may have taken any time.
        if !options.lease.loading.may_start() {
            return Err(self.error(Problem::Client(ClientProblem::NoPipeline)));
        }
        Ok(self.client.push_as(config, action, deadline).await?)
    }
}
