//! Reservations: hold, extend, change, confirm, give back, look at.
use super::{Answered, AppError, Context, Done, Keyed, Shop};
use crate::clock::Stopwatch;
use crate::{
    actor::{Answer, Entry, What},
    domain::{
        ids::{OrderId, ReservationId, VariantId},
        time::Timestamp,
        variant::{
            AfterSale, Command, Confirm, EndReason, Event, Extend, Hold, HoldStatus, Phase, Refusal, Reserve,
            Shopper,
        },
    },
    storage::record::Fact,
    telemetry::metrics::{Operation, Outcome, Shed, metrics},
};
use hashbrown::HashMap;
use std::sync::Arc;

/// A wish to hold units.
#[derive(Clone, Debug)]
pub struct ReserveAsk {
    /// Of which variant.
    pub variant: VariantId,
    /// How many, at least 1.
    pub quantity: u32,
    /// For whom.
    pub shopper: Shopper,
    /// For how long, ms; the policy's length otherwise.
    pub ttl_ms: Option<i64>,
    /// Fewer are welcome.
    pub allow_partial: bool,
}

/// A reservation with the shop's id of its variant.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The reservation.
    pub hold: Hold,
    /// Whose units.
    pub variant: VariantId,
}

/// Whether a reservation still stands.
#[derive(Clone, Debug)]
pub struct Validity {
    /// The id asked for, as the caller wrote it.
    pub id: String,
    /// The reservation, if it is known.
    pub reservation: Option<Reservation>,
}

impl Shop {
    /// Holds units.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn reserve(&self, ctx: &Context, ask: ReserveAsk) -> Result<Answered<Reservation>, AppError> {
        let begun = Stopwatch::start();
        let variant = ask.variant.clone();
        let done = self.try_to_reserve(ctx, ask).await;
        let done = self.counted(Operation::Reserve, begun, done)?;
        self.reservation(&variant, done)
    }

    async fn try_to_reserve(&self, ctx: &Context, ask: ReserveAsk) -> Result<Done, AppError> {
        // The key first: a repeat is answered even if the variant has gone since.
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return Ok(Done::replayed(logged)),
            Keyed::Fresh(key) => key,
        };
        let entry = self.variant(ctx, &ask.variant)?;
        let now = self.clock.now();
        if let Some(sold_out) = entry.gate.sold_out(now) {
            metrics().shed.of(Shed::SoldOut).increment(1);
            let refusal = Refusal::InsufficientStock {
                requested: u64::from(ask.quantity),
                available: 0,
                next_release_at: sold_out.next_release_at,
                contended: false,
            };
            return Err(AppError::Refused { refusal, at: now });
        }
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let reserve = Reserve {
            id: entry.new_reservation(now),
            quantity: ask.quantity,
            terms: self.policies.of(&ctx.store).terms(ask.shopper.customer.is_none()),
            shopper: ask.shopper,
            ttl_ms: ask.ttl_ms,
            allow_partial: ask.allow_partial,
            for_order: None,
        };
        self.send(ctx, &entry, Command::Reserve(reserve), key).await
    }

    /// Moves a reservation's deadline.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn extend(
        &self,
        ctx: &Context,
        id: ReservationId,
        by_ms: Option<i64>,
        phase: Option<Phase>,
    ) -> Result<Answered<Reservation>, AppError> {
        let terms = self.policies.of(&ctx.store).terms(false);
        self.act(
            ctx,
            id,
            Operation::Extend,
            Command::Extend(Extend {
                id,
                by_ms,
                phase,
                terms,
                seen: None,
            }),
        )
        .await
    }

    /// Changes a reservation's quantity.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn resize(
        &self,
        ctx: &Context,
        id: ReservationId,
        quantity: u32,
    ) -> Result<Answered<Reservation>, AppError> {
        let terms = self.policies.of(&ctx.store).terms(false);
        self.act(
            ctx,
            id,
            Operation::Extend,
            Command::Resize { id, quantity, terms },
        )
        .await
    }

    /// Sells the units. A repeat gives the same answer.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn confirm(
        &self,
        ctx: &Context,
        id: ReservationId,
        quantity: Option<u32>,
        order: Option<OrderId>,
    ) -> Result<Answered<Reservation>, AppError> {
        let ask = Confirm { id, quantity, order };
        let done = self
            .act(ctx, id, Operation::Confirm, Command::Confirm(ask.clone()))
            .await;
        let Err(AppError::Refused {
            refusal: Refusal::ReservationConfirmed { at },
            ..
        }) = done
        else {
            return done;
        };
        // Sold and shipped since: the variant has closed it, the repeat is judged by its row.
        let reservation = self.get_reservation(ctx, id).await?.body;
        let hold = reservation
            .hold
            .repeat_of_confirm(&ask)
            .map_err(|refusal| self.refused(refusal))?;
        Ok(Answered {
            body: Reservation { hold, ..reservation },
            at,
            replayed: false,
        })
    }

    /// Gives the units back. One that has ended without being sold is given back already.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn release(&self, ctx: &Context, id: ReservationId) -> Result<Answered<Reservation>, AppError> {
        let done = self
            .act(ctx, id, Operation::Release, Command::Release { id })
            .await;
        let refused = if let Err(AppError::Refused { refusal, .. }) = &done {
            Some(refusal)
        } else {
            None
        };
        match refused {
            Some(Refusal::ReservationExpired { .. } | Refusal::ReservationReleased { .. }) => {
                self.get_reservation(ctx, id).await
            }
            Some(_) | None => done,
        }
    }

    /// Sold units leave the warehouse.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn fulfil(
        &self,
        ctx: &Context,
        id: ReservationId,
        quantity: Option<u32>,
    ) -> Result<Answered<Reservation>, AppError> {
        self.after_sale(ctx, id, quantity, true, Operation::Fulfil, Command::Fulfil)
            .await
    }

    /// Sold units are cancelled before they leave.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn cancel(
        &self,
        ctx: &Context,
        id: ReservationId,
        quantity: Option<u32>,
        restock: bool,
    ) -> Result<Answered<Reservation>, AppError> {
        self.after_sale(ctx, id, quantity, restock, Operation::Cancel, Command::Cancel)
            .await
    }

    /// Shipped units come back.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn take_back(
        &self,
        ctx: &Context,
        id: ReservationId,
        quantity: Option<u32>,
        restock: bool,
    ) -> Result<Answered<Reservation>, AppError> {
        self.after_sale(ctx, id, quantity, restock, Operation::Return, Command::Return)
            .await
    }

    async fn after_sale(
        &self,
        ctx: &Context,
        id: ReservationId,
        quantity: Option<u32>,
        restock: bool,
        operation: Operation,
        command: impl Fn(AfterSale) -> Command,
    ) -> Result<Answered<Reservation>, AppError> {
        let begun = Stopwatch::start();
        let entry = self.variant_of(ctx, id)?;
        let done = async {
            let key = match self.claim(ctx).await? {
                Keyed::Known(logged) => return Ok(Done::replayed(logged)),
                Keyed::Fresh(key) => key,
            };
            let ask = AfterSale {
                id,
                quantity,
                restock,
                // The variant is asked with the stored row at hand; its own copy, if it keeps one, stands above it.
                closed: self.ended(id).await?.map(Box::new),
                by: ctx.caller.to_string(),
                keep_ms: self.config.retention.ended.as_millis(),
            };
            self.send(ctx, &entry, command(ask), key).await
        };
        let done = self.counted(operation, begun, done.await)?;
        self.reservation(&entry.id, done)
    }

    /// A reservation, live or ended.
    ///
    /// # Errors
    /// Not known (any more), or an error of the way.
    pub async fn get_reservation(
        &self,
        ctx: &Context,
        id: ReservationId,
    ) -> Result<Answered<Reservation>, AppError> {
        let entry = self.variant_of(ctx, id)?;
        let (hold, at) = self.hold(ctx, &entry, id).await?;
        let hold = hold.ok_or_else(|| self.refused(Refusal::ReservationNotFound))?;
        Ok(Answered {
            body: Reservation {
                hold,
                variant: entry.id.clone(),
            },
            at,
            replayed: false,
        })
    }

    async fn hold(
        &self,
        ctx: &Context,
        entry: &Arc<Entry>,
        id: ReservationId,
    ) -> Result<(Option<Hold>, Timestamp), AppError> {
        let mut holds = self.holds(ctx, entry, vec![id]).await?;
        let hold = holds.0.pop().flatten();
        Ok((hold, holds.1))
    }

    /// Several reservations of one variant, live or ended, in the order asked for.
    pub(super) async fn holds(
        &self,
        ctx: &Context,
        entry: &Arc<Entry>,
        ids: Vec<ReservationId>,
    ) -> Result<(Vec<Option<Hold>>, Timestamp), AppError> {
        let Answer::Holds { mut holds, at } = self.look(ctx, entry, What::Holds(ids.clone())).await? else {
            return Err(AppError::bug(
                "a look at reservations was answered by something else",
            ));
        };
        for (hold, id) in holds.iter_mut().zip(ids) {
            match hold {
                Some(kept) if kept.status == HoldStatus::Tentative => *hold = None,
                Some(kept) if kept.is_due(at) => *kept = as_expired(kept),
                Some(_) => {}
                None => *hold = self.ended(id).await?,
            }
        }
        Ok((holds, at))
    }

    /// Which of these reservations still stand; an unknown id is a result too.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn validate(
        &self,
        ctx: &Context,
        ids: Vec<String>,
    ) -> Result<Answered<Vec<Validity>>, AppError> {
        let mut by_variant: HashMap<u32, (Arc<Entry>, Vec<ReservationId>)> = HashMap::new();
        let parsed: Vec<Option<ReservationId>> = ids.iter().map(|id| id.parse().ok()).collect();
        for id in parsed.iter().flatten() {
            if let Ok(entry) = self.variant_of(ctx, *id) {
                by_variant
                    .entry(entry.ordinal.0)
                    .or_insert_with(|| (entry, Vec::new()))
                    .1
                    .push(*id);
            }
        }
        let mut found: HashMap<ReservationId, Reservation> = HashMap::new();
        let mut at = self.clock.now();
        for (entry, ids) in by_variant.into_values() {
            let (holds, seen_at) = self.holds(ctx, &entry, ids).await?;
            at = at.max(seen_at);
            let known = holds.into_iter().flatten();
            found.extend(known.map(|hold| {
                (
                    hold.id,
                    Reservation {
                        hold,
                        variant: entry.id.clone(),
                    },
                )
            }));
        }
        let validity = |(id, parsed): (String, Option<ReservationId>)| Validity {
            id,
            reservation: parsed.and_then(|parsed| found.get(&parsed).cloned()),
        };
        let body = ids.into_iter().zip(parsed).map(validity).collect();
        Ok(Answered {
            body,
            at,
            replayed: false,
        })
    }

    /// One command about one reservation; an ended one answers by its row.
    async fn act(
        &self,
        ctx: &Context,
        id: ReservationId,
        operation: Operation,
        command: Command,
    ) -> Result<Answered<Reservation>, AppError> {
        let begun = Stopwatch::start();
        let entry = self.variant_of(ctx, id)?;
        let done = self.command(ctx, &entry, command).await;
        match self.counted(operation, begun, done) {
            Ok(done) => self.reservation(&entry.id, done),
            Err(AppError::Refused {
                refusal: Refusal::ReservationNotFound,
                at,
            }) => {
                let refusal = self.ended(id).await?.map(|hold| hold.ended_refusal());
                Err(AppError::Refused {
                    refusal: refusal.unwrap_or(Refusal::ReservationNotFound),
                    at,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn reservation(&self, variant: &VariantId, done: Done) -> Result<Answered<Reservation>, AppError> {
        let variant = variant.clone();
        match done {
            Done::Nothing => Err(AppError::bug("a reservation's command found nothing to do")),
            Done::Repeat { hold, at } => Ok(Answered {
                body: Reservation { hold: *hold, variant },
                at,
                replayed: false,
            }),
            Done::Logged { logged, replayed } => {
                let Fact::Variant(fact) = logged.turn.fact else {
                    return Err(AppError::KeyReused);
                };
                let hold = fact.events.last().and_then(Event::hold).cloned();
                let hold =
                    hold.ok_or_else(|| AppError::bug("the record behind an answer has no reservation"))?;
                Ok(Answered {
                    body: Reservation { hold, variant },
                    at: logged.turn.at,
                    replayed,
                })
            }
        }
    }

    /// Counts a command and how long it took, from its first step here to its durable answer.
    pub(super) fn counted(
        &self,
        operation: Operation,
        begun: Stopwatch,
        done: Result<Done, AppError>,
    ) -> Result<Done, AppError> {
        let outcome = match &done {
            Ok(Done::Nothing | Done::Logged { replayed: false, .. }) => None,
            Ok(Done::Logged { replayed: true, .. } | Done::Repeat { .. }) => Some(Outcome::Repeated),
            Err(error) => Some(error.outcome()),
        };
        count(operation, outcome, begun, done.as_ref().err());
        done
    }
}

/// A hold whose deadline has come is shown as what it is, even if its timer has not fired yet.
fn as_expired(hold: &Hold) -> Hold {
    let ended = Some(crate::domain::variant::Ended {
        at: hold.expires_at,
        reason: EndReason::Expired,
    });
    Hold {
        status: HoldStatus::Expired,
        ended,
        ..hold.clone()
    }
}

/// Counts a command by operation and outcome, its time, and why it was turned away if it was. What is logged is counted
/// where it becomes durable, so that no caller who hangs up is missed; `outcome` is `None` then.
pub(super) fn count(
    operation: Operation,
    outcome: Option<Outcome>,
    begun: Stopwatch,
    error: Option<&AppError>,
) {
    if let Some(outcome) = outcome {
        metrics().commands.of(operation, outcome).increment(1);
    }
    metrics().commands.seconds(operation).record(begun.seconds());
    if let Some(reason) = error.and_then(AppError::shed) {
        metrics().shed.of(reason).increment(1);
    }
}
