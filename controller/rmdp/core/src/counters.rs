//! Counters for metrics, status and tests.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often things happened since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All of them by name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// First copies of announces that came.
    announced,
    /// Announces of tasks that were known.
    announced_again,
    /// Tasks that were found in the queue before, or without, an announce.
    found_in_queue,
    /// Announces that were not kept because too many tasks are in mind; the queue has them.
    refused_full,
    /// Tasks whose occurrence is below the horizon.
    refused_closed,
    /// Objects of the logs that somebody told of and that are not there.
    unproven,
    /// Tasks that said something else than the log that they are of.
    mismatched,
    /// Tasks of another network, or that no log issues.
    refused_strange,
    /// Claims that made this node the owner.
    claims_won,
    /// Claims that another owner had before.
    claims_lost,
    /// Claims with an unclear outcome at first.
    claims_unclear,
    /// Owned attempts that ran out of time before execution.
    attempts_late,
    /// Executions started.
    executions,
    /// Attempts of others that were seen to expire.
    expired_seen,
    /// Attempts claimed over one whose owner was silent, on a switch that fences.
    takeovers,
    /// Owners that were taken over for their silence and were heard again.
    suspected_falsely,
    /// Attempts owned here that ended because the switch had seen a later attempt.
    overtaken_owner,
    /// Attempts that failed here.
    attempts_failed,
    /// Attempts that the switch refused because of a higher fence.
    fenced,
    /// Attempts that ended because the switch lacked our pipeline and the lease left no time for a push.
    pushes_put_off,
    /// Tasks decided here: done.
    done,
    /// Tasks decided here: superseded.
    superseded,
    /// Tasks decided here: failed.
    failed,
    /// Decisions that another owner had written before.
    decided_by_others,
    /// Events queued by this distributor.
    queued,
    /// Events that another distributor had queued before.
    queued_by_others,
    /// Tasks that were not emitted because a newer generation came.
    overtaken,
    /// Tasks that were not emitted, or not queued, because they are decided or closed.
    needless,
    /// Objects of the store that could not be understood.
    foreign,
    /// Heartbeats that prove no life: sent before this start, or by one who has not heard it yet.
    heartbeats_stale,
    /// Notices that gave way to newer ones.
    notices_dropped,
    /// Ids that were not kept because a memory of bounded size was full.
    memory_full,
    /// Deletions of queued tasks that were put off because too many wait.
    deletes_full,
    /// Generations of switches that were forgotten because too many are known.
    switches_forgotten,
    /// Audits of switches.
    audits,
    /// Audits that found a switch to hold something else than it should.
    drifts,
    /// Audits that could not look.
    audits_failed,
    /// Repairs that this controller has begun, with those that only take the switch over.
    repairs,
    /// Tasks of audits that somebody has announced or queued: they never travel.
    audits_refused,
    /// Fences that a stranger has put above ours.
    strangers,
    /// Times that this node stood still for longer than others wait for a heartbeat.
    stood_still,
    /// Members that were told of as silent.
    silent,
    /// Members that were told of as losing heartbeats.
    lossy,
    /// Faults that were found in how copies come: of senders, receivers, or paths.
    degraded,
    /// Of these, senders and receivers that no ranks were moved for, as there were too many, or too few in all.
    spared,
    /// PUTs that create.
    requests_create,
    /// Other PUTs.
    requests_put,
    /// GETs.
    requests_get,
    /// Listings.
    requests_list,
    /// Deletions, each of several objects.
    requests_delete,
    /// Requests without a clear answer.
    requests_unknown,
    /// Objects swept from the queue.
    swept_queue,
    /// Deletions of what is kept for the horizon.
    swept_history,
    /// Objects swept that retention does not keep: generations, configurations, epochs, desired states, what nodes that
    /// have left said.
    swept_old,
}

impl Counters {
    /// Counts a request.
    pub(crate) fn request(&mut self, request: &crate::io::Request) {
        use crate::io::Request;
        let counter = match request {
            Request::Create { .. } | Request::CreateBlob(_) => &mut self.requests_create,
            Request::Put { .. } => &mut self.requests_put,
            Request::Get(_) => &mut self.requests_get,
            Request::List { .. } => &mut self.requests_list,
            Request::Delete(_) => &mut self.requests_delete,
        };
        *counter += 1;
    }
}
