//! Options that several commands share: how results are printed, where the policies are and as of when.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

/// Options of all commands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// How results are printed: for people, or as JSON whose shape docs/command.md describes
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Log to standard error what is being done; twice for more (`OUTPLANE_LOG` filters by module)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log_format: Format,
}

/// Text for people, JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Where the policies are, and as of when.
#[derive(Args, Clone, Debug)]
pub(crate) struct PolicyFiles {
    /// Files and folders with policies, in any order; `-` is standard input
    #[arg(required = true, value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) when: When,
}

/// As of when rules that expire are looked at.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct When {
    /// Take rules that expire as of this time, for example 2027-01-31T12:00:00Z or 2027-01-31 (UTC midnight)
    /// [default: now]
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    at: Option<Timestamp>,
}

impl When {
    /// The time asked for, or now.
    pub(crate) fn timestamp(self) -> Timestamp {
        self.at.unwrap_or_else(Timestamp::now)
    }
}

/// An RFC 3339 time, or a date, which means its first instant in UTC.
fn timestamp(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    text.parse::<jiff::civil::Date>()
        .ok()
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| "neither a time like 2027-01-31T12:00:00Z nor a date like 2027-01-31".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates_are_understood() {
        for (text, seconds) in [
            ("1970-01-01T00:00:05Z", Some(5)),
            ("1970-01-01T01:00:05+01:00", Some(5)),
            ("1970-01-02", Some(86_400)),
            ("tomorrow", None),
            ("2027-13-01", None),
        ] {
            assert_eq!(timestamp(text).ok().map(Timestamp::as_second), seconds, "{text}");
        }
    }
}
