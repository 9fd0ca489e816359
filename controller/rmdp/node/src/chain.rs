//! Chains: write-once objects whose keys are numbers that grow. The intent log (`i/`), the log of probes (`p/`), the
//! versions of the shared configuration (`config/`) and the stream epochs of a node (`e/<node>/`) are chains.
//!
//! Who appends tries the number after the newest; if somebody else was faster, the next one. So two appenders never
//! have the same number, and the order has no owner. Who follows asks for the number after the last one it has, at once
//! when a hint names it, and by polling anyway; a search now and then finds what lies behind numbers that were swept.
//!
//! A listing may lack numbers that are there. It is asked where to begin, and what the newest number is says a search
//! that asks for each key: [`outplane_rmdp_core::chain`]. For it to be found, sweeping keeps some of the old numbers.
//!
//! The one before the newest is never swept. Where it is not there, and what lies above says itself that it is of its
//! number, it was deleted or lost: that is told, and its number and those above are not given again.
//!
//! Old numbers are swept, never the newest. So an appender that was held up after its listing may find a number free that
//! others have had, far below the newest: nobody would see its object, and two objects would have had one number. It
//! searches once more after it has created: where a number was swept there are at least as many newer ones as are always kept.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_core::chain::{self, HIGHEST};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use crate::chains::{Chain, PROBES_KEPT};
use crate::error::Error;
use crate::objects::Objects;

/// How often a follower asks, if nobody gives it a hint.
pub const POLL: Duration = Duration::from_millis(500);

/// Every so many polls the follower searches.
const SEARCH_EVERY: u32 = 60;

/// Every so many polls it looks whether what could not be read can be read now.
const AGAIN_EVERY: u32 = 4;

/// How often an appender tries the next number.
const TRIES: u32 = 1000;

/// Numbers that count for nothing, one after the other; more are somebody's attack.
const MOST_STRAYS: u32 = 1000;
/// Of these are told.
const TOLD: usize = 5;

/// Nobody appends so many between two looks: what is further away has to be led to.
const LEAP: u64 = 1 << 20;

/// The highest number that is reached from one without a leap, over those that are listed.
fn near(above: u64, listed: &[u64]) -> u64 {
    let reach = |near: u64, number: &u64| {
        if *number <= near { near.max(number.saturating_add(LEAP)) } else { near }
    };
    listed.iter().fold(above.saturating_add(LEAP), reach)
}

/// What there is of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Those that a listing shows, in order, and the newest.
    pub(crate) numbers: Vec<u64>,
    /// Above the newest: nothing leads to them, so nobody has appended them.
    pub(crate) strays: Vec<u64>,
    /// The one before the newest, if it is not there any more.
    pub(crate) lost: Option<u64>,
}

impl Chain {
    /// The numbers above one that a listing shows, in order, and the newest one, which is always among them.
    pub async fn numbers(&self, objects: &Objects, above: u64) -> Result<Vec<u64>, Error> {
        let Survey { numbers, strays, lost } = self.survey(objects, above).await?;
        if let Some(lost) = lost {
            tracing::warn!("{}", self.lost_words(lost));
        }
        for stray in strays.into_iter().take(TOLD) {
            tracing::warn!(key = %self.key(stray), "nothing leads to this number: somebody else has put it there; delete it");
        }
        Ok(numbers)
    }

    /// As [`Self::numbers`], and those that count for nothing.
    pub(crate) async fn survey(&self, objects: &Objects, above: u64) -> Result<Survey, Error> {
        let mut numbers = self.listed(objects, above).await?;
        let mut strays = numbers.split_off(numbers.partition_point(|number| *number <= HIGHEST));
        let mut asked = BTreeMap::new();
        let near = near(above, &numbers);
        let mut tries = 0..MOST_STRAYS;
        let mut again = |key| match tries.next() {
            Some(_) => Ok(()),
            None => Err(Error::Contended { tries: MOST_STRAYS, last: key }),
        };
        while let Some(last) = numbers.last().copied()
            && let Some(lacking) = self.lacking(objects, last, (above, near), &numbers, &mut asked).await?
        {
            again(self.key(last))?;
            // Nor to those between, which would need it as well.
            strays.extend(numbers.split_off(numbers.partition_point(|number| *number < lacking.min(last))));
        }
        let known = numbers.last().copied().unwrap_or(0).max(above);
        let near = near.max(known.saturating_add(LEAP));
        let mut below = HIGHEST + 1;
        while let Some(found) = search_below(objects, known, below, |number| self.key(number)).await? {
            let Some(lacking) = self.lacking(objects, found, (above, near), &numbers, &mut asked).await?
            else {
                numbers.extend((found > above).then_some(found));
                break;
            };
            again(self.key(found))?;
            strays.push(found);
            below = lacking.min(found);
        }
        strays.sort_unstable();
        strays.dedup();
        let before = numbers.last().map(|newest| newest.saturating_sub(1));
        let lost = before.filter(|before| asked.get(before) == Some(&false));
        Ok(Survey { numbers, strays, lost })
    }

    /// A number that would be there if this one was the newest, and is not: the one before it is never swept. Those above
    /// `near` are taken for appended only if their prefixes and the powers of two below them, which are never swept either,
    /// are there, too. None up to `above` is asked for. Up to `near` what says itself that it is of its number was appended,
    /// and the one before it has been lost.
    async fn lacking(
        &self,
        objects: &Objects,
        number: u64,
        (above, near): (u64, u64),
        listed: &[u64],
        asked: &mut BTreeMap<u64, bool>,
    ) -> Result<Option<u64>, Error> {
        let before = number.saturating_sub(1);
        let path = if number > near { chain::path(number) } else { Vec::new() };
        let needed = path.into_iter().filter(|lead| *lead < number).chain([before]);
        let needed: Vec<u64> =
            needed.filter(|lead| *lead > above && listed.binary_search(lead).is_err()).collect();
        let mut asking = JoinSet::new();
        for lead in needed.iter().copied().filter(|lead| !asked.contains_key(lead)) {
            let (objects, key) = (objects.clone(), self.key(lead));
            asking.spawn(async move { Ok::<_, Error>((lead, objects.has(&key).await?)) });
        }
        while let Some(answer) = asking.join_next().await {
            // Only a panic ends one early; its own message has told.
            let (lead, there) = answer.map_err(|_| Error::Ended("a request to the store"))??;
            asked.insert(lead, there);
        }
        let lacks = needed.into_iter().find(|lead| asked.get(lead) == Some(&false));
        if lacks == Some(before) && number <= near && self.says_so(objects, number).await? {
            return Ok(None);
        }
        // Only the newest needs the one before it.
        Ok(lacks.map(|lead| if lead == before { number } else { lead }))
    }

    /// Whether what lies under a number can be read as what was appended under it.
    async fn says_so(&self, objects: &Objects, number: u64) -> Result<bool, Error> {
        match objects.stored(&self.key(number)).await {
            Ok(found) => Ok(found.is_some()),
            Err(Error::Object(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a listing shows. It may lack any of them.
    async fn listed(&self, objects: &Objects, above: u64) -> Result<Vec<u64>, Error> {
        let mut numbers = Vec::new();
        let mut after = (above > 0).then(|| self.key(above).path());
        loop {
            let page = objects.list(&self.prefix(), after.as_deref()).await?;
            numbers.extend(page.keys.iter().filter_map(|listed| self.number(&listed.key)));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(numbers),
            }
        }
    }

    /// The newest number above one. A listing says where to begin; what it does not show is searched for.
    pub async fn newest(&self, objects: &Objects, above: u64) -> Result<Option<u64>, Error> {
        Ok(self.numbers(objects, above).await?.last().copied())
    }

    /// Appends what `make` gives for a number; the number.
    ///
    /// # Errors
    /// The store's: [`outplane_rmdp_store::Error::Unknown`] leaves open whether it was appended. [`Error::Overtaken`] if
    /// others appended so many meanwhile that the number may have been another's before.
    pub async fn append(&self, objects: &Objects, make: impl Fn(u64) -> Object) -> Result<u64, Error> {
        let known = Box::pin(self.newest(objects, 0)).await?.unwrap_or(0);
        self.append_after(objects, known, make).await
    }

    /// As [`Self::append`], by one who takes `known` for the newest number.
    pub async fn append_after(
        &self,
        objects: &Objects,
        known: u64,
        make: impl Fn(u64) -> Object,
    ) -> Result<u64, Error> {
        let mut number = known;
        for _ in 0..TRIES {
            number += 1;
            if self.append_at(objects, number, &mut make(number)).await? {
                return Ok(number);
            }
        }
        Err(Error::Contended { tries: TRIES, last: self.key(number) })
    }

    /// Appends under this number and no other. Whether it was us.
    pub async fn append_at(
        &self,
        objects: &Objects,
        number: u64,
        object: &mut Object,
    ) -> Result<bool, Error> {
        if number > HIGHEST {
            return Err(Error::EndOfNumbers(self.key(number - 1)));
        }
        if !objects.create(&self.key(number), object).await? {
            return Ok(false);
        }
        match Box::pin(self.overtaken(objects, number)).await? {
            None => Ok(true),
            Some(newest) => Err(Error::Overtaken { key: self.key(number), newest }),
        }
    }

    /// The newest number, if there are so many above one that it may have been swept before.
    pub(crate) async fn overtaken(&self, objects: &Objects, number: u64) -> Result<Option<u64>, Error> {
        let newest = self.newest(objects, number).await?;
        Ok(newest.filter(|newest| newest - number >= self.always_kept()))
    }
}

/// The newest number above one that was there once, or above 0, of whatever has these keys and is kept as a chain.
pub(crate) async fn search(
    objects: &Objects,
    known: u64,
    key: impl Fn(u64) -> Key,
) -> Result<Option<u64>, Error> {
    search_below(objects, known, u64::MAX, key).await
}

/// The same, of those below a number.
async fn search_below(
    objects: &Objects,
    mut known: u64,
    below: u64,
    key: impl Fn(u64) -> Key,
) -> Result<Option<u64>, Error> {
    let mut newest = None;
    loop {
        let mut asked = JoinSet::new();
        for place in chain::places(known).into_iter().filter(|place| *place < below) {
            let (objects, key) = (objects.clone(), key(place));
            asked.spawn(async move { Ok::<_, Error>(objects.has(&key).await?.then_some(place)) });
        }
        let mut highest = None;
        while let Some(found) = asked.join_next().await {
            // Only a panic ends one early; its own message has told.
            let found = found.map_err(|_| Error::Ended("a request to the store"))??;
            highest = highest.max(found);
        }
        let Some(higher) = highest else { return Ok(newest) };
        (known, newest) = (higher, Some(higher));
    }
}

/// Follows a chain: of several new objects the newest is all that counts.
#[derive(Debug)]
pub struct Follower {
    objects: Objects,
    chain: Chain,
    /// The newest number that was seen.
    known: u64,
    polls: u32,
    every: Duration,
    /// Of an object that could not be read, beside one that could: told by the next call.
    fault: Option<Error>,
    /// The newest object, if it could not be read and no newer one could since.
    unread: Option<u64>,
}

impl Follower {
    /// A follower that has seen everything up to `known`; 0: nothing.
    pub fn new(objects: Objects, chain: Chain, known: u64) -> Self {
        Self { objects, chain, known, polls: 0, every: POLL, fault: None, unread: None }
    }

    /// Asks so often where no hint tells.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// The newest object that can be read, if there is one that was not seen yet.
    ///
    /// An object that cannot be read is an error that names it, once; the follower then goes on behind it. If it is the
    /// newest, it is looked at again now and then: it may be put right.
    pub async fn newer(&mut self, hint: u64) -> Result<Option<(u64, Object)>, Error> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if let Some(number) = self.unread.filter(|_| self.polls % AGAIN_EVERY == AGAIN_EVERY - 1) {
            match self.objects.get(&self.chain.key(number)).await {
                Ok(Some(object)) => {
                    self.unread = None;
                    return Ok(Some((number, object)));
                }
                Ok(None) => self.unread = None,
                Err(Error::Object(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let found = self.look(hint).await;
        if let Ok(Some((found, _))) = &found {
            self.unread.take_if(|unread| *unread < *found);
        }
        found
    }

    async fn look(&mut self, hint: u64) -> Result<Option<(u64, Object)>, Error> {
        let mut search = self.polls.is_multiple_of(SEARCH_EVERY);
        self.polls = self.polls.wrapping_add(1);
        if hint > self.known && hint <= HIGHEST && self.is_led_to(hint).await? {
            match self.objects.get(&self.chain.key(hint)).await {
                Ok(Some(object)) => {
                    self.known = hint;
                    return Ok(Some((hint, object)));
                }
                Ok(None) => {}
                // There may be others before it.
                Err(Error::Object(_)) => search = true,
                Err(error) => return Err(error),
            }
        }
        if search {
            return self.newest_found().await;
        }
        let mut newer = None;
        loop {
            if self.known >= HIGHEST {
                return Ok(newer);
            }
            match self.read(self.known + 1).await {
                Ok(Some(object)) => newer = Some((self.known, object)),
                // What was found before it counts.
                Err(error @ Error::Object(_)) => {
                    (self.fault, self.unread) = (Some(error), Some(self.known));
                }
                Err(error) if newer.is_none() => return Err(error),
                Ok(None) | Err(_) => return Ok(newer),
            }
            if newer.is_none()
                && let Some(fault) = self.fault.take()
            {
                return Err(fault);
            }
        }
    }

    /// Whether a number that somebody names may have been appended.
    async fn is_led_to(&self, number: u64) -> Result<bool, Error> {
        let (mut asked, reach) = (BTreeMap::new(), (self.known, self.known.saturating_add(LEAP)));
        Ok(self.chain.lacking(&self.objects, number, reach, &[], &mut asked).await?.is_none())
    }

    /// The newest that can be read of those that are found: garbage at the end hides nothing.
    async fn newest_found(&mut self) -> Result<Option<(u64, Object)>, Error> {
        let numbers = self.chain.numbers(&self.objects, self.known).await?;
        let mut newest = self.known;
        for number in numbers.into_iter().rev() {
            newest = newest.max(number);
            match self.objects.get(&self.chain.key(number)).await {
                Ok(Some(object)) => {
                    self.known = newest;
                    return Ok(Some((number, object)));
                }
                // It was swept meanwhile.
                Ok(None) => {}
                Err(error @ Error::Object(_)) => {
                    self.fault.get_or_insert(error);
                    self.unread = self.unread.max(Some(number));
                }
                Err(error) => {
                    self.fault = None;
                    return Err(error);
                }
            }
        }
        self.known = newest;
        self.fault.take().map_or(Ok(None), Err)
    }

    /// The object of a number, which is then known.
    async fn read(&mut self, number: u64) -> Result<Option<Object>, Error> {
        let read = self.objects.get(&self.chain.key(number)).await;
        if matches!(read, Ok(Some(_)) | Err(Error::Object(_))) {
            self.known = number;
        }
        read
    }

    /// Waits for an object that was not seen yet: asks at once the first time, at every hint, and every [`POLL`] ([`Follower::every`] says another). After
    /// a fault it goes on when it is called again.
    pub async fn next(&mut self, hints: &mut watch::Receiver<u64>) -> Result<(u64, Object), Error> {
        loop {
            let hint = if self.polls > 0 { hint_or_poll(hints, self.every).await } else { 0 };
            if let Some(found) = self.newer(hint).await? {
                return Ok(found);
            }
        }
    }
}

/// Waits until it is time to ask; the number that a hint names, 0 without one. Each hint is looked at once: what it names
/// is there when it comes, or it is nonsense.
pub(crate) async fn hint_or_poll(hints: &mut watch::Receiver<u64>, every: Duration) -> u64 {
    match timeout(every, hints.changed()).await {
        Ok(Ok(())) => *hints.borrow(),
        // Nobody gives hints any more: the polls are left.
        Ok(Err(_)) => {
            sleep(every).await;
            0
        }
        Err(_) => 0,
    }
}
