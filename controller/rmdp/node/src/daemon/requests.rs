//! Requests to the store on behalf of a machine: each gets one reply.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_compiler::state::Desired;
use outplane_rmdp_core::io::{Reply, Request, Token};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::TransactionId;
use tokio::task::{Id, JoinSet};

use crate::error::Error;
use crate::log::Logged;
use crate::metrics::{ClaimOutcome, Metrics, Step};
use crate::objects::Objects;

/// How a request ended.
pub(crate) struct Answered {
    pub(crate) token: Token,
    pub(crate) reply: Reply,
    pub(crate) about: About,
    pub(crate) took: Duration,
    /// Why the reply is unknown.
    pub(crate) fault: Option<String>,
}

/// What a request was.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) what: String,
    pub(crate) id: Option<TransactionId>,
    step: Option<Step>,
    claim: bool,
}

type Done = (Reply, Duration, Option<String>);

/// Those under way. Dropping it ends them.
pub(crate) struct Requests {
    objects: Objects,
    under_way: JoinSet<Done>,
    asked: HashMap<Id, (Token, About)>,
    most: usize,
}

impl Requests {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, under_way: JoinSet::new(), asked: HashMap::new(), most: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The most that were under way at once.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Sends a request; `state` is what a `CreateBlob` is to say.
    pub(crate) fn send(&mut self, token: Token, request: Request, state: Option<Arc<Desired>>) {
        let about = About::of(&request);
        let objects = self.objects.clone();
        let handle = self.under_way.spawn(async move {
            let start = Instant::now();
            match answer(&objects, request, state).await {
                Ok(reply) => (reply, start.elapsed(), None),
                Err(Error::Object(error)) => (Reply::Foreign(error.to_string()), start.elapsed(), None),
                Err(error) => (Reply::Unknown, start.elapsed(), Some(error.to_string())),
            }
        });
        self.asked.insert(handle.id(), (token, about));
        self.most = self.most.max(self.under_way.len());
    }

    /// The next one that ends. Waits for ever if there is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Answered {
        loop {
            let (id, (reply, took, fault)) = match self.under_way.join_next_with_id().await {
                None => std::future::pending().await,
                Some(Ok(done)) => done,
                // Only a panic gets here; its own message has told.
                Some(Err(error)) => {
                    let fault = Some("the request has ended early".to_owned());
                    (error.id(), (Reply::Unknown, Duration::ZERO, fault))
                }
            };
            let Some((token, about)) = self.asked.remove(&id) else { continue };
            return Answered { token, reply, about, took, fault };
        }
    }
}

async fn answer(objects: &Objects, request: Request, state: Option<Arc<Desired>>) -> Result<Reply, Error> {
    let created = |ours| if ours { Reply::Created } else { Reply::Exists };
    Ok(match request {
        // All distributors write the same task: it matters that it is there.
        Request::Create { key: key @ Key::Queue(_), mut object } => {
            let ours = objects.ensure(&key, &mut object).await?;
            if !ours && let Err(Error::Object(error)) = objects.get(&key).await {
                // Its name says which task that is, and whoever writes it writes the same.
                tracing::error!(alert = true, "{error}: it is written over");
                objects.put(&key, &mut object).await?;
            }
            created(ours)
        }
        Request::Create { key, mut object } => created(objects.create(&key, &mut object).await?),
        Request::CreateBlob(digest) => match state {
            Some(state) => created(objects.ensure_blob(digest, state).await?),
            None => Reply::Unknown,
        },
        // What it says for each switch is all that is asked for.
        Request::Get(Key::Generation(generation)) => match Logged::read(objects, generation).await? {
            Some(logged) => Reply::Found(Box::new(Object::Generation(logged.desired().await?))),
            None => Reply::Missing,
        },
        Request::Get(key) => match objects.get(&key).await? {
            Some(object) => Reply::Found(Box::new(object)),
            None => Reply::Missing,
        },
        Request::List { prefix, after } => {
            let page = objects.list(&prefix, after.as_deref()).await?;
            Reply::Page { keys: page.keys, next: page.next }
        }
        Request::Delete(keys) => {
            objects.delete(&keys).await?;
            Reply::Done
        }
        Request::Put { key, mut object } => {
            objects.put(&key, &mut object).await?;
            Reply::Done
        }
    })
}

impl About {
    fn of(request: &Request) -> Self {
        let about = |what: String, id| Self { what, id, step: None, claim: false };
        match request {
            Request::Create { key, object } => {
                let mut about = about(format!("create {key}"), key.id());
                match object {
                    Object::Task(_) => about.step = Some(Step::Queue),
                    Object::Claim(_) => (about.step, about.claim) = (Some(Step::Claim), true),
                    Object::Decision(_) => about.step = Some(Step::Decide),
                    _ => {}
                }
                about
            }
            Request::CreateBlob(digest) => about(format!("create b/{digest}"), None),
            Request::Get(key) => about(format!("get {key}"), key.id()),
            Request::List { prefix, .. } => about(format!("list {}", prefix.path()), None),
            Request::Delete(keys) => about(format!("delete {} objects", keys.len()), None),
            Request::Put { key, .. } => about(format!("put {key}"), key.id()),
        }
    }

    /// Counts what came of it.
    pub(crate) fn count(&self, metrics: &Metrics, reply: &Reply, took: Duration) {
        if let Some(step) = self.step {
            metrics.step(step, took);
        }
        if self.claim {
            metrics.claimed(match reply {
                Reply::Created => ClaimOutcome::Won,
                Reply::Exists => ClaimOutcome::Lost,
                _ => ClaimOutcome::Unknown,
            });
        }
    }
}
