//! A lab: store, switches, nodes. Everything ends with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outplane_compiler::plan;
use outplane_driver_p4runtime::{Connection, Options, Pipeline, Target};
use outplane_embedded_store::{Keys, Server, Settings as StoreSettings};
use outplane_rmdp_core::config::Role;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{
    Claim, Decision, Generation, Network, NodeStatus, Object, Outcome, PolicyFile, StoredConfig,
};
use outplane_rmdp_core::task::{Event, NetworkId, TransactionId};
use outplane_rmdp_node::Error;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::daemon::{self, Setup, Up};
use outplane_rmdp_node::file::NodeFile;
use outplane_rmdp_node::generation::{Compiled, bound, compiled};
use outplane_rmdp_node::log::{Logged, Tasks, append};
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const ACCESS: &str = "tests";
const SECRET: &str = "a-secret-of-tests";

/// What a shared configuration says beside members and switches: quick, so that tests are, but with leases that do on
/// a machine that is busy with other things.
pub(crate) const QUICK: &str = "
[datagrams]
groups = []
[heartbeat]
interval_ms = 50
[claims]
lease_base_ms = 2400
lease_max_ms = 5000
budget_ms = 900
push_ms = 1000
watch_ms = 300
[attempts]
max = 4
backoff_ms = 50
backoff_max_ms = 200
[queue]
poll_ms = 200
";

pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) sender: u32,
    pub(crate) role: Role,
    pub(crate) address: SocketAddr,
}

/// A store, and who may use it.
#[derive(Clone)]
pub(crate) struct StoreAccess {
    pub(crate) endpoints: Vec<String>,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    /// Ours, unless the store is somebody else's.
    server: Option<Server>,
    pub(crate) access: StoreAccess,
    pub(crate) objects: Objects,
    pub(crate) members: Vec<Member>,
    pub(crate) switches: BTreeMap<String, Switch>,
    /// What follows members and switches in the shared configuration.
    pub(crate) tail: String,
}

/// A running node. Dropping it kills it.
pub(crate) struct Node {
    pub(crate) up: Up,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Node {
    /// Ends it in good order.
    pub(crate) async fn drain(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.task).await.expect("it drains").unwrap().unwrap();
    }

    /// As SIGKILL does.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lab {
    /// A store, switches of these names, and so many distributors (d1, ..) and controllers (c1, ..) in the
    /// configuration; none of them runs yet.
    pub(crate) async fn new(switches: &[&str], distributors: usize, controllers: usize) -> Self {
        Self::with(switches, distributors, controllers, QUICK).await
    }

    pub(crate) async fn with(switches: &[&str], distributors: usize, controllers: usize, tail: &str) -> Self {
        // For whoever looks why a test fails: OUTPLANE_LOG=debug.
        let filter = tracing_subscriber::EnvFilter::builder().with_env_var("OUTPLANE_LOG").from_env_lossy();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(outplane_loopback::address()).await.unwrap();
        let server = Server::start(listener, Self::store_settings(folder.path())).await.unwrap();
        let access = StoreAccess {
            endpoints: vec![format!("http://{}", server.address())],
            access_key: ACCESS.to_owned(),
            secret_key: SECRET.to_owned(),
        };
        let lab = Self::over(access, folder, switches, distributors, controllers, tail).await;
        Self { server: Some(server), ..lab }
    }

    /// Over a store that runs already.
    pub(crate) async fn over(
        access: StoreAccess,
        folder: tempfile::TempDir,
        switches: &[&str],
        distributors: usize,
        controllers: usize,
        tail: &str,
    ) -> Self {
        let names = ["1", "2", "3", "4"];
        let member = |prefix: &str, place: usize, role, first: u32| Member {
            name: Box::leak(format!("{prefix}{}", names[place]).into_boxed_str()),
            sender: first + u32::try_from(place).unwrap(),
            role,
            address: outplane_loopback::address(),
        };
        let mut members: Vec<Member> =
            (0..distributors).map(|place| member("d", place, Role::Distributor, 1)).collect();
        members.extend((0..controllers).map(|place| member("c", place, Role::Controller, 11)));
        let mut running = BTreeMap::new();
        for name in switches {
            running.insert((*name).to_owned(), start_switch(&outplane_loopback::address().to_string()).await);
        }
        let client = daemon::store_settings(&node_file("d1", &access, folder.path(), &[1]).store);
        let objects = Objects::new(Store::new(client).unwrap());
        objects.store().ensure_bucket().await.unwrap();
        let lab =
            Self { folder, server: None, access, objects, members, switches: running, tail: tail.to_owned() };
        let network = Network { network: NETWORK, by: "tests".to_owned(), at_ms: 0 };
        lab.objects.create(&Key::Network, &mut Object::Network(network)).await.unwrap();
        lab.set_config(&lab.config()).await;
        lab
    }

    fn store_settings(folder: &Path) -> StoreSettings {
        let keys = Keys::new(ACCESS.to_owned(), SECRET.to_owned()).unwrap();
        let mut settings = StoreSettings::new(folder.join("store"), keys);
        settings.buckets = vec!["outplane".to_owned()];
        settings
    }

    /// The store goes away.
    pub(crate) async fn stop_store(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await.unwrap();
        }
    }

    /// It is another one at the same address all of a sudden, which is empty.
    pub(crate) async fn empty_store(&mut self) {
        self.stop_store().await;
        std::fs::remove_dir_all(self.folder.path().join("store")).unwrap();
        self.start_store().await;
    }

    /// It is back, with what it had.
    pub(crate) async fn start_store(&mut self) {
        let address = self.access.endpoints[0].trim_start_matches("http://");
        let listener = timeout(PATIENCE, async {
            loop {
                // Connections of the one before may still hold it.
                if let Ok(listener) = TcpListener::bind(address).await {
                    return listener;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let settings = Self::store_settings(self.folder.path());
        self.server = Some(Server::start(listener.await.unwrap(), settings).await.unwrap());
    }

    /// The shared configuration.
    pub(crate) fn config(&self) -> String {
        let mut text = String::new();
        for Member { name, sender, role, address } in &self.members {
            let role = match role {
                Role::Distributor => "distributor",
                Role::Controller => "controller",
            };
            let _ = writeln!(
                text,
                "[[member]]\nname = \"{name}\"\nsender = {sender}\nrole = \"{role}\"\naddress = \"{address}\""
            );
        }
        text.push_str(&self.tail);
        for (name, switch) in &self.switches {
            let _ = writeln!(text, "[switch.{name}]\naddress = \"{}\"", switch.server().address());
        }
        text
    }

    /// The file of a node.
    pub(crate) fn file(&self, name: &str) -> NodeFile {
        node_file(name, &self.access, self.folder.path(), &[1])
    }

    /// The same, with another secret under a key id: this byte.
    pub(crate) fn file_with_secret(&self, name: &str, key: u16, byte: &str) -> NodeFile {
        let text = node_text(name, &self.access, &[]) + &format!("{key} = \"{}\"\n", byte.repeat(16));
        NodeFile::parse(&text, &self.folder.path().join("node.toml"), &|_| None).unwrap().file
    }

    /// Appends a version of the shared configuration.
    pub(crate) async fn set_config(&self, toml: &str) -> u64 {
        let make = |version| {
            Object::Config(StoredConfig { version, toml: toml.to_owned(), author: "tests".into(), at_ms: 0 })
        };
        Chain::Configs.append(&self.objects, make).await.unwrap()
    }

    pub(crate) async fn start(&self, name: &str) -> Node {
        self.start_with_keys(name, &[1]).await
    }

    pub(crate) async fn start_with_keys(&self, name: &str, keys: &[u16]) -> Node {
        self.start_with_file(name, node_file(name, &self.access, self.folder.path(), keys)).await
    }

    /// One that serves its pages, see [`Up::http`].
    pub(crate) async fn start_with_pages(&self, name: &str) -> Node {
        let http = Some("127.0.0.1:0".parse().unwrap());
        self.start_with_file(name, NodeFile { http, ..self.file(name) }).await
    }

    pub(crate) async fn start_with_file(&self, name: &str, file: NodeFile) -> Node {
        let member = self.members.iter().find(|member| member.name == name).unwrap();
        let setup = Setup { file, tls: self.folder.path().to_owned(), role: member.role };
        let (stop, (tell, told)) = (CancellationToken::new(), oneshot::channel());
        let run = daemon::run(setup, stop.clone(), move |up: &Up| {
            let _ = tell.send(up.clone());
        });
        let task = tokio::spawn(run);
        // It ends without a word only with an error.
        let Ok(up) = timeout(PATIENCE, told).await.expect("it comes up") else {
            panic!("{name} did not come up: {:?}", task.await)
        };
        Node { up, stop, task }
    }

    /// Starts all members.
    pub(crate) async fn start_all(&self) -> BTreeMap<&'static str, Node> {
        let mut nodes = BTreeMap::new();
        for member in &self.members {
            nodes.insert(member.name, self.start(member.name).await);
        }
        nodes
    }

    /// Appends a generation, which all switches are to hold: `rules` of them.
    pub(crate) async fn apply(&self, rules: usize) -> u64 {
        self.append(policy(self.switches.keys(), rules)).await
    }

    /// What `policy` would want as the next generation.
    pub(crate) async fn wanted(&self, rules: usize) -> Compiled {
        let numbers = Logged::newest_numbers(&self.objects, NETWORK).await.unwrap();
        let files = policy(self.switches.keys(), rules);
        compiled(&bound(Generation { numbers, ..record(0, files) }).unwrap()).unwrap()
    }

    /// Appends a generation as `outplane apply --anyway` does: with a task for each switch.
    pub(crate) async fn append(&self, files: Vec<PolicyFile>) -> u64 {
        self.append_as(files, Tasks::All).await
    }

    /// Appends a generation as `outplane apply` does.
    pub(crate) async fn append_as(&self, files: Vec<PolicyFile>, tasks: Tasks) -> u64 {
        let record = record(0, files);
        let states = compiled(&record).unwrap().states;
        append(&self.objects, &record, None, states, tasks).await.unwrap().number()
    }

    /// Appends a generation of a network, `rules` of them, and waits until all switches hold it.
    pub(crate) async fn apply_in(&self, network: NetworkId, rules: usize) -> u64 {
        let record = Generation { network, ..record(0, policy(self.switches.keys(), rules)) };
        let states = compiled(&record).unwrap().states;
        let generation = append(&self.objects, &record, None, states, Tasks::All).await.unwrap().number();
        for switch in self.switches.keys() {
            let id = Event::generation(network, generation, switch).id().unwrap();
            match self.object(&Key::Decision(id), Duration::from_millis(20)).await {
                Some(Object::Decision(Decision { outcome: Outcome::Done { .. }, .. })) => {}
                other => panic!("generation {generation} on {switch}: {other:?}"),
            }
        }
        self.assert_holds(generation).await;
        generation
    }

    /// How the task of a generation for a switch ended.
    pub(crate) async fn decision(&self, generation: u64, switch: &str) -> Decision {
        let id = id(generation, switch);
        match self.object(&Key::Decision(id), Duration::from_millis(5)).await {
            Some(Object::Decision(decision)) => decision,
            other => panic!("no decision of generation {generation} for {switch}: {other:?}"),
        }
    }

    /// The object at a key, once there is one that can be read; looked for this often. None if it takes too long.
    pub(crate) async fn object(&self, key: &Key, every: Duration) -> Option<Object> {
        let found = timeout(PATIENCE, async {
            loop {
                if let Ok(Some(object)) = self.objects.get(key).await {
                    return object;
                }
                sleep(every).await;
            }
        });
        found.await.ok()
    }

    /// Waits until a generation is done on all switches, and makes sure that they hold it.
    pub(crate) async fn converged(&self, generation: u64) -> BTreeMap<String, Decision> {
        let mut decisions = BTreeMap::new();
        for switch in self.switches.keys() {
            let decision = self.decision(generation, switch).await;
            assert!(matches!(decision.outcome, Outcome::Done { .. }), "{decision:?}");
            decisions.insert(switch.clone(), decision);
        }
        self.assert_holds(generation).await;
        decisions
    }

    /// Makes sure that every switch holds what a generation says, and nothing else.
    pub(crate) async fn assert_holds(&self, generation: u64) {
        if let Some(differs) = self.difference(&self.compiled(generation).await).await {
            panic!("generation {generation}: {differs}");
        }
    }

    /// Whether every switch holds what a generation says, and nothing else.
    pub(crate) async fn holds(&self, generation: u64) -> bool {
        self.holds_as_compiled(&self.compiled(generation).await).await
    }

    pub(crate) async fn holds_as_compiled(&self, compiled: &Compiled) -> bool {
        self.difference(compiled).await.is_none()
    }

    /// What a generation of the log wants.
    pub(crate) async fn compiled(&self, generation: u64) -> Compiled {
        let Some(Object::Generation(record)) = self.objects.get(&Key::Generation(generation)).await.unwrap()
        else {
            panic!("generation {generation} is there")
        };
        compiled(&record).unwrap()
    }

    /// What a switch holds else.
    async fn difference(&self, compiled: &Compiled) -> Option<String> {
        for task in &compiled.tasks {
            let switch = &self.switches[task.switch()];
            let outplane_rmdp_core::task::Work::Converge { desired, .. } = task.work() else {
                panic!("{task:?}")
            };
            let desired = &compiled.states[desired];
            let target = Target {
                name: task.switch().to_owned(),
                address: switch.server().address().to_string(),
                device_id: 1,
                role: None,
                tls: None,
            };
            let pipeline = std::sync::Arc::new(Pipeline::outplane().clone());
            let connection = Connection::open_read_only(target, pipeline, Options::default()).await.unwrap();
            let read = match connection.read_installed(desired, false).await {
                Ok(read) => read,
                Err(error) => return Some(error.to_string()),
            };
            let plan = plan::plan(&Pipeline::outplane().program, &read.installed, desired).unwrap();
            if !plan.is_empty() {
                return Some(format!("{}: {plan:?}", task.switch()));
            }
        }
        None
    }

    /// The claim of an attempt, once there is one.
    pub(crate) async fn claim(&self, generation: u64, switch: &str, attempt: u32) -> Claim {
        let key = Key::Claim(id(generation, switch), attempt);
        match self.object(&key, Duration::from_millis(2)).await {
            Some(Object::Claim(claim)) => claim,
            other => panic!("no claim {key}: {other:?}"),
        }
    }
}

/// Whether a node has told of something wrong, whether it still is or not.
pub(crate) fn told_of(status: &NodeStatus, words: &str) -> bool {
    let past = status.past.iter().map(|past| &past.text);
    status.alerts.iter().chain(past).any(|alert| alert.contains(words))
}

/// The labs' network.
pub(crate) const NETWORK: NetworkId = NetworkId::new(0x1abe);

pub(crate) fn id(generation: u64, switch: &str) -> TransactionId {
    Event::generation(NETWORK, generation, switch).id().unwrap()
}

pub(crate) async fn start_switch(address: &str) -> Switch {
    let listener = TcpListener::bind(address).await.unwrap();
    let config =
        SwitchConfig { listener, server: Config::new(1), ports: Vec::new(), limits: Limits::default() };
    Switch::start(config).unwrap()
}

/// A record of the log that says what it compiles to.
pub(crate) fn record(generation: u64, files: Vec<PolicyFile>) -> Generation {
    let (network, desired, author) = (NETWORK, BTreeMap::new(), "tests".to_owned());
    let (sources, numbers, since) = (BTreeMap::new(), None, BTreeMap::new());
    let (as_of_ms, at_ms) = (0, 0);
    let record =
        Generation { network, generation, files, sources, numbers, desired, since, as_of_ms, author, at_ms };
    if record.files.is_empty() { record } else { bound(record).unwrap() }
}

/// Switches without addresses of use, and a policy of so many rules for all of them.
pub(crate) fn policy<'s>(switches: impl Iterator<Item = &'s String>, rules: usize) -> Vec<PolicyFile> {
    let mut text = String::new();
    for name in switches {
        let _ = writeln!(
            text,
            "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: {name}}}\nspec: {{address: \
             '{name}.invalid:1', ports: [1, 2]}}\n---"
        );
    }
    text.push_str(
        "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: edge}\nspec:\n  default: deny\n  rules:\n",
    );
    for rule in 0..rules {
        let _ = writeln!(
            text,
            "  - {{name: r{rule}, action: allow, to: [{{cidr: 10.{}.{}.0/24}}], ports: [{{protocol: TCP, port: {}}}]}}",
            rule / 250,
            rule % 250,
            1000 + rule % 40
        );
    }
    vec![PolicyFile { name: "policy.yaml".to_owned(), text }]
}

fn node_file(name: &str, access: &StoreAccess, folder: &Path, keys: &[u16]) -> NodeFile {
    let path: PathBuf = folder.join("node.toml");
    NodeFile::parse(&node_text(name, access, keys), &path, &|_| None).unwrap().file
}

fn node_text(name: &str, access: &StoreAccess, keys: &[u16]) -> String {
    let StoreAccess { endpoints, access_key, secret_key } = access;
    let mut text = format!(
        "name = \"{name}\"\n[store]\nendpoints = {endpoints:?}\nbucket = \"outplane\"\naccess_key = \
         \"{access_key}\"\nsecret_key = \"{secret_key}\"\nattempt_timeout_ms = 500\n[network]\nxdp = \"off\"\n[http]\nlisten = \
         \"off\"\n[keys]\n"
    );
    for key in keys {
        let _ = writeln!(text, "{key} = \"{}\"", format!("{key:02x}").repeat(16));
    }
    text
}
