//! What an executor keeps of a switch from task to task.

use std::future::Future;

use crate::{Answer, Ended, Fence, Lease, Report};

/// One switch, for who executes one task after the other on it, each under its own fence.
///
/// Every call has a deadline, and none of them is in the way of who is entitled to write.
pub trait Session: Send {
    /// What a switch should hold, in the protocol's terms.
    type Desired: Sync;
    /// What was read ahead.
    type Ahead: Send;
    /// What went wrong, in the protocol's words.
    type Error: Into<Ended> + std::error::Error + Send;
    /// What was done, in the protocol's terms.
    type Report: Send;

    /// Reads the switch before it is known whether a task may be executed: a reader is in nobody's way. Nothing where
    /// that would be of no use.
    fn read_ahead(&self) -> impl Future<Output = Option<Self::Ahead>> + Send;

    /// Makes the switch hold `desired` under this fence, from what was read ahead if that still holds. When it returns,
    /// nothing of it is under way, or it has ended as [`Ended::Unanswered`].
    fn converge(
        &mut self,
        ahead: Option<Self::Ahead>,
        fence: Fence,
        desired: &Self::Desired,
        lease: Lease<'_>,
    ) -> impl Future<Output = Result<Self::Report, Self::Error>> + Send;

    /// Somebody has seen that the switch does not hold what it should: before the next task it is read, whatever is known of
    /// it.
    fn doubt(&mut self);

    /// Whether the switch answers. Nothing is written, and no fence is needed.
    fn ask(&self) -> impl Future<Output = Result<Answer, Self::Error>> + Send;

    /// A report in the words of all drivers.
    fn told(report: &Self::Report) -> Report;

    /// A fence that the switch told of is a stranger's: nobody who was ever entitled to write here has had it. From now
    /// on it is in our way only as long as the switch says so.
    fn disown(&mut self, fence: Fence);
}
