//! Why a use case did not succeed, said to the caller. Statuses are chosen by who must act next; what failed on our side
//! is logged here, once, and told without detail.
use super::problem::{Code, Problem};
use super::refusal::{self, Subject};
use super::site::Site;
use super::view::{failed, fault};
use crate::actor::Shed;
use crate::app::{AppError, BulkLine, Context, TOGETHER_MAX};
use crate::domain::bulk::LineOutcome;
use crate::domain::ids::ReservationId;
use crate::domain::variant::Refusal;
use serde_json::Value;

/// Says an error of the app to the caller.
pub fn problem(error: &AppError, subject: Subject<'_>) -> Problem {
    match error {
        AppError::Refused { refusal, .. } => refusal::problem(refusal, subject),
        AppError::BulkRefused { lines, .. } => bulk(lines),
        AppError::CartRefused { refusal, .. } => refusal::of_cart(refusal),
        AppError::OrderRefused { refusal, .. } => refusal::of_order(refusal),
        AppError::KeyReused => Problem::new(Code::IdempotencyKeyReused),
        AppError::InFlight => Problem::new(Code::RequestInFlight),
        AppError::KeysFull => Problem::new(Code::Overloaded).detail("too many recent idempotency keys"),
        AppError::Shed(Shed::Process | Shed::Reserved) => Problem::new(Code::Overloaded),
        AppError::Shed(Shed::Variant | Shed::Cart) => Problem::new(Code::TooManyRequests),
        AppError::Shed(Shed::Draining) => Problem::new(Code::Draining),
        AppError::Late => {
            Problem::new(Code::Overloaded).detail("not judged before the deadline; nothing was done")
        }
        AppError::OutcomeUnknown => Problem::new(Code::OutcomeUnknown),
        AppError::Gone if subject.reservation.is_some() => {
            refusal::problem(&Refusal::ReservationNotFound, subject)
        }
        AppError::Gone => refusal::problem(&Refusal::VariantNotFound, subject),
        AppError::Quarantined => subject.name(Problem::new(Code::VariantQuarantined)),
        AppError::ImportFaults { faults, total } => Problem::new(Code::InvalidLines)
            .detail(format!("{total} lines cannot be taken; nothing was done"))
            .with("total", *total)
            .with("lines", faults.iter().map(fault).collect::<Vec<_>>()),
        AppError::ImportTooLong { lines } => Problem::new(Code::ListTooLarge)
            .detail(format!(
                "{lines} lines; all or nothing takes at most {TOGETHER_MAX}"
            ))
            .with("limitLines", TOGETHER_MAX),
        AppError::ImportTooLarge { bytes_max } => Problem::new(Code::ListTooLarge)
            .detail(format!(
                "it comes to more than {bytes_max} bytes of the log; nothing was done"
            ))
            .with("limitBytes", *bytes_max),
        AppError::ImportRefused { failures, lines } => Problem::new(Code::LinesRefused)
            .detail(format!(
                "{} of {lines} lines were refused; nothing was done",
                failures.len()
            ))
            .with("lines", failures.iter().map(failed).collect::<Vec<_>>()),
        AppError::HistoryTooOld { known_from } => {
            Problem::new(Code::HistoryTooOld).with_some("oldestNumber", *known_from)
        }
        AppError::ImportStopped { lines, because } => {
            let because = problem(because, subject);
            let told = format!(
                "{lines} lines were judged before it stopped ({}); under the same Idempotency-Key the same list goes on from there",
                because.told()
            );
            because.detail(told).with("linesJudged", *lines)
        }
        AppError::DiskReserve => {
            Problem::new(Code::StorageUnavailable).detail("free disk space is below the reserve")
        }
        AppError::SnapshotRunning => Problem::new(Code::SnapshotRunning),
        AppError::SnapshotNotFound(id) => {
            Problem::new(Code::SnapshotNotFound).with("snapshotId", id.as_str())
        }
        AppError::SnapshotDamaged { id, why, offset } => Problem::new(Code::SnapshotDamaged)
            .detail(why.clone())
            .with("snapshotId", id.as_str())
            .with_some("offset", *offset),
        AppError::DiskFull => Problem::new(Code::InsufficientStorage),
        AppError::Internal(what) => {
            tracing::error!(error = %what, "a use case failed");
            Problem::new(Code::Internal)
        }
    }
}

/// Nothing was kept: every failing line with its own code, and the figures that all of them share in one place.
fn bulk(lines: &[(BulkLine, LineOutcome)]) -> Problem {
    let failing: Vec<Value> = lines
        .iter()
        .filter_map(|(line, outcome)| line_problem(line, outcome))
        .collect();
    Problem::new(Code::LinesRefused)
        .detail(format!("{} of {} lines were refused", failing.len(), lines.len()))
        .with("lines", failing)
}

/// Why a line failed, as a member of `lines`: its code and title, then the data of its code.
pub fn line_problem(line: &BulkLine, outcome: &LineOutcome) -> Option<Value> {
    let subject = Subject {
        variant: line.variant.as_ref(),
        reservation: line.reservation,
        quantity: line.quantity,
    };
    let problem = match outcome {
        LineOutcome::Done(_) => return None,
        LineOutcome::Refused(refusal) => refusal::problem(refusal, subject),
        LineOutcome::Unanswered => subject
            .name(Problem::new(Code::Overloaded).detail("not judged before the deadline; nothing was done")),
    };
    Some(problem.as_line())
}

/// Says why something could not be done to a reservation.
pub fn of_reservation(site: &Site, context: &Context, id: ReservationId, error: &AppError) -> Problem {
    let variant = site.shop.variant_of(context, id);
    let subject = Subject {
        variant: variant.as_ref(),
        reservation: Some(id),
        quantity: None,
    };
    problem(error, subject)
}
