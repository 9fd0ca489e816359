//! Several switches at once: connections, and one result for each.

use std::future::Future;
use std::sync::Arc;

use outplane_compiler::plan::PlanError;
use outplane_compiler::state::{Desired, Installed};
use outplane_driver_p4runtime::{Connection, Drops, Error, Options, Pipeline, Problem, Target};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::output::causes;

/// Switches that are talked to at the same time.
const AT_ONCE: usize = 64;

/// Something about a switch, or why it could not be had.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About<T> {
    /// The switch's name.
    pub(crate) switch: String,
    /// Where it is.
    pub(crate) address: String,
    /// What went wrong; null if nothing did.
    pub(crate) error: Option<String>,
    /// It went wrong because the user wanted to stop.
    #[serde(skip)]
    pub(crate) interrupted: bool,
    /// It went wrong because of what was asked for, and not of the switch.
    #[serde(skip)]
    pub(crate) unwanted: bool,
    /// What was asked for; absent if something went wrong.
    #[serde(flatten)]
    pub(crate) result: Option<T>,
}

/// Why something could not be done with a switch.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// In words.
    pub(crate) text: String,
    /// The user wanted to stop.
    pub(crate) interrupted: bool,
    /// Nobody can want what was asked for, or has to say so.
    pub(crate) unwanted: bool,
    /// It is that: there would be much less than there is.
    pub(crate) shrinks: bool,
}

impl Trouble {
    /// In words of our own.
    pub(crate) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), interrupted: false, unwanted: false, shrinks: false }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let interrupted = matches!(*error.problem, Problem::Cancelled { .. });
        let shrinks = matches!(*error.problem, Problem::Shrinks(_));
        let unwanted = shrinks || matches!(*error.problem, Problem::LastPolicy { .. });
        Self { text: causes(&*error.problem) + &error.cure(), interrupted, unwanted, shrinks }
    }
}

impl From<PlanError> for Trouble {
    fn from(error: PlanError) -> Self {
        Self { text: causes(&error), interrupted: false, unwanted: false, shrinks: false }
    }
}

/// The program that switches run.
pub(crate) fn pipeline() -> Arc<Pipeline> {
    Arc::new(Pipeline::outplane().clone())
}

/// Connects for reading only.
pub(crate) async fn connect(target: Target, options: Options) -> Result<Connection, Trouble> {
    Ok(Connection::open_read_only(target, pipeline(), options).await?)
}

/// Reads what a switch holds, if it runs our program; with `counters`, also what it has dropped. `desired` says which multicast groups are ours besides those that
/// entries of ours use.
pub(crate) async fn read(
    target: Target,
    options: Options,
    desired: &Desired,
    counters: bool,
) -> Result<(Installed, Option<Drops>), Trouble> {
    let connection = connect(target, options).await?;
    match connection.cookie().await? {
        Some(cookie) if cookie == connection.pipeline().cookie => {}
        Some(_) => {
            return Err(Trouble::of(
                "it runs another P4 program, or that of another version; `apply` pushes ours",
            ));
        }
        None => return Err(Trouble::of("it runs no P4 program that has a cookie; `apply` pushes ours")),
    }
    let installed = connection.read_installed(desired, counters).await?.installed;
    let drops = if counters { connection.read_drops(&installed).await? } else { None };
    Ok((installed, drops))
}

/// Does something with every switch, several at once; the results are in the order of the targets.
pub(crate) async fn each<T, F, R>(targets: Vec<Target>, mut run: F) -> Vec<About<T>>
where
    T: Send + 'static,
    F: FnMut(Target) -> R,
    R: Future<Output = Result<T, Trouble>> + Send + 'static,
{
    let mut results: Vec<About<T>> = targets
        .iter()
        .map(|target| About {
            switch: target.name.clone(),
            address: target.address.clone(),
            error: Some("what was done with it ended early".to_owned()),
            interrupted: false,
            unwanted: false,
            result: None,
        })
        .collect();
    let mut waiting = targets.into_iter().enumerate();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((place, target)) = waiting.next()
        {
            let done = run(target);
            under_way.spawn(async move { (place, done.await) });
        }
        match under_way.join_next().await {
            None => break,
            Some(Ok((place, Ok(result)))) => {
                (results[place].error, results[place].result) = (None, Some(result));
            }
            Some(Ok((place, Err(trouble)))) => {
                let about = &mut results[place];
                about.error = Some(trouble.text);
                (about.interrupted, about.unwanted) = (trouble.interrupted, trouble.unwanted);
            }
            // A panic, which its own message has told.
            Some(Err(error)) => tracing::error!(%error, "a task has ended early"),
        }
    }
    results
}
