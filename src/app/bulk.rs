//! Bulk requests: one coordinator over many lines. Giving back a whole cart is one too.
use super::{Answered, AppError, Context, HoldFilter, Keyed, Shop, home::Home, reservations::count};
use crate::{
    actor::{Answer, KeyClaim, Logged},
    clock::Stopwatch,
    domain::{
        bulk::{Action, Event, LINES_MAX, Line, LineOutcome, Mode, Plan, records_max},
        ids::{BulkId, CartId, ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
        time::Timestamp,
        variant::{HoldStatus, Refusal, Shopper},
    },
    storage::record::{Fact, Told},
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
        let plan = self.plan(ctx, ask).await?;
        let id = ctx
            .key
            .map_or_else(|| fastrand::u128(..), |key| u128::from_be_bytes(key.hash.0));
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return bulk_done(plan, *logged, reserves, true),
            Keyed::Fresh(key) => key,
        };
        if reserves && self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let logged = self.coordinate(ctx, BulkId(id), plan.clone(), key).await?;
        bulk_done(plan, logged, reserves, false)
    }

    /// Has a coordinator carry out a plan.
    async fn coordinate(
        &self,
        ctx: &Context,
        id: BulkId,
        plan: Plan,
        key: Option<KeyClaim>,
    ) -> Result<Logged, AppError> {
        // One request among the others, and the journal slots of all its lines.
        let _admitted = self.admission.admit().map_err(AppError::Shed)?;
        let permit = self
            .admission
            .reserve(records_max(plan.lines.len()))
            .map_err(AppError::Shed)?;
        let (port, answer) = oneshot::channel();
        let started = self.directory.start_bulk(id, plan, key, permit, port);
        started.map_err(|_| AppError::InFlight)?;
        match self.answer(ctx, answer).await? {
            Answer::Logged(logged) => Ok(*logged),
            Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Holds { .. }
            | Answer::Cart { .. }
            | Answer::Order { .. }
            | Answer::Count(_) => Err(AppError::bug("a bulk request was answered by something else")),
        }
    }

    /// Gives back every live reservation of a cart, all at once with the record that remembers the key: a repeat gives back
    /// nothing that was held since, and a crash leaves all of them or none. A cart of more than [`LINES_MAX`] reservations
    /// goes in parts, the last with the key.
    ///
    /// # Errors
    /// Somebody else has a reservation in hand, or an error of the way.
    pub async fn release_cart(&self, ctx: &Context, cart: CartId) -> Result<Answered<()>, AppError> {
        let begun = Stopwatch::start();
        let done = self.try_to_release_cart(ctx, cart).await;
        let replayed = done.as_ref().is_ok_and(|done| done.replayed);
        let outcome = match &done {
            Ok(_) => replayed.then_some(Outcome::Repeated),
            Err(error) => Some(error.outcome()),
        };
        count(Operation::Bulk, outcome, begun, done.as_ref().err());
        done
    }

    async fn try_to_release_cart(&self, ctx: &Context, cart: CartId) -> Result<Answered<()>, AppError> {
        let done = |at, replayed| {
            Ok(Answered {
                body: (),
                at,
                replayed,
            })
        };
        loop {
            let mut key = match self.claim(ctx).await? {
                Keyed::Known(logged) => return done(logged.turn.at, true),
                Keyed::Fresh(key) => key,
            };
            loop {
                let (ids, is_last) = self.live_in_cart(ctx, &cart).await?;
                if ids.is_empty() {
                    let Some(key) = key else {
                        return done(self.clock.now(), false);
                    };
                    let permit = self.admission.admit().map_err(AppError::Shed)?;
                    let logged = self.tell(ctx, key, permit, Told::Done).await?;
                    return done(logged.turn.at, false);
                }
                let mode = Mode::AllOrNothing;
                let what = BulkWhat::Release(ids);
                let plan = self.plan(ctx, BulkAsk { mode, what }).await?;
                let id = BulkId(fastrand::u128(..));
                let key = if is_last { key.take() } else { None };
                let keyed = key.is_some();
                let logged = self.coordinate(ctx, id, plan.clone(), key).await?;
                match bulk_done(plan, logged, false, false) {
                    Ok(released) if is_last => return done(released.at, false),
                    Ok(_) => {}
                    Err(AppError::BulkRefused { lines, at }) => {
                        stands_in_the_way(&lines, at)?;
                        if keyed {
                            break; // The coordinator gave the key back.
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// The first live reservations of a cart that no order owns, as many as one coordinator takes, and whether these are all.
    async fn live_in_cart(
        &self,
        ctx: &Context,
        cart: &CartId,
    ) -> Result<(Vec<ReservationId>, bool), AppError> {
        let filter = HoldFilter {
            cart: Some(cart.clone()),
            status: Some(HoldStatus::Active),
            ..HoldFilter::default()
        };
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = self.list_reservations(ctx, &filter, after, LINES_MAX).await?;
            // One that is being paid is its order's to decide.
            let free = page
                .items
                .into_iter()
                .filter(|item| item.hold.owning_order().is_none());
            ids.extend(free.map(|item| item.hold.id));
            if ids.len() > LINES_MAX {
                ids.truncate(LINES_MAX);
                return Ok((ids, false));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok((ids, true)),
            }
        }
    }

    async fn plan(&self, ctx: &Context, ask: BulkAsk) -> Result<Plan, AppError> {
        let now = self.clock.now();
        let guest = matches!(&ask.what, BulkWhat::Reserve { shopper, .. } if shopper.customer.is_none());
        let terms = self.policies.of(&ctx.store).terms(guest);
        let mut made = Vec::new();
        let (action, ids) = match ask.what {
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
                made.extend(lines.into_iter().map(line));
                (Action::Reserve { shopper, ttl_ms }, Vec::new())
            }
            BulkWhat::Extend { ids, by_ms } => (Action::Extend { by_ms }, ids),
            BulkWhat::Confirm(ids) => (Action::Confirm, ids),
            BulkWhat::Release(ids) => (Action::Release, ids),
        };
        let mut lines = made;
        for id in ids {
            lines.push(line_of(self.home(ctx, id).await?, id));
        }
        Ok(Plan {
            store: ctx.store.clone(),
            mode: ask.mode,
            action,
            lines,
            terms,
        })
    }
}

/// What the decision's record says, and nothing else: a repeat is answered by the same.
fn bulk_done(
    plan: Plan,
    logged: Logged,
    reserves: bool,
    replayed: bool,
) -> Result<Answered<BulkDone>, AppError> {
    let at = logged.turn.at;
    let Fact::Bulk {
        event: Event::Decided { commit, outcomes },
        ..
    } = logged.turn.fact
    else {
        return Err(AppError::KeyReused);
    };
    let mut lines = Vec::with_capacity(plan.lines.len());
    for (line, mut outcome) in plan.lines.into_iter().zip(outcomes) {
        if matches!(outcome, LineOutcome::Refused(Refusal::VariantNotFound)) && !reserves {
            outcome = LineOutcome::Refused(Refusal::ReservationNotFound);
        }
        // Of one that there is not, a repeat may know another variant than the first request did.
        let unknown = matches!(outcome, LineOutcome::Refused(Refusal::ReservationNotFound));
        let named = reserves || (line.variant.is_some() && !unknown);
        let line = BulkLine {
            variant: named.then_some(line.variant_id),
            reservation: (!reserves).then_some(line.reservation),
            quantity: reserves.then_some(line.quantity),
        };
        lines.push((line, outcome));
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

/// The line of a reservation that exists, or is said to.
fn line_of(home: Option<Home>, reservation: ReservationId) -> Line {
    Line {
        variant: home.as_ref().map(|_| reservation.variant()),
        variant_id: home.map_or_else(unknown_variant, |home| home.id().clone()),
        reservation,
        quantity: 0,
    }
}

/// Why a cart could not be given back, unless all that was refused has ended by itself meanwhile: then it is only to be
/// looked at again.
fn stands_in_the_way(lines: &[(BulkLine, LineOutcome)], at: Timestamp) -> Result<(), AppError> {
    for (_, outcome) in lines {
        match outcome {
            LineOutcome::Done(_)
            | LineOutcome::Refused(
                Refusal::ReservationNotFound
                | Refusal::ReservationReleased { .. }
                | Refusal::ReservationExpired { .. }
                | Refusal::ReservationConfirmed { .. },
            ) => {}
            LineOutcome::Refused(refusal) => {
                let refusal = refusal.clone();
                return Err(AppError::Refused { refusal, at });
            }
            LineOutcome::Unanswered => return Err(AppError::Late),
        }
    }
    Ok(())
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
