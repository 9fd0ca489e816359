//! What the targets for P4Runtime messages share: a soft switch with outplane.p4 in it, and a client of its server.

use std::cell::RefCell;
use std::sync::LazyLock;

use outplane_p4runtime::Schema;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::{ForwardingPipelineConfig, StreamMessageRequest};
use outplane_softswitch::server::{self, PacketIo};
use outplane_softswitch::state::{Limits, Shared};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

/// Inputs that one state serves: enough to find what needs several messages, few enough to replay.
const INPUTS: usize = 256;

static CONFIG: LazyLock<ForwardingPipelineConfig> = LazyLock::new(|| ForwardingPipelineConfig {
    p4info: Some(Schema::from_text(outplane_p4::P4INFO).expect("our own P4Info").p4info().clone()),
    p4_device_config: Vec::new(),
    cookie: None,
});

thread_local! {
    static STATE: RefCell<(usize, Shared)> = RefCell::new((0, switch()));
}

fn switch() -> Shared {
    let shared = Shared::new(Limits::default());
    let pipeline = shared.verify(CONFIG.clone()).expect("our own P4Info");
    shared.commit(pipeline);
    shared
}

/// Runs with a switch that outplane.p4 has been pushed to, and that some inputs have seen before.
pub fn with_switch(run: impl FnOnce(&Shared)) {
    STATE.with_borrow_mut(|(inputs, state)| {
        if *inputs == INPUTS {
            *state = switch();
            *inputs = 0;
        }
        *inputs += 1;
        run(state);
    });
}

/// A server on loopback and a channel to it, for the whole run.
static SERVER: LazyLock<(Runtime, Channel, server::Handle)> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let (channel, handle) = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let handle =
            server::serve(listener, server::Config::new(1), switch(), PacketIo::default()).expect("a server");
        let address = format!("http://{}", handle.address());
        let channel =
            Channel::from_shared(address).expect("an address").connect().await.expect("a connection");
        (channel, handle)
    });
    (runtime, channel, handle)
});

/// Says all messages on a stream of their own, and takes the answers until the server has no more.
pub fn converse(messages: Vec<StreamMessageRequest>) {
    let (runtime, channel, _) = &*SERVER;
    runtime.block_on(async {
        let mut client = P4RuntimeClient::new(channel.clone());
        // An error status is an answer; that the server still lives shows in the next stream.
        if let Ok(answers) = client.stream_channel(tokio_stream::iter(messages)).await {
            let mut answers = answers.into_inner();
            while let Ok(Some(_)) = answers.message().await {}
        }
        let capabilities = outplane_p4runtime::p4::v1::CapabilitiesRequest::default();
        client.capabilities(capabilities).await.expect("the server lives");
    });
}
