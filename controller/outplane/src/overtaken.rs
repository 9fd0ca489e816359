//! Whether a generation that somebody waits for was overtaken before it had tasks: distributors make tasks of the newest one
//! alone, so that nobody decides those.

use std::time::{Duration, Instant};

use outplane_rmdp_core::object::Generation;
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::Error;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::log::Logged;
use outplane_rmdp_node::objects::Objects;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(300);

/// A task that was announced just before may be claimed for so long.
const GRACE: Duration = Duration::from_millis(600);

/// Looks for generations above one.
#[derive(Debug)]
pub(crate) struct Overtaken {
    network: NetworkId,
    /// The one that is waited for.
    generation: u64,
    /// The newest number that was seen.
    known: u64,
    looked: Option<Instant>,
    /// The newest above it that can be read, and since when it is known.
    by: Option<(Generation, Instant)>,
}

impl Overtaken {
    /// Of this generation.
    pub(crate) fn new(network: NetworkId, generation: u64) -> Self {
        Self { network, generation, known: generation, looked: None, by: None }
    }

    /// Looks again, if it is time: one request, where nothing is new.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn look(&mut self, objects: &Objects) -> Result<(), Error> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        if !objects.has(&Chain::Generations.key(self.known.saturating_add(1))).await? {
            return Ok(());
        }
        let numbers = Chain::Generations.numbers(objects, self.known).await?;
        for number in numbers.iter().rev() {
            // Distributors pass over what cannot be read, too, and what is another network's.
            let said = match Logged::read(objects, *number).await {
                Ok(Some(logged)) if logged.network() == self.network => logged.desired().await,
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match said {
                Ok(said) => {
                    let since = self.by.as_ref().map_or_else(Instant::now, |(_, since)| *since);
                    self.by = Some((said, since));
                    break;
                }
                Err(Error::Object(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.known = numbers.last().copied().unwrap_or(self.known).max(self.known);
        Ok(())
    }

    /// The generation that says something else of a switch, or names it no more, if nobody makes this one's task any more.
    pub(crate) fn of(&self, switch: &str) -> Option<u64> {
        let (said, since) = self.by.as_ref()?;
        let began = if said.desired.contains_key(switch) { said.since(switch) } else { said.generation };
        (began > self.generation && since.elapsed() >= GRACE).then_some(began)
    }
}
