//! Bulk requests: one coordinator over many lines.
use super::{Answered, AppError, Context, Keyed, Shop, reservations::count};
use crate::{
    actor::{Answer, Logged, slots},
    clock::Stopwatch,
    domain::{
        bulk::{Action, Event, Line, LineOutcome, Mode, Plan},
        ids::{BulkId, ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
        time::Timestamp,
        variant::{Refusal, Shopper},
    },
    storage::record::Fact,
    telemetry::metrics::{Operation, Outcome},
};
use tokio::sync::oneshot;

/// A bulk request.
#[derive(Clone, Debug)]
pub struct BulkAsk {
    /// Whether lines stand and fall together.
    pub mode: Mode,
    /// What is done to which lines.
    pub what: BulkWhat,
}

/// What is done to which lines.
#[derive(Clone, Debug)]
pub enum BulkWhat {
    /// Hold units; lines of the same variant have been summed.
    Reserve {
        /// Variant and units.
        lines: Vec<(VariantId, u32)>,
        /// For whom.
        shopper: Shopper,
        /// For how long, ms.
        ttl_ms: Option<i64>,
    },
    /// Move deadlines, by so many ms or the store's extension.
    Extend {
        /// Of these.
        ids: Vec<ReservationId>,
        /// By how much.
        by_ms: Option<i64>,
    },
    /// Sell these.
    Confirm(Vec<ReservationId>),
    /// Give these back.
    Release(Vec<ReservationId>),
}

/// What a line was about.
#[derive(Clone, Debug)]
pub struct BulkLine {
    /// The shop's id of the variant; empty when a reservation's variant is not known.
    pub variant: Option<VariantId>,
    /// The reservation asked for; none for a line that was to make one.
    pub reservation: Option<ReservationId>,
    /// Units asked for.
    pub quantity: Option<u32>,
}

/// Line by line what a bulk request came to.
#[derive(Clone, Debug)]
pub struct BulkDone {
    /// In the order asked for.
    pub lines: Vec<(BulkLine, LineOutcome)>,
}

impl BulkDone {
    /// Whether every line was done.
    pub fn is_complete(&self) -> bool {
        self.lines.iter().all(|(_, outcome)| outcome.is_done())
    }
}

impl Shop {
    /// Carries out a bulk request.
    ///
    /// # Errors
    /// An all-or-nothing request that kept nothing names every failing line; otherwise an error of the way.
    pub async fn bulk(&self, ctx: &Context, ask: BulkAsk) -> Result<Answered<BulkDone>, AppError> {
        let begun = Stopwatch::start();
        let done = self.bulk_once(ctx, ask).await;
        let outcome = match &done {
            Ok(Answered { replayed: true, .. }) => Some(Outcome::Repeated),
            Ok(_) => None,
            Err(error) => Some(error.outcome()),
        };
        count(Operation::Bulk, outcome, begun, done.as_ref().err());
        done
    }

    async fn bulk_once(&self, ctx: &Context, ask: BulkAsk) -> Result<Answered<BulkDone>, AppError> {
        let reserves = matches!(ask.what, BulkWhat::Reserve { .. });
        let plan = self.plan(ctx, ask);
        let id = ctx
            .key
            .map_or_else(|| fastrand::u128(..), |key| u128::from_be_bytes(key.hash.0));
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return self.bulk_done(plan, *logged, reserves, true).await,
            Keyed::Fresh(key) => key,
        };
        if reserves && self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        // One request among the others, and the journal slots of all its lines.
        let _admitted = self.admission.admit().map_err(AppError::Shed)?;
        let permit = self
            .admission
            .reserve(slots(plan.lines.len()))
            .map_err(AppError::Shed)?;
        let (port, answer) = oneshot::channel();
        let started = self
            .directory
            .start_bulk(BulkId(id), plan.clone(), key, permit, port);
        started.map_err(|_| AppError::InFlight)?;
        match self.answer(ctx, answer).await? {
            Answer::Logged(logged) => self.bulk_done(plan, *logged, reserves, false).await,
            Answer::Repeat { .. } | Answer::Variant(_) | Answer::Holds { .. } | Answer::Count(_) => {
                Err(AppError::bug("a bulk request was answered by something else"))
            }
        }
    }

    fn plan(&self, ctx: &Context, ask: BulkAsk) -> Plan {
        let now = self.clock.now();
        let guest = matches!(&ask.what, BulkWhat::Reserve { shopper, .. } if shopper.customer.is_none());
        let terms = self.policies.of(&ctx.store).terms(guest);
        let existing = |ids: Vec<ReservationId>| ids.into_iter().map(|id| self.line_of(ctx, id)).collect();
        let (action, lines) = match ask.what {
            BulkWhat::Reserve {
                lines,
                shopper,
                ttl_ms,
            } => {
                let line = |(variant_id, quantity): (VariantId, u32)| {
                    let entry = self.directory.find(&ctx.store, &variant_id);
                    let reservation = entry.as_ref().map(|entry| entry.new_reservation(now));
                    Line {
                        variant: entry.map(|entry| entry.ordinal),
                        reservation: reservation.unwrap_or_else(|| nobodys(&ctx.store, &variant_id, now)),
                        variant_id,
                        quantity,
                    }
                };
                (
                    Action::Reserve { shopper, ttl_ms },
                    lines.into_iter().map(line).collect(),
                )
            }
            BulkWhat::Extend { ids, by_ms } => (Action::Extend { by_ms }, existing(ids)),
            BulkWhat::Confirm(ids) => (Action::Confirm, existing(ids)),
            BulkWhat::Release(ids) => (Action::Release, existing(ids)),
        };
        Plan {
            store: ctx.store.clone(),
            mode: ask.mode,
            action,
            lines,
            terms,
        }
    }

    fn line_of(&self, ctx: &Context, reservation: ReservationId) -> Line {
        let entry = self.variant_of(ctx, reservation).ok();
        let variant_id = entry.as_ref().map(|entry| entry.id.clone());
        Line {
            variant: entry.map(|entry| entry.ordinal),
            variant_id: variant_id.unwrap_or_else(unknown_variant),
            reservation,
            quantity: 0,
        }
    }

    async fn bulk_done(
        &self,
        plan: Plan,
        logged: Logged,
        reserves: bool,
        replayed: bool,
    ) -> Result<Answered<BulkDone>, AppError> {
        let at = logged.turn.at;
        let Fact::Bulk {
            event: Event::Decided { commit, mut outcomes },
            ..
        } = logged.turn.fact
        else {
            return Err(AppError::KeyReused);
        };
        let mut lines = Vec::with_capacity(plan.lines.len());
        for (line, outcome) in plan.lines.iter().zip(&mut outcomes) {
            let closed = matches!(outcome, LineOutcome::Refused(Refusal::ReservationNotFound));
            if closed && let Some(hold) = self.ended(line.reservation).await? {
                *outcome = LineOutcome::Refused(hold.ended_refusal());
            }
            if matches!(outcome, LineOutcome::Refused(Refusal::VariantNotFound)) && !reserves {
                *outcome = LineOutcome::Refused(Refusal::ReservationNotFound);
            }
            let line = BulkLine {
                variant: line
                    .variant
                    .map(|_| line.variant_id.clone())
                    .or_else(|| reserves.then(|| line.variant_id.clone())),
                reservation: (!reserves).then_some(line.reservation),
                quantity: reserves.then_some(line.quantity),
            };
            lines.push((line, outcome.clone()));
        }
        if commit {
            Ok(Answered {
                body: BulkDone { lines },
                at,
                replayed,
            })
        } else {
            Err(AppError::BulkRefused { lines, at })
        }
    }
}

/// The id of a line whose variant is unknown. It may be logged, so it must be one that reads back; no variant is ever asked
/// for it, and no caller sees it.
pub(super) fn nobodys(store: &StoreId, variant: &VariantId, now: Timestamp) -> ReservationId {
    ReservationId::new(now, Slot::of_variant(store, variant), NOBODY, 0)
}

/// No variant has this number.
pub(super) const NOBODY: VariantOrdinal = VariantOrdinal(u32::MAX);

pub(super) fn unknown_variant() -> VariantId {
    VariantId::parse("-").expect("one visible character is an id")
}
