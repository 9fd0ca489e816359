//! What became of an attempt, and how it is told.

use std::time::Duration;

use outplane_driver::{Answer, Ended, Report};
use outplane_rmdp_core::io::Execution;
use outplane_rmdp_core::key::MAX_ATTEMPT;
use outplane_rmdp_core::object::text;
use outplane_rmdp_core::task::{Fence, MAX_AUDIT};

// Drivers have room for all fences that there are.
const _: () = assert!(MAX_AUDIT <= outplane_driver::Fence::MAX_AUDIT);
const _: () = assert!(MAX_ATTEMPT <= outplane_driver::Fence::MAX_ATTEMPT);

/// A fence as the driver has it.
pub(super) fn to_driver(fence: Fence) -> outplane_driver::Fence {
    let Fence { generation, audit, attempt } = fence;
    outplane_driver::Fence { generation, audit, attempt }
}

/// The fence behind one that a driver names.
pub(crate) fn of_driver(fence: outplane_driver::Fence) -> Fence {
    let outplane_driver::Fence { generation, audit, attempt } = fence;
    Fence { generation, audit, attempt }
}

pub(super) fn outcome(ended: Ended, stopped: bool) -> Execution {
    match ended {
        Ended::Overtaken { by, named } => Execution::Fenced { by: of_driver(by), named },
        Ended::Lacking => Execution::NeedsPush,
        Ended::Stopped { .. } if stopped => Execution::Stopped,
        Ended::TooLate { done, total } | Ended::Stopped { done, total } => {
            Execution::Slow { reason: slow_text(done, total) }
        }
        Ended::Unanswered { reason } => Execution::Slow { reason: text(&reason) },
        Ended::LoadingLate { reason, .. } | Ended::Failed { reason } => {
            Execution::Failed { reason: text(&reason) }
        }
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
    let writes = match report.writes {
        0 => "nothing to change".to_owned(),
        1 => "1 write".to_owned(),
        many => format!("{many} writes"),
    };
    let [reading, fencing] = [report.reading, report.fencing].map(millis);
    let [planning, writing] = [report.planning, report.writing].map(millis);
    let elapsed = millis(report.elapsed);
    if report.remembered {
        format!(
            "{writes}; {elapsed} ms: fence {fencing}, plan {planning}, write {writing}; from memory: nobody else was primary since \
             the switch was read"
        )
    } else if report.read_ahead {
        // It is no part of the time.
        format!(
            "{writes}; {elapsed} ms: fence {fencing}, plan {planning}, write {writing}; read in {reading} beside the claim"
        )
    } else {
        format!("{writes}; {elapsed} ms: fence {fencing}, read {reading}, plan {planning}, write {writing}")
    }
}

pub(super) fn answer_text(answer: &Answer) -> String {
    let speaks = answer.speaks.as_deref().map_or_else(String::new, |speaks| format!(", {speaks}"));
    let loaded = if answer.is_loaded { "our program" } else { "another program, or none" };
    format!("answers in {} ms{speaks}, {loaded}", millis(answer.elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_ahead_is_no_part_of_the_time() {
        let ms = Duration::from_millis;
        let elapsed = ms(9);
        let report = Report { writes: 1, fencing: ms(2), reading: ms(4), elapsed, ..Report::default() };
        assert_eq!(report_text(&report), "1 write; 9.0 ms: fence 2.0, read 4.0, plan 0.0, write 0.0");
        let ahead = report_text(&Report { read_ahead: true, ..report });
        assert_eq!(ahead, "1 write; 9.0 ms: fence 2.0, plan 0.0, write 0.0; read in 4.0 beside the claim");
        let remembered = report_text(&Report { reading: Duration::ZERO, remembered: true, ..report });
        assert_eq!(
            remembered,
            "1 write; 9.0 ms: fence 2.0, plan 0.0, write 0.0; from memory: nobody else was primary since the switch was read"
        );
    }
}
