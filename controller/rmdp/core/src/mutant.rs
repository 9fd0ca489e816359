//! Deliberate faults, for proving that the checker would see them. Only the simulator can turn one on.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(feature = "sim"), expect(dead_code, unreachable_pub, reason = "for the simulation"))]
pub enum Mutant {
    /// Claims by GET, plain PUT, GET.
    GetPutGet,
    /// The store ignores `If-None-Match`.
    IgnoredPrecondition,
    /// Expiry of others' claims is judged by the time in the claim.
    WallClockLease,
    /// The switch takes writes under any fence.
    NoFence,
    /// Claims are swept with the queued task, long before the decision.
    ClaimSweptEarly,
    /// Attempt k+1 is claimed as soon as attempt k is seen.
    NoWait,
    /// What notices say is taken for granted.
    NoticeIsTruth,
    /// Decisions are told of before they are in the store.
    ToldUndecided,
    /// Decisions are overwritten.
    DecisionOverwritten,
    /// Overtaken tasks are executed all the same.
    SupersededExecuted,
    /// Writes are started after the lease.
    LateStart,
    /// Decisions and claims are deleted though the horizon was not raised.
    NoHorizon,
    /// Queued tasks are swept when they are claimed.
    QueueSweptAtClaim,
    /// An attempt is claimed again with a new T0 after its outcome was unknown.
    FreshT0,
    /// A claim that was never seen in the store counts as over when its time has passed.
    UnseenIsOver,
    /// What is closed is claimed all the same.
    ClosedClaimed,
    /// Generations and desired states are swept though pending tasks need them.
    NeededSwept,
    /// A task that a listing of the queue lacks is taken to be decided.
    GoneIsDecided,
    /// A page of the queue without a key of ours is taken for its end.
    StrangersEndPages,
    /// The owner of a later attempt does not look whether the task is decided by now.
    NoSecondLook,
    /// Claims are made however long ago the horizon was read.
    StaleHorizon,
    /// The horizon is raised though the queue has tasks that cannot be read.
    RaisedOverStrangers,
    /// The queue is always taken to be seen whole.
    QueueAlwaysSeen,
    /// Decisions and results are written however late.
    RecordedLate,
    /// A pipeline is pushed within any lease, as if it took no time.
    PushOutsideLease,
    /// "Executed" is said while a request is under way.
    EarlyExecuted,
    /// An agent does not look once more at a switch that it has written to.
    NoVerify,
    /// Nobody looks what switches hold.
    NotKept,
    /// Switches are kept at the first generation that was known.
    OldKept,
    /// A heartbeat of who knows when counts as life.
    StaleIsLife,
    /// Whatever is authentic is taken for true, whether the log has it or not.
    UnprovenBelieved,
    /// What a task says is to be done counts, not what its log says.
    UnboundBelieved,
    /// A generation that says of a switch what the one before said is taken to have a task for it, if somebody says so.
    UnchangedBelieved,
    /// A generation has no task for a switch that an earlier one was about, whatever it says of it.
    ChangedSkipped,
    /// A generation has no task for a switch of which any earlier one said the same, whatever was said in between.
    ReturnSkipped,
    /// Another network's tasks are taken for this one's.
    ForeignBelieved,
    /// Silence is told of a minority only: where two are all, of nobody.
    SilenceSpared,
    /// A wait is over by the clock, whether it was lived through or not.
    JumpIsTime,
    /// A shorter grace counts at once, though others still claim by the longer one.
    GraceAtOnce,
    /// What is below the horizon is deleted by its age, not by how long it has been closed.
    AgeIsGrace,
    /// Nonces are unique in one process only.
    NonceOfName,
    /// Nobody tells that two processes run under one name.
    TwinSpared,
    /// A silent owner is taken over on a switch that does not fence.
    UnfencedOvertaken,
    /// A later attempt takes no higher fence than the one before it.
    FenceNotRaised,
    /// An owner's silence is judged by the time in its claim.
    SilenceByOthersClock,
    /// What a controller could not hear while it stood still itself counts as silence.
    StillIsSilence,
    /// An agent that was overtaken goes on as long as its lease lasts.
    OvertakenGoesOn,
    /// Any number in a listing counts as newer than those below it, though nothing leads to it.
    FarNumberCounts,
}

#[cfg(feature = "sim")]
impl Mutant {
    /// All of them.
    pub const ALL: [Self; 48] = [
        Self::GetPutGet,
        Self::IgnoredPrecondition,
        Self::WallClockLease,
        Self::NoFence,
        Self::ClaimSweptEarly,
        Self::NoWait,
        Self::NoticeIsTruth,
        Self::ToldUndecided,
        Self::DecisionOverwritten,
        Self::SupersededExecuted,
        Self::LateStart,
        Self::NoHorizon,
        Self::QueueSweptAtClaim,
        Self::FreshT0,
        Self::UnseenIsOver,
        Self::ClosedClaimed,
        Self::NeededSwept,
        Self::GoneIsDecided,
        Self::StrangersEndPages,
        Self::NoSecondLook,
        Self::StaleHorizon,
        Self::RaisedOverStrangers,
        Self::QueueAlwaysSeen,
        Self::RecordedLate,
        Self::PushOutsideLease,
        Self::EarlyExecuted,
        Self::NoVerify,
        Self::NotKept,
        Self::OldKept,
        Self::StaleIsLife,
        Self::UnprovenBelieved,
        Self::UnboundBelieved,
        Self::UnchangedBelieved,
        Self::ChangedSkipped,
        Self::ReturnSkipped,
        Self::ForeignBelieved,
        Self::SilenceSpared,
        Self::JumpIsTime,
        Self::GraceAtOnce,
        Self::AgeIsGrace,
        Self::NonceOfName,
        Self::TwinSpared,
        Self::FarNumberCounts,
        Self::UnfencedOvertaken,
        Self::FenceNotRaised,
        Self::SilenceByOthersClock,
        Self::StillIsSilence,
        Self::OvertakenGoesOn,
    ];
}
