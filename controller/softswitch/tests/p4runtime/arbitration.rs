//! Arbitration over streams. The rules in every combination are tested beside the arbiter.

use outplane_p4runtime::p4::v1 as proto;
use outplane_softswitch::server::{Config, PacketIo};
use outplane_softswitch::state::Limits;
use proto::set_forwarding_pipeline_config_request::Action;
use proto::stream_message_request::Update as Request;
use proto::write_request::Atomicity;
use tonic::Code;

use crate::entities::{EXACT, entry, exact};
use crate::support::{Bed, Boxed, Controller, DEVICE, EVERYTHING, code, config, election, update};

fn some_update() -> Vec<proto::Update> {
    let entity: Boxed = entry(EXACT, vec![exact(1, &[1]), exact(2, &[2])], 0).into();
    vec![update(proto::update::Type::Insert, entity.0)]
}

async fn write_code(controller: &mut Controller) -> Code {
    match controller.write_all(some_update(), Atomicity::ContinueOnError).await {
        Ok(()) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn a_higher_id_takes_over_and_its_end_leaves_no_primary() {
    let bed = Bed::start().await;
    let mut first = bed.ready(EVERYTHING).await;
    assert_eq!(write_code(&mut first).await, Code::Ok);

    let mut second = Controller::connect(&bed).await;
    let advice = second.arbitrate("", Some(2)).await.unwrap();
    assert_eq!((code(&advice), advice.election_id), (Code::Ok, Some(election(2))));
    let advice = first.advice().await.unwrap();
    assert_eq!((code(&advice), advice.election_id), (Code::AlreadyExists, Some(election(2))));
    assert_eq!(write_code(&mut first).await, Code::PermissionDenied);
    // It exists: the write was done, and refused for its own reason.
    assert_eq!(write_code(&mut second).await, Code::Unknown);

    second.hang_up();
    let advice = first.advice().await.unwrap();
    assert_eq!((code(&advice), advice.election_id), (Code::NotFound, Some(election(2))));
    assert_eq!(write_code(&mut first).await, Code::PermissionDenied);
    assert_eq!(write_code(&mut second).await, Code::PermissionDenied);
}

#[tokio::test]
async fn a_lost_connection_demotes() {
    let bed = Bed::start().await;
    let mut backup = Controller::connect(&bed).await;
    assert_eq!(code(&backup.arbitrate("", None).await.unwrap()), Code::NotFound);
    let primary = bed.primary().await;
    assert_eq!(code(&backup.advice().await.unwrap()), Code::AlreadyExists);
    drop(primary);
    assert_eq!(code(&backup.advice().await.unwrap()), Code::NotFound);
}

#[tokio::test]
async fn refusals_end_the_stream() {
    let bed = Bed::start().await;
    let mut primary = bed.primary().await;
    let arbitration = |device_id, id| {
        Request::Arbitration(proto::MasterArbitrationUpdate {
            device_id,
            election_id: Some(election(id)),
            ..Default::default()
        })
    };
    for (device_id, id, expected) in
        [(DEVICE + 1, 9, Code::NotFound), (0, 9, Code::NotFound), (DEVICE, 1, Code::InvalidArgument)]
    {
        let mut other = Controller::connect(&bed).await;
        other.send(arbitration(device_id, id)).await;
        let end = other.next().await.unwrap_err();
        assert_eq!(end.code(), expected, "{end:?}");
    }
    // The primary's own mistake costs it the role.
    primary.send(arbitration(DEVICE + 1, 1)).await;
    assert_eq!(primary.next().await.unwrap_err().code(), Code::FailedPrecondition);
    let mut next = Controller::connect(&bed).await;
    assert_eq!(code(&next.arbitrate("", Some(0)).await.unwrap()), Code::NotFound);
    assert_eq!(code(&next.arbitrate("", Some(1)).await.unwrap()), Code::Ok);
}

#[tokio::test]
async fn roles_write_for_themselves() {
    let bed = Bed::start().await;
    let mut default = bed.ready(EVERYTHING).await;
    let mut acl = Controller::connect(&bed).await;
    let advice = acl.arbitrate("acl", Some(7)).await.unwrap();
    assert_eq!((code(&advice), advice.role.unwrap().name), (Code::Ok, "acl".to_owned()));
    assert_eq!(write_code(&mut acl).await, Code::Ok);
    // An election id counts in its own role only.
    acl.election_id = Some(election(1));
    assert_eq!(write_code(&mut acl).await, Code::PermissionDenied);
    default.role = "nobody's".to_owned();
    assert_eq!(write_code(&mut default).await, Code::NotFound);
}

#[tokio::test]
async fn calls_check_device_role_id_and_pipeline_in_this_order() {
    let bed = Bed::start().await;
    let mut controller = Controller::connect(&bed).await;
    assert_eq!(write_code(&mut controller).await, Code::PermissionDenied);
    controller.arbitrate("", Some(1)).await.unwrap();
    assert_eq!(write_code(&mut controller).await, Code::FailedPrecondition);
    let mut request = controller.write_request(some_update(), Atomicity::ContinueOnError);
    request.device_id = DEVICE + 1;
    request.role = "nobody's".to_owned();
    assert_eq!(controller.client.write(request).await.unwrap_err().code(), Code::NotFound);

    controller.election_id = None;
    assert_eq!(write_code(&mut controller).await, Code::PermissionDenied);
    let refused =
        controller.set_pipeline(Action::VerifyAndCommit, Some(config(EVERYTHING))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut request = proto::SetForwardingPipelineConfigRequest { device_id: 9, ..Default::default() };
    let refused = controller.client.set_forwarding_pipeline_config(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    request.device_id = DEVICE;
    request.role = "nobody's".to_owned();
    let refused = controller.client.set_forwarding_pipeline_config(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let read = proto::ReadRequest { device_id: 9, ..Default::default() };
    assert_eq!(controller.client.read(read).await.unwrap_err().code(), Code::NotFound);
    let get = proto::GetForwardingPipelineConfigRequest { device_id: 9, ..Default::default() };
    assert_eq!(
        controller.client.get_forwarding_pipeline_config(get).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn streams_are_bounded() {
    let limits = Config { streams: 2, ..Config::new(DEVICE) };
    let bed = Bed::with(limits, Limits::default(), PacketIo::default()).await;
    let mut first = bed.primary().await;
    let mut second = Controller::connect(&bed).await;
    second.arbitrate("", None).await.unwrap();
    let client = bed.client().await;
    let refused = client.clone().stream_channel(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    first.hang_up();
    assert_eq!(code(&second.advice().await.unwrap()), Code::NotFound);
    assert_eq!(code(&Controller::on(client).arbitrate("", Some(5)).await.unwrap()), Code::Ok);
}

#[tokio::test]
async fn capabilities_tell_the_version() {
    let bed = Bed::start().await;
    let mut client = bed.client().await;
    for device_id in [0, DEVICE] {
        let request = proto::CapabilitiesRequest { device_id };
        assert_eq!(client.capabilities(request).await.unwrap().into_inner().p4runtime_api_version, "1.5.0");
    }
    let request = proto::CapabilitiesRequest { device_id: DEVICE + 1 };
    assert_eq!(client.capabilities(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_shutdown_ends_streams() {
    let bed = Bed::start().await;
    let mut primary = bed.primary().await;
    bed.handle.shutdown().await.unwrap();
    assert_eq!(primary.next().await.unwrap_err().code(), Code::Unavailable);
}
