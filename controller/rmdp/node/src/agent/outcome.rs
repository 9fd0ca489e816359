//! What became of an attempt, and how it is told.

use std::time::Duration;

use outplane_driver_p4runtime::{Error, PUSH, Probe, Problem, Report};
use outplane_rmdp_core::io::Execution;
use outplane_rmdp_core::object::text;
use outplane_rmdp_core::task::Fence;

pub(super) fn outcome(error: &Error, stopped: bool) -> Execution {
    let fenced = |primary: u128| Execution::Fenced { by: Fence::from_election_id(primary) };
    match &*error.problem {
        Problem::NotPrimary { primary: Some(primary), .. }
        | Problem::PrimacyLost { primary: Some(primary) } => fenced(*primary),
        Problem::NoPipeline => Execution::NeedsPush,
        Problem::Cancelled { .. } if stopped => Execution::Stopped,
        Problem::LeaseOver { done, total } | Problem::Cancelled { done, total } => {
            Execution::Slow { reason: slow_text(*done, *total) }
        }
        // Also one that hangs: that cannot be told apart, and costs no more than waiting longer for it.
        Problem::UnderWay => Execution::Slow { reason: text(&error.to_string()) },
        Problem::Deadline { call, .. } if *call != PUSH => {
            Execution::Slow { reason: text(&error.to_string()) }
        }
        _ => Execution::Failed { reason: text(&error.to_string()) },
    }
}

/// How far an attempt came whose time was over.
fn slow_text(done: usize, total: usize) -> String {
    match total {
        0 => "its time had passed before the switch was read".to_owned(),
        total => {
            format!("its time had passed after {done} of {total} writes; the next attempt goes on from there")
        }
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

pub(super) fn report_text(report: &Report) -> String {
    let writes = match report.plan.total {
        0 => "nothing to change".to_owned(),
        1 => "1 write".to_owned(),
        many => format!("{many} writes"),
    };
    format!(
        "{writes}; {} ms: fence {}, read {}{}, plan {}, write {}",
        millis(report.elapsed),
        millis(report.connecting),
        millis(report.reading),
        if report.read_ahead { " ahead" } else { "" },
        millis(report.planning),
        millis(report.written.elapsed)
    )
}

pub(super) fn probe_text(probe: &Probe) -> String {
    let version =
        probe.api_version.as_deref().map_or_else(String::new, |version| format!(", P4Runtime {version}"));
    let pipeline = if probe.is_ours { "our program" } else { "another program, or none" };
    format!("answers in {} ms{version}, {pipeline}", millis(probe.elapsed))
}
