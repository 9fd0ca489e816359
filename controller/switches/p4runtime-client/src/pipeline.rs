//! The P4 program of a switch: which one it has, and another into it.

use std::time::Duration;

use outplane_p4runtime::Schema;
use outplane_p4runtime::p4::v1::forwarding_pipeline_config::Cookie;
use outplane_p4runtime::p4::v1::get_forwarding_pipeline_config_request::ResponseType;
use outplane_p4runtime::p4::v1::set_forwarding_pipeline_config_request::Action;
use outplane_p4runtime::p4::v1::{
    ForwardingPipelineConfig, GetForwardingPipelineConfigRequest, SetForwardingPipelineConfigRequest,
};
use tonic::{Code, Status};

use crate::arbitration::to_wire;
use crate::connection::{Connection, within};
use crate::errors::{Error, Problem};
use crate::status::{broken, timed_out};

/// The call of a push, as [`Problem::Deadline`] names it.
pub const PUSH: &str = "SetForwardingPipelineConfig";

const GET: &str = "GetForwardingPipelineConfig";

/// Largest P4Info from a switch, encoded.
const MAX_P4INFO: usize = 32 << 20;

impl Connection {
    /// The cookie of the switch's pipeline; none where it has no pipeline, or one without a cookie, or does not tell.
    pub async fn cookie(&self) -> Result<Option<u64>, Error> {
        self.cookie_within(self.options.call_deadline).await
    }

    /// The same, with a deadline of its own.
    pub async fn cookie_within(&self, deadline: Duration) -> Result<Option<u64>, Error> {
        match self.get(ResponseType::CookieOnly, deadline).await {
            Ok(config) => Ok(config.and_then(|config| config.cookie).map(|cookie| cookie.cookie)),
            Err(status) => match status.code() {
                // There is no such device: it has no pipeline that could be planned for.
                Code::NotFound if status.message().to_ascii_lowercase().contains("device") => {
                    Err(self.call_error(GET, deadline, &status))
                }
                // How servers say that there is no pipeline, or no such question.
                Code::FailedPrecondition | Code::NotFound | Code::Unimplemented => Ok(None),
                _ => Err(self.call_error(GET, deadline, &status)),
            },
        }
    }

    /// The P4Info of the program that the switch runs.
    ///
    /// # Errors
    /// [`Problem::NoPipeline`] where it runs none, [`Problem::Schema`] where its P4Info is none.
    pub async fn schema(&self) -> Result<Schema, Error> {
        let deadline = self.options.read_deadline;
        let config = match self.get(ResponseType::P4infoAndCookie, deadline).await {
            Ok(config) => config,
            Err(status) if status.code() == Code::FailedPrecondition => None,
            Err(status) => return Err(self.call_error(GET, deadline, &status)),
        };
        let Some(p4info) = config.and_then(|config| config.p4info) else {
            return Err(self.error(Problem::NoPipeline));
        };
        Schema::from_p4info(&p4info).map_err(|error| self.error(error))
    }

    async fn get(
        &self,
        response_type: ResponseType,
        deadline: Duration,
    ) -> Result<Option<ForwardingPipelineConfig>, Status> {
        let request = GetForwardingPipelineConfigRequest {
            device_id: self.target.device_id,
            response_type: response_type.into(),
        };
        let mut client = self.client.clone();
        if response_type != ResponseType::CookieOnly {
            client = client.max_decoding_message_size(MAX_P4INFO);
        }
        Ok(within(deadline, client.get_forwarding_pipeline_config(request)).await?.config)
    }

    /// Pushes a program and what the target's compiler made of it, with [`Schema::cookie`] as the cookie. All tables of
    /// the switch are empty afterwards.
    ///
    /// # Errors
    /// [`Problem::PipelineRefused`], [`Problem::PrimacyLost`], and what [`Problem`] says of calls.
    pub async fn push(&self, schema: &Schema, device_config: Vec<u8>) -> Result<(), Error> {
        let cookie = Some(Cookie { cookie: schema.cookie(&device_config) });
        let p4info = Some(schema.p4info().clone());
        let config = ForwardingPipelineConfig { p4info, p4_device_config: device_config, cookie };
        self.push_as(config, Action::VerifyAndCommit, self.options.pipeline_deadline).await
    }

    /// The same, with all that can be chosen.
    pub async fn push_as(
        &self,
        config: ForwardingPipelineConfig,
        action: Action,
        deadline: Duration,
    ) -> Result<(), Error> {
        self.check_primacy()?;
        let stream = self.controller()?;
        let request = SetForwardingPipelineConfigRequest {
            device_id: self.target.device_id,
            role: self.role(),
            election_id: Some(to_wire(stream.election_id)),
            action: action.into(),
            config: Some(config),
            ..SetForwardingPipelineConfigRequest::default()
        };
        let mut client = self.client.clone();
        let push = async move { client.set_forwarding_pipeline_config(request).await };
        let answer = self.shared.under_way.call(deadline, push).await;
        tracing::info!(switch = self.target.name, ?action, accepted = answer.is_ok(), "pipeline push");
        let Err(status) = answer else { return Ok(()) };
        if timed_out(&status) || broken(&status) {
            return Err(self.call_error(PUSH, deadline, &status));
        }
        Err(self.error(match status.code() {
            Code::PermissionDenied => stream.denied(),
            code => Problem::PipelineRefused { code, message: status.message().to_owned() },
        }))
    }
}
