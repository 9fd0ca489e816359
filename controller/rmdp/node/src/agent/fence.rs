//! What a switch shows of its fence.

use outplane_driver_p4runtime::fences;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::task::Task;

use super::{Agent, deadlines, options};

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
        let mut options = options();
        options.set_deadlines(deadlines(config.budget()));
        match fences(&target, &options, &chances()?).await {
            Ok(fences) => {
                tracing::debug!(switch = name, fences, "asked whether it fences");
                self.seen.see_fence(name, fences);
                Some(fences)
            }
            Err(error) => {
                tracing::debug!(switch = name, %error, "it does not say whether it fences");
                None
            }
        }
    }

    /// Whether a switch refuses whoever was overtaken, as it has shown last. None: it has shown nothing.
    pub fn is_fenced(&self, switch: &str) -> Option<bool> {
        self.seen.fence(switch)
    }
}

/// For a driver that asks a switch without a fence of its own: another one may do so as well, so it tries several. None
/// without a source of chance.
pub(crate) fn chances() -> Option<[u16; 3]> {
    let mut random = [[0; 2]; 3];
    getrandom::fill(random.as_flattened_mut()).ok()?;
    Some(random.map(u16::from_be_bytes))
}
