//! Log lines go to standard error, so that results stay clean.

use std::io::IsTerminal;

use outplane_rmdp_node::file::{LogFormat, LogLevel, LogSettings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::options::{Format, Global};

/// Environment variable that filters log lines by module, for example `outplane_driver_p4runtime=trace`.
pub(crate) const VARIABLE: &str = "OUTPLANE_LOG";

/// Logs what it is asked, and nothing unless `OUTPLANE_LOG` names it.
const S3_LIBRARY: &str = "s3s";

/// Tells of an endpoint of the store that fails. A command whose call fails says so itself, with the reason.
const ENDPOINTS: &str = "outplane_rmdp_store::endpoint";

/// Starts logging. Without `-v` only warnings are logged.
pub(crate) fn start(global: &Global) {
    match global.verbose {
        0 => begin(LevelFilter::WARN, global.log_format, &[(S3_LIBRARY, "off"), (ENDPOINTS, "error")]),
        verbose => begin(level(verbose), global.log_format, &[(S3_LIBRARY, "off")]),
    }
}

/// Starts logging for a daemon: as its file says, or as the command line says, if that says more.
pub(crate) fn start_daemon(global: &Global, settings: LogSettings) {
    let of_file = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let level = match global.verbose {
        0 => of_file,
        verbose => of_file.max(level(verbose)),
    };
    let format = match settings.format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => global.log_format,
    };
    begin(level, format, &[(S3_LIBRARY, "off")]);
}

fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 | 1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Modules that are named in `less` log only so much, unless `OUTPLANE_LOG` names them.
fn begin(level: LevelFilter, format: Format, less: &[(&str, &str)]) {
    let mut filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var(VARIABLE).from_env_lossy();
    // The S3 library calls everything that a client does wrong an error; the store says itself what is one.
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    for (module, level) in less.iter().filter(|(module, _)| !asked.contains(module)) {
        let directive = format!("{module}={level}").parse();
        filter = directive.into_iter().fold(filter, EnvFilter::add_directive);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Json => builder.json().init(),
        Format::Text => {
            let colours =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            builder.with_ansi(colours).init();
        }
    }
}
