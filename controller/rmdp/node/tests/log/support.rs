//! A store of its own, and what is appended to it.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use outplane_embedded_store::{Keys, Server, Settings as StoreSettings};
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{DesiredState, Generation, MAX_GENERATION, Object, PolicyFile};
use outplane_rmdp_core::task::{Digest, NetworkId};
use outplane_rmdp_node::Error;
use outplane_rmdp_node::generation::States;
use outplane_rmdp_node::log::{Own, append_own};
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::{Secret, Settings, Store};
use tokio::net::TcpListener;

pub(crate) const NETWORK: NetworkId = NetworkId::new(0x1abe);

pub(crate) struct Lab {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(outplane_loopback::address()).await.unwrap();
        let keys = Keys::new("tests".to_owned(), "a-secret-of-tests".to_owned()).unwrap();
        let mut settings = StoreSettings::new(folder.path().join("store"), keys);
        settings.buckets = vec!["outplane".to_owned()];
        Self { server: Server::start(listener, settings).await.unwrap(), _folder: folder }
    }

    /// As another process: it has read nothing yet.
    pub(crate) fn objects(&self) -> Objects {
        let secret = Secret::new("a-secret-of-tests".to_owned());
        let endpoints = vec![format!("http://{}", self.server.address())];
        let settings = Settings::new(endpoints, "outplane".to_owned(), "tests".to_owned(), secret);
        Objects::new(Store::new(Settings { max_object: MAX_GENERATION, ..settings }).unwrap())
    }
}

pub(crate) fn file(name: &str, text: impl Into<String>) -> PolicyFile {
    PolicyFile { name: name.to_owned(), text: text.into() }
}

/// What a compiler would say: it depends on all that is said, and numbers go on from those before.
pub(crate) fn compiled(next: Generation, author: &str) -> Generation {
    let mut said: u64 = next.inputs().map(|file| file.text.len() as u64).sum();
    let desired = (0..said % 5).map(|switch| {
        said = said.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(switch);
        let sha256 = Digest([said.to_le_bytes(); 4].concat().try_into().unwrap());
        (format!("switch {switch} \"\u{e9}\""), DesiredState { sha256, entries: 7, place: 5 })
    });
    let desired: BTreeMap<_, _> = desired.collect();
    let numbers =
        [next.numbers.as_deref().unwrap_or_default(), format!("number {said}\n").as_bytes()].concat();
    let numbers = Some(Arc::from(&numbers[numbers.len().saturating_sub(9000)..]));
    Generation { desired, numbers, author: author.to_owned(), as_of_ms: -7, ..next }
}

/// Appends what one says; the number.
pub(crate) async fn say(objects: &Objects, own: &Own, author: &str) -> Result<u64, Error> {
    let bind = |next| ready(Ok::<_, Error>((compiled(next, author), States::new())));
    let tip = append_own(objects, NETWORK, own, bind).await?;
    // What is given back is what the log holds.
    let as_read = read(objects, tip.number()).await?;
    assert_eq!(tip.generation(), Some(&Generation { at_ms: tip.generation().unwrap().at_ms, ..as_read }));
    Ok(tip.number())
}

/// What lies under `i/`, listed.
pub(crate) async fn keys(objects: &Objects) -> Vec<Key> {
    objects.list_all(&Prefix::Generations, 10_000).await.unwrap().0
}

pub(crate) async fn read(objects: &Objects, generation: u64) -> Result<Generation, Error> {
    match objects.get(&Key::Generation(generation)).await? {
        Some(Object::Generation(record)) => Ok(record),
        other => panic!("generation {generation} is there: {other:?}"),
    }
}

/// Lines that compress badly.
pub(crate) fn lines(seed: u64, count: usize) -> String {
    let mut chance = seed;
    let line = |_| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("- {{name: {chance:016x}}}\n")
    };
    (0..count).map(line).collect()
}
