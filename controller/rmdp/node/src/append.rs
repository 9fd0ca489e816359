//! Appends a generation to the intent log, on the side of whoever applies it.
//!
//! Who applies has compiled the policy to check it. So it stores the desired states itself while it appends; the
//! distributors then find them there, and a controller need not wait for a distributor's write. Nothing depends on it:
//! distributors store what is not there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;

use bytes::Bytes;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_core::task::Digest;
use tokio::task::JoinSet;

use crate::chain::Chain;
use crate::error::Error;
use crate::objects::Objects;

/// Desired states that are stored at a time.
const AT_ONCE: usize = 16;

/// Appends a generation, under the next number, and stores as many of its desired states
/// ([`blob::named`](crate::blob::named)) as there is time for meanwhile; its number.
///
/// # Errors
/// Those of [`Chain::append`].
pub async fn append(
    objects: &Objects,
    generation: &Generation,
    blobs: BTreeMap<Digest, Bytes>,
) -> Result<u64, Error> {
    let store = async {
        store(objects, blobs).await;
        pending::<Infallible>().await
    };
    let make = |number| Object::Generation(Generation { generation: number, ..generation.clone() });
    tokio::select! {
        biased;
        number = Chain::Generations.append(objects, make) => number,
        never = store => match never {},
    }
}

/// Stores desired states; those that cannot be are left to the distributors.
pub async fn store(objects: &Objects, blobs: BTreeMap<Digest, Bytes>) {
    let mut under_way = JoinSet::new();
    for (digest, bytes) in blobs {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let objects = objects.clone();
        under_way.spawn(async move {
            if let Err(error) = objects.ensure_blob(digest, bytes).await {
                tracing::debug!(%digest, %error, "a desired state is left to the distributors");
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}
