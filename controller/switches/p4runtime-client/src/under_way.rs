//! Calls that change a switch, and may do so long after nobody waits for their answers any more.
//!
//! A call is under way until the switch has answered it; or, where its connection has died, until its deadline has passed as
//! well, which is how long the switch may go on with what it has received. Giving up waiting ends neither.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Response, Status};

use crate::status::broken;

/// A switch that has not answered by then never will: the call is given up.
const LONGEST: Duration = Duration::from_mins(2);

/// The calls under way to one switch, over all its connections. They end with it.
#[derive(Clone, Debug)]
pub struct UnderWay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: Mutex<JoinSet<()>>,
    count: watch::Sender<Count>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    now: usize,
    /// Calls that were not answered in time, ever.
    overdue: u64,
}

/// A call that is counted.
struct Counted(watch::Sender<Count>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| count.now -= 1);
    }
}

impl Default for UnderWay {
    fn default() -> Self {
        let (count, calls) = (watch::channel(Count::default()).0, Mutex::default());
        Self(Arc::new(Inner { calls, count }))
    }
}

impl UnderWay {
    /// The answer to a call, or `DEADLINE_EXCEEDED`. It goes on whether or not somebody waits for it.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let (tell, told) = oneshot::channel();
        let until = Instant::now() + deadline;
        self.0.count.send_modify(|count| count.now += 1);
        let counted = Counted(self.0.count.clone());
        // Generated calls are large futures.
        let call = Box::pin(call);
        let work = async move {
            let _counted = counted;
            let answer = timeout(LONGEST.max(deadline), call)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer at all")));
            let is_gone = answer.as_ref().is_err_and(broken);
            let _ = tell.send(answer.map(Response::into_inner));
            if is_gone {
                sleep_until(until).await;
            }
        };
        {
            let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
            while calls.try_join_next().is_some() {}
            calls.spawn(work);
        }
        match timeout(deadline, told).await {
            Ok(Ok(answer)) => answer,
            // Only where the program ends.
            Ok(Err(_)) => Err(Status::cancelled("the program is ending")),
            Err(_) => {
                self.0.count.send_modify(|count| count.overdue += 1);
                Err(Status::deadline_exceeded("no answer in time"))
            }
        }
    }

    /// How often an answer did not come in time.
    pub fn overdue(&self) -> u64 {
        self.0.count.borrow().overdue
    }

    /// Waits until nothing is under way, at most until then. Whether nothing is.
    pub async fn settled(&self, until: Instant) -> bool {
        let mut count = self.0.count.subscribe();
        let settled = count.wait_for(|count| count.now == 0);
        tokio::time::timeout_at(until, settled).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_goes_on_after_its_deadline_and_a_dead_connection_counts_until_then() {
        let under_way = UnderWay::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let slow = async move {
            tokio::time::sleep(second * 9).await;
            Ok(Response::new(()))
        };
        let answer = under_way.call(second, slow).await;
        assert_eq!((answer.unwrap_err().code(), start.elapsed()), (tonic::Code::DeadlineExceeded, second));
        assert!(!under_way.settled(start + second * 8).await && under_way.settled(start + second * 20).await);
        assert_eq!((start.elapsed(), under_way.overdue()), (second * 9, 1));
        let gone = async { Err::<Response<()>, _>(Status::unavailable("the connection broke")) };
        let start = Instant::now();
        assert!(under_way.call(second, gone).await.is_err() && start.elapsed().is_zero());
        assert!(under_way.settled(start + second * 20).await);
        assert_eq!(start.elapsed(), second);
        let refused = async { Err::<Response<()>, _>(Status::permission_denied("no")) };
        assert!(under_way.call(second, refused).await.is_err());
        assert!(under_way.settled(Instant::now() + second / 2).await);
    }
}
