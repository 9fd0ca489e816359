//! Log lines go to standard error, so that results stay clean.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Format, Global};

/// Environment variable that filters log lines by module, for example `outplane_driver_p4runtime=trace`.
pub(crate) const VARIABLE: &str = "OUTPLANE_LOG";

/// Starts logging. Without `-v` only warnings are logged.
pub(crate) fn start(global: &Global) {
    let level = match global.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var(VARIABLE).from_env_lossy();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match global.log_format {
        Format::Json => builder.json().init(),
        Format::Text => {
            let colours =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            builder.with_ansi(colours).init();
        }
    }
}
