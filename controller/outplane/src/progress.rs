//! How far an apply has come: a bar for each switch on a terminal, lines elsewhere. On standard error.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use outplane_driver_p4runtime::Progress;

use crate::options::Format;
use crate::output::grouped;

/// Lines come no more often than this, apart from those that begin a step.
const PAUSE: Duration = Duration::from_secs(1);

/// Where progress is shown.
pub(crate) enum Lines {
    /// Bars.
    Bars(MultiProgress),
    /// Lines.
    Plain,
    /// Programs want neither.
    Silent,
}

/// The progress of one switch.
pub(crate) struct Line {
    switch: String,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Plain(Mutex<Option<(usize, Instant)>>),
    Silent,
}

impl Lines {
    /// Bars where a person looks at standard error.
    pub(crate) fn new(format: Format) -> Self {
        match (std::io::stderr().is_terminal(), format) {
            (true, _) => Self::Bars(MultiProgress::new()),
            (false, Format::Text) => Self::Plain,
            (false, Format::Json) => Self::Silent,
        }
    }

    /// Something that is about all of them.
    pub(crate) fn say(&self, what: &str) {
        match self {
            Self::Bars(bars) => {
                let _ = bars.println(what);
            }
            Self::Plain => {
                let _ = writeln!(std::io::stderr(), "{what}");
            }
            Self::Silent => {}
        }
    }

    /// A switch's.
    pub(crate) fn line(&self, switch: &str) -> Line {
        let shown = match self {
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                if let Ok(style) = ProgressStyle::with_template("{prefix:16} {wide_bar} {pos}/{len} {msg:24}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(switch.to_owned());
                Shown::Bar(bar)
            }
            Self::Plain => Shown::Plain(Mutex::new(None)),
            Self::Silent => Shown::Silent,
        };
        Line { switch: switch.to_owned(), shown }
    }
}

impl Line {
    /// What happens before there is a plan.
    pub(crate) fn say(&self, what: &'static str) {
        if let Shown::Bar(bar) = &self.shown {
            bar.set_message(what);
        }
    }

    /// Something has happened; the caller says each thing once.
    pub(crate) fn news(&self, what: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(what.to_owned()),
            Shown::Plain(_) => {
                let _ = writeln!(std::io::stderr(), "{}: {what}", self.switch);
            }
            Shown::Silent => {}
        }
    }

    /// How far the plan is done.
    pub(crate) fn progress(&self, progress: Progress) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_length(progress.total as u64);
                bar.set_position(progress.done as u64);
                bar.set_message(progress.step);
            }
            Shown::Plain(last) => {
                let Ok(mut last) = last.lock() else { return };
                let due = last.is_none_or(|(step, at)| step != progress.number || at.elapsed() >= PAUSE);
                if due {
                    *last = Some((progress.number, Instant::now()));
                    let (done, total) = (grouped(progress.done as u64), grouped(progress.total as u64));
                    let _ = writeln!(
                        std::io::stderr(),
                        "{}: step {} of {}, {}: {done} of {total} writes",
                        self.switch,
                        progress.number,
                        progress.steps,
                        progress.step
                    );
                }
            }
            Shown::Silent => {}
        }
    }
}

/// The result is printed elsewhere.
impl Drop for Line {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
