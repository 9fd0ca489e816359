//! Reads generations: what lies under a number at once, and a part when somebody asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{
    Generation, GenerationParts, MAX_PARTS, Object, ObjectError, Part, PolicyFile, StoredPart, limit,
};
use outplane_rmdp_core::task::{Digest, NetworkId};
use tokio::task::JoinSet;

use super::content::{self, Content, Contents};
use super::{delta, pack};
use crate::chain::Chain;
use crate::error::Error;
use crate::objects::Objects;

/// What to do about a generation that cannot be put together.
const CURE: &str =
    "apply the policies again (`outplane apply --anyway`): what is appended next rests on nothing before it";

/// A generation, of which parts are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Logged {
    objects: Objects,
    of: Of,
}

#[derive(Clone, Debug)]
enum Of {
    /// Of the older schema.
    Whole(Box<Generation>),
    Parts {
        parts: GenerationParts,
        before: Before,
    },
}

/// The generations that one may rest on, once they were asked for; those that cannot be read, in words.
type Before = Option<BTreeMap<u64, Result<Object, String>>>;

impl Logged {
    /// The generation of this number. One request, if it is not asked for more.
    ///
    /// # Errors
    /// The store's, or that it cannot be read.
    pub async fn read(objects: &Objects, generation: u64) -> Result<Option<Self>, Error> {
        let found = objects.stored(&Key::Generation(generation)).await?;
        Ok(found.and_then(|object| Self::of(objects, object)))
    }

    fn of(objects: &Objects, object: Object) -> Option<Self> {
        let of = match object {
            Object::Generation(record) => Of::Whole(Box::new(record)),
            Object::Parts(parts) => Of::Parts { parts, before: None },
            _ => return None,
        };
        Some(Self { objects: objects.clone(), of })
    }

    /// The numbers of the newest generation of a network, if it has some: what the next one is compiled after.
    ///
    /// # Errors
    /// The store's. Numbers that cannot be read are none, with a warning.
    pub async fn newest_numbers(objects: &Objects, network: NetworkId) -> Result<Option<Arc<[u8]>>, Error> {
        let Some(newest) = Chain::Generations.newest(objects, 0).await? else { return Ok(None) };
        let found = match Self::read(objects, newest).await {
            Ok(Some(mut logged)) if logged.network() == network => logged.numbers().await,
            Ok(_) => return Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Err(Error::Object(error)) => {
                tracing::warn!(%error, "everything is numbered anew");
                Ok(None)
            }
            found => found,
        }
    }

    /// Whose intent it is.
    pub fn network(&self) -> NetworkId {
        match &self.of {
            Of::Whole(record) => record.network,
            Of::Parts { parts, .. } => parts.network,
        }
    }

    /// The first generation that it needs.
    pub(super) fn base(&self) -> u64 {
        match &self.of {
            Of::Whole(record) => record.generation,
            Of::Parts { parts, .. } => parts.base,
        }
    }

    /// What each switch should hold by it, and whose and which it is; its files and numbers are left out.
    ///
    /// # Errors
    /// The store's; [`ObjectError::Incomplete`].
    pub async fn desired(mut self) -> Result<Generation, Error> {
        if let Of::Whole(record) = self.of {
            return Ok(Generation { files: Vec::new(), sources: BTreeMap::new(), ..*record });
        }
        let mut record = self.head();
        self.put(&mut record, &Part::Desired).await?;
        Ok(record)
    }

    /// What the compiler had numbered; None: it numbers from scratch.
    ///
    /// # Errors
    /// As [`Self::desired`].
    pub async fn numbers(&mut self) -> Result<Option<Arc<[u8]>>, Error> {
        let mut record = self.head();
        self.put(&mut record, &Part::Numbers).await?;
        Ok(record.numbers)
    }

    /// The files of one who appends: `Part::Apply` or `Part::Live`. None: it has said nothing.
    ///
    /// # Errors
    /// As [`Self::desired`].
    pub async fn files(&mut self, part: &Part) -> Result<Option<Vec<PolicyFile>>, Error> {
        let mut record = match &self.of {
            Of::Whole(record) => (**record).clone(),
            Of::Parts { .. } => self.head(),
        };
        self.put(&mut record, part).await?;
        Ok(match part {
            Part::Apply => Some(record.files).filter(|files| !files.is_empty()),
            Part::Live(source) => record.sources.remove(source),
            Part::Desired | Part::Numbers => None,
        })
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Self::desired`].
    pub async fn record(self) -> Result<Generation, Error> {
        Ok(self.whole().await?.0)
    }

    /// All of it, and its parts as they are stored.
    pub(super) async fn whole(mut self) -> Result<(Generation, Contents), Error> {
        let parts = match self.of {
            Of::Whole(record) => {
                let work = move || (content::contents(&record), record);
                let (contents, record) = blocking(work).await?;
                return Ok((*record, contents));
            }
            Of::Parts { ref parts, .. } => parts.parts.keys().cloned().collect::<Vec<_>>(),
        };
        let (mut record, mut contents) = (self.head(), Contents::new());
        for part in parts {
            let Some(content) = self.content(&part).await? else { continue };
            record = said(record, &part, content.bytes.clone()).await?;
            contents.insert(part, content);
        }
        Ok((record, contents))
    }

    /// Without any part.
    fn head(&self) -> Generation {
        match &self.of {
            Of::Whole(record) => Generation {
                files: Vec::new(),
                sources: BTreeMap::new(),
                desired: BTreeMap::new(),
                since: BTreeMap::new(),
                numbers: None,
                author: record.author.clone(),
                ..**record
            },
            Of::Parts { parts, .. } => Generation {
                network: parts.network,
                generation: parts.generation,
                files: Vec::new(),
                sources: BTreeMap::new(),
                numbers: None,
                desired: BTreeMap::new(),
                since: BTreeMap::new(),
                as_of_ms: parts.as_of_ms,
                author: parts.author.clone(),
                at_ms: parts.at_ms,
            },
        }
    }

    async fn put(&mut self, record: &mut Generation, part: &Part) -> Result<(), Error> {
        if let Some(content) = self.content(part).await? {
            *record = said(record.clone(), part, content.bytes).await?;
        }
        Ok(())
    }

    /// The content of a part, if there is such a part.
    async fn content(&mut self, part: &Part) -> Result<Option<Content>, Error> {
        let Of::Parts { parts, before } = &mut self.of else { return Ok(None) };
        let Some(stored) = parts.parts.get(part) else { return Ok(None) };
        let (sha256, _) = stored.content();
        if let Some(bytes) = self.objects.log().get(sha256) {
            return Ok(Some(Content { sha256, bytes }));
        }
        let known = match stored {
            StoredPart::Delta { on, .. } => self.objects.log().get(*on),
            _ => None,
        };
        if stored.rests() && known.is_none() && before.is_none() {
            *before = Some(generations(&self.objects, parts.base..parts.generation).await?);
        }
        let (key, of) = (Key::Generation(parts.generation), part.clone());
        let made = match way(&self.objects, parts, part, before, known).await? {
            Ok(way) => blocking(move || way.go(&of)).await?,
            Err(why) => Err(why),
        };
        let content = made.map_err(|why| incomplete(&key, part, &why))?;
        self.objects.log().put(content.clone());
        Ok(Some(content))
    }
}

/// The record with a part of these bytes.
async fn said(mut record: Generation, part: &Part, bytes: Bytes) -> Result<Generation, Error> {
    let (key, of) = (Key::Generation(record.generation), part.clone());
    let put = blocking(move || content::put(&mut record, &of, &bytes).map(|()| record));
    put.await?.map_err(|why| incomplete(&key, part, &why))
}

/// The generation that parts are of, put together.
pub(crate) async fn record(objects: &Objects, parts: GenerationParts) -> Result<Generation, Error> {
    Logged { objects: objects.clone(), of: Of::Parts { parts, before: None } }.record().await
}

/// Does what takes long apart from asynchronous code.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    // Only a panic ends it early; its own message has told.
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Ended("the reading of a generation"))
}

fn incomplete(key: &Key, part: &Part, why: &str) -> Error {
    ObjectError::Incomplete { key: key.clone(), reason: format!("its part {part}: {why}; {CURE}") }.into()
}

/// What lies under these numbers, all asked for at once. Only the first may be of the older schema, and large.
async fn generations(
    objects: &Objects,
    numbers: std::ops::Range<u64>,
) -> Result<BTreeMap<u64, Result<Object, String>>, Error> {
    let mut asked = JoinSet::new();
    for number in numbers.clone() {
        let (objects, key) = (objects.clone(), Key::Generation(number));
        let most = if number == numbers.start { limit(&key) } else { MAX_PARTS };
        asked.spawn(async move { (number, objects.stored_within(&key, most).await) });
    }
    let mut found = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        // Only a panic ends one early; its own message has told.
        let (number, answer) = answer.map_err(|_| Error::Ended("a request to the store"))?;
        let object = match answer {
            Ok(Some(object)) => Ok(object),
            Ok(None) => Err(format!("{}, which it rests on, is not there", Key::Generation(number))),
            Err(Error::Object(error)) => Err(format!("it rests on what cannot be read: {error}")),
            Err(error) => return Err(error),
        };
        found.insert(number, object);
    }
    Ok(found)
}

/// How a content comes about.
struct Way {
    start: Start,
    /// On top of that, the last one first: the delta, in base64, and the length of what it makes.
    deltas: Vec<(String, u64)>,
    /// The hash of what comes of it.
    sha256: Digest,
}

enum Start {
    Content(Bytes),
    /// In base64, and the length of what it is.
    Packed(String, u64),
    Snapshot(Bytes, u64),
    Older(Box<Generation>),
}

/// From a part to something that rests on nothing; in words, where there is no way. `known` is what it rests on itself, if
/// that is at hand; otherwise `before` has the generations that it may rest on.
async fn way(
    objects: &Objects,
    parts: &GenerationParts,
    part: &Part,
    before: &Before,
    mut known: Option<Bytes>,
) -> Result<Result<Way, String>, Error> {
    let (mut generation, mut under, mut deltas) = (parts.generation, parts, Vec::new());
    let lacks = |generation| format!("it rests on what {} does not say", Key::Generation(generation));
    let mut needed = None;
    let start = loop {
        let stored = match under.parts.get(part) {
            Some(stored) if needed.is_none_or(|needed| needed == stored.content().0) => stored,
            _ => return Ok(Err(lacks(generation))),
        };
        let (sha256, bytes) = stored.content();
        needed = match stored {
            StoredPart::Whole { packed, .. } => break Start::Packed(packed.clone(), bytes),
            StoredPart::Snapshot { at, .. } => match snapshot(objects, generation, *at).await? {
                Ok(found) => break Start::Snapshot(found, bytes),
                Err(why) => return Ok(Err(why)),
            },
            StoredPart::Same { .. } => Some(sha256),
            StoredPart::Delta { on, packed, .. } => {
                deltas.push((packed.clone(), bytes));
                Some(*on)
            }
        };
        if let Some(known) = known.take().or_else(|| objects.log().get(needed?)) {
            break Start::Content(known);
        }
        generation = generation.saturating_sub(1);
        under = match before.as_ref().and_then(|before| before.get(&generation)) {
            Some(Ok(Object::Parts(under))) => under,
            Some(Ok(Object::Generation(record))) => break Start::Older(Box::new(record.clone())),
            Some(Err(why)) => return Ok(Err(why.clone())),
            _ => return Ok(Err(lacks(generation))),
        };
    };
    let sha256 = parts.parts.get(part).map_or(Digest([0; 32]), |stored| stored.content().0);
    Ok(Ok(Way { start, deltas, sha256 }))
}

/// What lies under a snapshot's name; in words, if it is not what the name says.
async fn snapshot(objects: &Objects, generation: u64, at: Digest) -> Result<Result<Bytes, String>, Error> {
    let key = Key::Snapshot(generation, at);
    Ok(match objects.bytes(&key).await {
        Ok(None) => Err(format!("its snapshot {key} is not there")),
        Ok(Some(bytes)) => {
            let (found, bytes) = blocking(move || (Digest::of(&bytes), bytes)).await?;
            if found == at {
                Ok(bytes)
            } else {
                Err(format!("its snapshot {key} holds bytes that hash to {found}"))
            }
        }
        Err(Error::Object(error)) => Err(error.to_string()),
        Err(error) => return Err(error),
    })
}

impl Way {
    fn go(self, part: &Part) -> Result<Content, String> {
        let mut bytes = match self.start {
            Start::Content(bytes) => bytes,
            Start::Packed(packed, length) => unpacked(&packed, length)?.into(),
            Start::Snapshot(packed, length) => {
                pack::unpack(&packed, length).map_err(|error| error.to_string())?.into()
            }
            Start::Older(record) => {
                content::contents(&record).remove(part).map(|content| content.bytes).unwrap_or_default()
            }
        };
        for (packed, length) in self.deltas.into_iter().rev() {
            let delta = unpacked(&packed, delta::most(length))?;
            let length = usize::try_from(length).map_err(|error| error.to_string())?;
            bytes = delta::apply(&bytes, &delta, length).map_err(|error| error.to_string())?.into();
        }
        // Whatever was wrong on the way is another content.
        let content = Content::new(bytes);
        if content.sha256 == self.sha256 {
            return Ok(content);
        }
        Err(format!("what it is made of hashes to {}, and not to {}", content.sha256, self.sha256))
    }
}

fn unpacked(packed: &str, limit: u64) -> Result<Vec<u8>, String> {
    let packed = STANDARD.decode(packed).map_err(|error| error.to_string())?;
    pack::unpack(&packed, limit).map_err(|error| error.to_string())
}
