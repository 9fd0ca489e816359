//! What a switch shows of its fence.

use outplane_driver_p4runtime::{Options, Problem, fences};
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::task::Task;

use super::{Agent, deadlines, options};

/// Ids that are tried where others have the ones before.
const TRIES: usize = 3;

impl Agent {
    /// Has the switch of a task show whether it refuses whoever was overtaken; none: it could not be asked. It is in nobody's
    /// way, nor in that of an execution here.
    pub async fn fences(&self, task: &Task, config: &SharedConfig) -> Option<bool> {
        let name = task.switch();
        let target = match self.target(task, config).await {
            Ok(target) => target,
            Err(why) => {
                tracing::debug!(switch = name, why, "cannot ask whether it fences");
                return None;
            }
        };
        for _ in 0..TRIES {
            let mut options = Options { election_id: below_all_fences()?, ..options() };
            options.set_deadlines(deadlines(config.budget()));
            match fences(&target, &options).await {
                Ok(fences) => {
                    tracing::debug!(switch = name, fences, "asked whether it fences");
                    self.seen.see_fence(name, fences);
                    return Some(fences);
                }
                Err(error) if matches!(*error.problem, Problem::ArbitrationRefused { .. }) => {}
                Err(error) => {
                    tracing::debug!(switch = name, %error, "it does not say whether it fences");
                    return None;
                }
            }
        }
        None
    }

    /// Whether a switch refuses whoever was overtaken, as it has shown last. None: it has shown nothing.
    pub fn is_fenced(&self, switch: &str) -> Option<bool> {
        self.seen.fence(switch)
    }
}

/// A random election id, from 2, that is below all of ours: these have a generation. None without a source of chance.
pub(crate) fn below_all_fences() -> Option<u128> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).ok()?;
    Some(u128::from(u16::from_be_bytes(random)) + 2)
}
