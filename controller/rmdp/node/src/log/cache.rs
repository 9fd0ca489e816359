//! Contents of parts that were read or written last, by their hashes. What follows a log needs no more than the newest
//! generation for it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use outplane_rmdp_core::task::Digest;

use super::content::Content;

/// Most contents, and most bytes of them.
const MOST: usize = 64;
const MOST_BYTES: usize = 64 << 20;

/// The contents, those that were used last in front.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<VecDeque<Content>>);

impl Cache {
    /// The content of this hash.
    pub(super) fn get(&self, sha256: Digest) -> Option<Bytes> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|content| content.sha256 == sha256)?;
        let found = kept.remove(place)?;
        let bytes = found.bytes.clone();
        kept.push_front(found);
        Some(bytes)
    }

    /// Keeps a content, and forgets those that there is no room for any more.
    pub(super) fn put(&self, content: Content) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|known| known.sha256 != content.sha256);
        kept.push_front(content);
        let mut room = MOST_BYTES;
        let fits = |content: &&Content| {
            let left = room.checked_sub(content.bytes.len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let fitting = kept.iter().take(MOST).take_while(fits).count();
        kept.truncate(fitting);
    }
}
