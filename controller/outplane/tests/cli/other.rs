//! Another controller at the same switch, whose entries are none of ours.

use outplane_compiler::program::Program;
use outplane_compiler::state::Origin;
use outplane_p4runtime::entry::{Action, Entry, FieldMatch, Key, Match};
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::stream_message_request::Update as Request;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{
    CounterData, Entity, MasterArbitrationUpdate, ReadRequest, StreamMessageRequest, TableEntry, Uint128,
    Update, WriteRequest, entity,
};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// A controller that is connected until it is dropped.
pub(crate) struct OtherController {
    runtime: Runtime,
    client: P4RuntimeClient<Channel>,
    election_id: Uint128,
    /// Keeps the stream, and so its place as a controller.
    _requests: mpsc::Sender<StreamMessageRequest>,
}

impl OtherController {
    /// Becomes the primary with this election id.
    pub(crate) fn connect(address: &str, election_id: u128) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let [high, low] = [election_id >> 64, election_id & u128::from(u64::MAX)]
            .map(|half| u64::try_from(half).expect("64 bits"));
        let election_id = Uint128 { high, low };
        let (requests, receiver) = mpsc::channel(1);
        let client = runtime.block_on(async {
            let mut client =
                P4RuntimeClient::connect(format!("http://{address}")).await.expect("the switch is there");
            let arbitration = MasterArbitrationUpdate {
                device_id: 1,
                election_id: Some(election_id),
                ..MasterArbitrationUpdate::default()
            };
            let request = StreamMessageRequest { update: Some(Request::Arbitration(arbitration)) };
            requests.send(request).await.expect("the stream takes it");
            let mut answers = client
                .stream_channel(ReceiverStream::new(receiver))
                .await
                .expect("the stream opens")
                .into_inner();
            let answer = answers.next().await.expect("an answer").expect("no error");
            assert!(format!("{answer:?}").contains("code: 0"), "it is the primary: {answer:?}");
            // Notifications are read and ignored.
            tokio::spawn(async move { while answers.next().await.is_some() {} });
            client
        });
        Self { runtime, client, election_id, _requests: requests }
    }

    /// Adds an entry of its own to the forwarding table.
    pub(crate) fn insert_forwarding(&self, mac: u64, port: u16) {
        self.try_to_insert_forwarding(mac, port).expect("the switch takes it");
    }

    /// The same, and what the switch says.
    pub(crate) fn try_to_insert_forwarding(&self, mac: u64, port: u16) -> Result<(), tonic::Status> {
        let schema = Program::outplane().schema();
        let table = schema.table_by_name("l2_forward").expect("the table");
        let field = |name: &str, value: u128| FieldMatch {
            field: table.field_by_name(name).expect("the field").id,
            matches: Match::Exact(value),
        };
        let action = schema.action_by_name("forward").expect("the action");
        let entry = Entry {
            key: Key {
                table: table.id,
                matches: vec![field("segment", 9), field("dst_mac", mac.into())],
                priority: 0,
            },
            action: Action { id: action.id, params: vec![(action.params[0].id, port.into())] },
            metadata: Vec::new(),
        };
        self.write(Type::Insert, schema.entry_to_proto(&entry))
    }

    fn write(&self, change: Type, entry: TableEntry) -> Result<(), tonic::Status> {
        let entity = Entity { entity: Some(entity::Entity::TableEntry(entry)) };
        let request = WriteRequest {
            device_id: 1,
            election_id: Some(self.election_id),
            updates: vec![Update { r#type: change.into(), entity: Some(entity) }],
            ..WriteRequest::default()
        };
        self.runtime.block_on(self.client.clone().write(request)).map(drop)
    }

    /// All entries of a table.
    fn entries(&self, table: &str) -> Vec<TableEntry> {
        let table_id = Program::outplane().schema().table_by_name(table).expect("the table").id;
        let entity = entity::Entity::TableEntry(TableEntry { table_id, ..TableEntry::default() });
        let request = ReadRequest {
            device_id: 1,
            entities: vec![Entity { entity: Some(entity) }],
            ..ReadRequest::default()
        };
        self.runtime.block_on(async {
            let mut parts = self.client.clone().read(request).await.expect("the switch answers").into_inner();
            let mut found = Vec::new();
            while let Some(part) = parts.next().await {
                let entities = part.expect("no error").entities.into_iter();
                found.extend(entities.filter_map(|entity| match entity.entity {
                    Some(entity::Entity::TableEntry(entry)) => Some(entry),
                    _ => None,
                }));
            }
            found
        })
    }

    /// Makes an entry of a rule say that it has counted so many packets of 100 bytes.
    pub(crate) fn count(&self, rule: &str, packets: i64) {
        let is_ours =
            |entry: &TableEntry| Origin::decode(&entry.metadata).is_some_and(|origin| origin.rule == rule);
        let entry = self.entries("filter_admin").into_iter().find(is_ours).expect("the rule has an entry");
        let counter_data = Some(CounterData { packet_count: packets, byte_count: packets * 100 });
        self.write(Type::Modify, TableEntry { counter_data, ..entry }).expect("the switch takes it");
    }

    /// Entries of the forwarding table without our mark.
    pub(crate) fn forwarding_of_others(&self) -> usize {
        self.entries("l2_forward").iter().filter(|entry| entry.metadata.is_empty()).count()
    }
}
