//! A business no of the domain as a problem: its code, its figures under the contract's names. Here a variant's; those of
//! carts and orders, which quote it line by line, stand beside.
mod agents;

pub use agents::{of_cart, of_order};

use super::problem::{Code, Problem};
use super::time::Moment;
use crate::domain::ids::{ReservationId, VariantId};
use crate::domain::time::Timestamp;
use crate::domain::variant::Refusal;
use serde_json::{Value, json};

/// What a refusal is about, for the callers who must know which line failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The variant asked for.
    pub variant: Option<&'a VariantId>,
    /// The reservation asked for.
    pub reservation: Option<ReservationId>,
    /// Units asked for.
    pub quantity: Option<u32>,
}

impl Subject<'_> {
    /// Names it in a problem.
    pub(super) fn name(self, problem: Problem) -> Problem {
        problem
            .with_some("variantId", self.variant.map(VariantId::as_str))
            .with_some("reservationId", self.reservation.map(|id| id.to_string()))
    }
}

/// Says a refusal to the caller. What the state of a variant refuses names it as a line, with what was asked of it and what is
/// free as far as the refusal knows.
pub fn problem(refusal: &Refusal, subject: Subject<'_>) -> Problem {
    let problem = plain(refusal, subject);
    let Some(variant) = subject.variant.filter(|_| problem.is_conflict()) else {
        return problem;
    };
    let (requested, available) = figures(refusal);
    let requested = requested.or(subject.quantity.map(u64::from));
    problem.with(
        "lines",
        json!([{"variantId": variant.as_str(), "requested": requested, "available": available}]),
    )
}

/// Units asked for and units free, where the refusal says so.
fn figures(refusal: &Refusal) -> (Option<u64>, Option<u64>) {
    if let Refusal::InsufficientStock {
        requested, available, ..
    } = refusal
    {
        (Some(*requested), Some(*available))
    } else if let Refusal::LimitReached { requested, .. } = refusal {
        (Some(*requested), None)
    } else if let Refusal::QuantityExceeds { requested, .. } = refusal {
        (Some(u64::from(*requested)), None)
    } else {
        (None, None)
    }
}

fn plain(refusal: &Refusal, subject: Subject<'_>) -> Problem {
    let about = |code| subject.name(Problem::new(code));
    match refusal {
        Refusal::VariantNotFound => about(Code::VariantNotFound),
        Refusal::AlreadyExists => about(Code::AlreadyExists),
        Refusal::ReservationNotFound => about(Code::ReservationNotFound),
        Refusal::InsufficientStock {
            requested,
            available,
            next_release_at,
            contended,
        } => insufficient(subject, (*requested, *available), *next_release_at, *contended),
        Refusal::SaleNotOpen {
            sale,
            opens_at,
            closes_at,
        } => about(Code::SaleNotOpen)
            .with("saleState", sale.as_str())
            .with("opensAt", moment(*opens_at))
            .with("closesAt", moment(*closes_at)),
        Refusal::LimitReached {
            limit,
            taken,
            requested,
        } => about(Code::LimitReached)
            .detail(format!(
                "{requested} asked, {taken} held or bought already, {limit} allowed"
            ))
            .with("limit", "unitsPerCustomerPerVariant")
            .with("allowed", *limit)
            .with("taken", *taken)
            .with("requested", *requested),
        Refusal::AlreadyHeld { id } => Problem::new(Code::AlreadyHeld)
            .with_some("variantId", subject.variant.map(VariantId::as_str))
            .with("reservationId", id.to_string()),
        Refusal::TtlTooLong { max_ms } => {
            Problem::invalid_member("ttlSeconds", format!("at most {}", max_ms / 1000))
        }
        Refusal::ExtensionLimit { max_expires_at } => {
            about(Code::ExtensionLimit).with("maxExpiresAt", moment(Some(*max_expires_at)))
        }
        Refusal::ReservationExpired { at } => {
            about(Code::ReservationExpired).with("endedAt", moment(Some(*at)))
        }
        Refusal::ReservationReleased { at } => {
            about(Code::ReservationReleased).with("endedAt", moment(Some(*at)))
        }
        Refusal::ReservationConfirmed { at } => {
            about(Code::ReservationConfirmed).with("endedAt", moment(Some(*at)))
        }
        Refusal::OwnedByOrder { order } => about(Code::OwnedByOrder).with("orderId", order.as_str()),
        Refusal::NotConfirmed => about(Code::ReservationNotConfirmed),
        Refusal::QuantityExceeds { requested, allowed } => about(Code::TooManyUnits)
            .detail(format!("{requested} asked, {allowed} left"))
            .with("requested", *requested)
            .with("allowed", *allowed),
        Refusal::InFlight => {
            about(Code::RequestInFlight).detail("a bulk request is deciding about this reservation")
        }
        Refusal::BelowHeld {
            held,
            committed,
            least,
        } => about(Code::BelowHeld)
            .with("held", *held)
            .with("committed", *committed)
            .with("minimum", *least),
        Refusal::ExpectedMismatch { on_hand } => about(Code::ExpectedMismatch).with("onHand", *on_hand),
        Refusal::VersionMismatch { current } => about(Code::StaleVersion).with("version", *current),
        Refusal::HasActiveHolds { held, committed } => about(Code::HasActiveHolds)
            .with("held", *held)
            .with("committed", *committed),
        Refusal::OutOfRange => Problem::invalid_member("delta", "a change that keeps the level in range"),
    }
}

fn insufficient(
    subject: Subject<'_>,
    (requested, available): (u64, u64),
    next: Option<Timestamp>,
    contended: bool,
) -> Problem {
    let problem = subject
        .name(Problem::new(Code::InsufficientStock))
        .detail(format!("{requested} asked, {available} free"))
        .with("requested", requested)
        .with("available", available)
        .with("nextReleaseAt", moment(next));
    // Another bulk request holds units it may give back in a moment: trying again soon is worth it.
    if contended {
        problem.retry_after(1)
    } else {
        problem
    }
}

fn moment(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::Null, |moment| Value::String(Moment(moment).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_names_the_line_and_its_figures() {
        let variant = VariantId::parse("123").unwrap();
        let refusal = Refusal::InsufficientStock {
            requested: 2,
            available: 1,
            next_release_at: Some(Timestamp::from_millis(0)),
            contended: false,
        };
        let problem = problem(
            &refusal,
            Subject {
                variant: Some(&variant),
                ..Subject::default()
            },
        );
        let body = serde_json::to_value(problem.body("r")).unwrap();
        assert_eq!(body["status"], 409);
        assert_eq!(
            body["lines"],
            json!([{"variantId": "123", "requested": 2, "available": 1}])
        );
        assert_eq!((&body["requested"], &body["available"]), (&json!(2), &json!(1)));
        assert_eq!(body["nextReleaseAt"], "1970-01-01T00:00:00.000Z");
    }
}
