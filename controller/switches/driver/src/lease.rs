//! How long who has claimed a task may execute it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Until when something may be begun on a switch.
///
/// The clock is the machine's monotonic one. It does not run while the whole machine sleeps: there only the fence helps.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// Stops between writes when it is cancelled. Packets see a whole policy then, and the next attempt finishes.
    pub stop: Option<&'a CancellationToken>,
    /// No write starts at this time or later; those under way finish. Asked before each as late as can be, so that a
    /// process that was stopped for a while and wakes up late starts none. None: at any time.
    pub start_before: Option<Instant>,
    /// Whether there is time to load what the switch is driven by.
    pub loading: Loading,
    /// How long is waited, before it is said how it went, for the switch to answer what was not answered in time. None: not
    /// at all.
    pub settle_by: Option<Instant>,
}

/// When what a switch is driven by (a program, say) may be loaded into one that lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loading {
    /// At any time, for as long as the driver's options say.
    #[default]
    Always,
    /// Not at this time or later, and for so long.
    Before(Instant, Duration),
    /// Not now: a switch that lacks it is [`Ended::Lacking`](crate::Ended::Lacking).
    Never,
}

impl Lease<'static> {
    /// For whom nobody else is after: at any time.
    pub const OPEN: Self = Self { stop: None, start_before: None, loading: Loading::Always, settle_by: None };
}

impl Default for Lease<'_> {
    fn default() -> Self {
        Lease::OPEN
    }
}

impl Lease<'_> {
    /// Whether it is too late to start a write.
    pub fn is_over(&self) -> bool {
        self.start_before.is_some_and(|limit| Instant::now() >= limit)
    }

    /// Whether the caller wants it to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_some_and(CancellationToken::is_cancelled)
    }
}

impl Loading {
    /// Whether it may start now.
    pub fn may_start(&self) -> bool {
        match self {
            Self::Always => true,
            Self::Before(limit, _) => Instant::now() < *limit,
            Self::Never => false,
        }
    }

    /// How long it may take, if that is said.
    pub fn within(&self) -> Option<Duration> {
        match self {
            Self::Before(_, within) => Some(*within),
            Self::Always | Self::Never => None,
        }
    }
}
