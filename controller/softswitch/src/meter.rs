//! The two-rate three-colour marker, colour-blind (RFC 2698 section 3), as BMv2 runs it.
//!
//! Pure: the time comes in. Tokens are whole units and are computed from one time origin, not from the last
//! packet, so that no rounding adds up.

use std::time::Duration;

/// What the marker says about a packet. Numbers are the program's (`meta.color`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Color {
    /// Within the committed rate; also what a cell without configuration says.
    #[default]
    Green = 0,
    /// Above the committed rate, within the peak rate.
    Yellow = 1,
    /// Above the peak rate.
    Red = 2,
}

/// Rate in units a second, burst in units; a unit is a packet or a byte, as the meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units a second.
    pub rate: u64,
    /// Units that a full bucket holds.
    pub burst: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    tokens: u64,
    /// Tokens granted since the origin, dropped ones included.
    granted: u128,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, granted: 0 }
    }

    /// Takes `units` tokens, or none when there are fewer. Time that runs backwards grants nothing.
    fn take(&mut self, since_origin: Duration, units: u64) -> bool {
        let granted = since_origin.as_micros().saturating_mul(u128::from(self.rate.rate)) / 1_000_000;
        let fresh = granted.saturating_sub(self.granted);
        self.granted = self.granted.max(granted);
        let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(fresh).min(self.rate.burst);
        match self.tokens.checked_sub(units) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// One cell of a meter: configuration and the tokens it has left.
#[derive(Clone, Copy, Debug)]
pub struct Marker {
    origin: Duration,
    committed: Bucket,
    peak: Bucket,
}

impl Marker {
    /// A marker with full buckets. `now` is read on the clock that [`Marker::mark`] will be given.
    pub fn new(committed: Rate, peak: Rate, now: Duration) -> Self {
        Self { origin: now, committed: Bucket::new(committed), peak: Bucket::new(peak) }
    }

    /// Colours a packet of `units` units (1 for a meter of packets) and takes its tokens: a red packet takes
    /// none, a yellow one only from the peak bucket.
    pub fn mark(&mut self, now: Duration, units: u64) -> Color {
        let since_origin = now.saturating_sub(self.origin);
        if !self.peak.take(since_origin, units) {
            Color::Red
        } else if !self.committed.take(since_origin, units) {
            Color::Yellow
        } else {
            Color::Green
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn marker(cir: u64, cburst: u64, pir: u64, pburst: u64) -> Marker {
        Marker::new(Rate { rate: cir, burst: cburst }, Rate { rate: pir, burst: pburst }, ms(5_000))
    }

    #[test]
    fn full_buckets_at_first() {
        let mut marker = marker(10, 2, 20, 4);
        let colors: Vec<Color> = (0..6).map(|_| marker.mark(ms(5_000), 1)).collect();
        assert_eq!(
            colors,
            [Color::Green, Color::Green, Color::Yellow, Color::Yellow, Color::Red, Color::Red]
        );
    }

    #[test]
    fn tokens_come_back_at_their_rates() {
        let mut marker = marker(10, 1, 20, 1);
        assert_eq!(marker.mark(ms(5_000), 1), Color::Green);
        assert_eq!(marker.mark(ms(5_049), 1), Color::Red);
        // One peak token after 50 ms, one committed token after 100 ms.
        assert_eq!(marker.mark(ms(5_050), 1), Color::Yellow);
        assert_eq!(marker.mark(ms(5_099), 1), Color::Red);
        assert_eq!(marker.mark(ms(5_100), 1), Color::Green);
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let mut marker = marker(1_000, 3, 1_000, 3);
        let colors: Vec<Color> = (0..4).map(|_| marker.mark(ms(3_600_000), 1)).collect();
        assert_eq!(colors, [Color::Green, Color::Green, Color::Green, Color::Red]);
    }

    #[test]
    fn long_run_passes_the_rate() {
        // 250 packets/s offered for 100 s, at steps that don't divide the rate's period.
        let mut marker = marker(70, 5, 110, 5);
        let (mut green, mut not_red) = (0, 0);
        for step in 0..25_000 {
            match marker.mark(ms(5_000 + step * 4), 1) {
                Color::Green => {
                    green += 1;
                    not_red += 1;
                }
                Color::Yellow => not_red += 1,
                Color::Red => {}
            }
        }
        assert!((7_000 - 5..=7_000 + 5).contains(&green), "{green}");
        assert!((11_000 - 5..=11_000 + 5).contains(&not_red), "{not_red}");
    }

    #[test]
    fn a_meter_of_bytes_takes_lengths() {
        let mut marker = marker(1_000, 1_500, 1_000, 1_500);
        assert_eq!(marker.mark(ms(5_000), 1_400), Color::Green);
        assert_eq!(marker.mark(ms(5_000), 200), Color::Red);
        assert_eq!(marker.mark(ms(5_000), 100), Color::Green);
        assert_eq!(marker.mark(ms(5_200), 200), Color::Green);
    }

    #[test]
    fn nothing_allowed_when_the_burst_is_zero() {
        assert_eq!(marker(1_000, 0, 1_000, 0).mark(ms(9_000), 1), Color::Red);
    }

    #[test]
    fn extremes_and_a_clock_that_jumps_back() {
        let mut marker = marker(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(marker.mark(Duration::MAX, u64::MAX), Color::Green);
        assert_eq!(marker.mark(Duration::MAX, 1), Color::Red);
        assert_eq!(marker.mark(Duration::ZERO, 1), Color::Red);
    }
}
