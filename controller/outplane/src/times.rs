//! Ages and times, for people.

use std::time::Duration;

use crate::clocks::{FAR, ahead, since};

/// Seconds since then, by the store's clock, with one digit after the point; less than 0: it is of the future, so that
/// a clock is wrong.
pub(crate) fn age(unix_ms: u64) -> f64 {
    match ahead(unix_ms, Some(Duration::ZERO)).filter(|ahead| *ahead > 0) {
        Some(future) => -tenths(Duration::from_millis(future.unsigned_abs())),
        None => tenths(since(unix_ms)),
    }
}

/// Milliseconds, which may be less than 0, as seconds with one digit after the point.
pub(crate) fn tenths_of(ms: i64) -> f64 {
    let seconds = tenths(Duration::from_millis(ms.unsigned_abs()));
    if ms < 0 { -seconds } else { seconds }
}

/// Seconds with one digit after the point.
pub(crate) fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// An age for people: `12 s ago`, `3 min ago`, `5 h ago`, `4 d ago`; of the future: by which clock.
pub(crate) fn ago(seconds: f64) -> String {
    match seconds {
        far if far.abs() > FAR.as_secs_f64() => "at a time that is nonsense".to_owned(),
        future if future < 0.0 => format!("by its writer's clock, {:.0} s ahead of the store's", -future),
        under if under < 120.0 => format!("{under:.0} s ago"),
        under if under < 7200.0 => format!("{:.0} min ago", under / 60.0),
        under if under < 172_800.0 => format!("{:.0} h ago", under / 3600.0),
        over => format!("{:.0} d ago", over / 86_400.0),
    }
}

/// How long something lasts, for people.
pub(crate) fn lasting(seconds: f64) -> String {
    if seconds > FAR.as_secs_f64() { "a nonsense of time".to_owned() } else { format!("{seconds:.0} s") }
}

/// What stands for a time that is none.
pub(crate) const NONSENSE: &str = "nonsense";

/// Unix milliseconds as people write times.
pub(crate) fn time(unix_ms: u64) -> String {
    let millis = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| NONSENSE.to_owned(), |time| format!("{time:.3}"))
}
