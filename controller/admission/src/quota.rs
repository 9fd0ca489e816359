//! Shares of something that there is only so much of: memory for messages, reads, streams.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Place, peer};

/// So much of something, shared by peers: strangers leave a part of it to known peers, and one stranger does not get
/// all that strangers may have. Clones share it.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    strangers: usize,
    per_stranger: usize,
    used: Mutex<Used>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    strangers: usize,
    by_stranger: BTreeMap<IpAddr, usize>,
}

/// A part of a quota, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Inner>,
    amount: usize,
    /// The stranger that has it.
    stranger: Option<IpAddr>,
}

impl Inner {
    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quota {
    /// So much in all; what strangers may have of it; what one of them may have.
    pub fn new(total: usize, strangers: usize, per_stranger: usize) -> Self {
        let (used, freed) = (Mutex::default(), Notify::new());
        let strangers = strangers.min(total);
        Self(Arc::new(Inner { total, strangers, per_stranger: per_stranger.min(strangers), used, freed }))
    }

    /// A quarter is left to known peers, and one stranger has this part of all. Too few to be divided are whoever's
    /// comes first.
    pub fn quartered(total: usize, part: usize) -> Self {
        let own = total / part;
        Self::new(total, total - total / 4, if own == 0 { total } else { own })
    }

    /// A share, if there is one now. More than this peer may ever have is taken for what it may have at most.
    pub fn try_take(&self, place: &Place, amount: usize) -> Option<Share> {
        let inner = &self.0;
        let stranger = (!place.is_known()).then(|| peer(place.address()));
        let mut used = inner.used();
        let amount = amount.min(if stranger.is_some() { inner.per_stranger } else { inner.total });
        if used.all + amount > inner.total {
            return None;
        }
        if let Some(stranger) = stranger {
            let own = used.by_stranger.get(&stranger).copied().unwrap_or_default();
            if used.strangers + amount > inner.strangers || own + amount > inner.per_stranger {
                return None;
            }
            used.strangers += amount;
            used.by_stranger.insert(stranger, own + amount);
        }
        used.all += amount;
        Some(Share { of: Arc::clone(inner), amount, stranger })
    }

    /// A share, as soon as there is one.
    pub async fn take(&self, place: &Place, amount: usize) -> Share {
        loop {
            let mut freed = pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if let Some(share) = self.try_take(place, amount) {
                return share;
            }
            freed.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self.of.used();
        used.all -= self.amount;
        if let Some(stranger) = self.stranger {
            used.strangers -= self.amount;
            if let Some(own) = used.by_stranger.get_mut(&stranger) {
                *own -= self.amount;
                if *own == 0 {
                    used.by_stranger.remove(&stranger);
                }
            }
        }
        drop(used);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Admission, Settings};

    #[tokio::test]
    async fn strangers_leave_room() {
        let admission = Admission::new(Settings::new(16));
        let place = |number: u8| admission.admit([192, 0, 2, number].into()).unwrap();
        let (first, second, known) = (place(1), place(2), place(3));
        let quota = Quota::new(100, 60, 40);
        let a = quota.try_take(&first, 30).unwrap();
        assert!(quota.try_take(&first, 20).is_none(), "one stranger has 40 at most");
        let b = quota.try_take(&second, 30).unwrap();
        assert!(quota.try_take(&second, 5).is_none(), "strangers have 60 at most");
        assert!(quota.try_take(&known, 40).is_none());
        known.authenticated();
        let c = quota.try_take(&known, 40).unwrap();
        assert!(quota.try_take(&known, 1).is_none(), "there is no more");
        let waiting = tokio::spawn({
            let quota = quota.clone();
            async move { quota.take(&known, 1000).await.amount }
        });
        drop((a, b, c));
        assert_eq!(waiting.await.unwrap(), 100);
        assert!(quota.try_take(&first, 40).is_some());
        assert_eq!(quota.0.used().by_stranger.len(), 0);
    }
}
