//! Reservations: hold, extend, change, confirm, give back, look at.
use super::{Answered, AppError, Context, Done, Keyed, Shop, home::Home, keys::hold_of};
use crate::clock::Stopwatch;
use crate::{
    actor::{Answer, What},
    domain::{
        ids::{OrderId, ReservationId, VariantId},
        time::Timestamp,
        variant::{
            AfterSale, Command, Confirm, EndReason, Extend, Hold, HoldStatus, Phase, Refusal, Reserve, Sell,
            Shopper,
        },
    },
    telemetry::metrics::{Operation, Outcome, Shed, metrics},
};
use hashbrown::HashMap;
use std::collections::BTreeMap;

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

/// A sale that was made already.
#[derive(Clone, Debug)]
pub struct SaleAsk {
    /// Of which variant.
    pub variant: VariantId,
    /// How many, at least 1.
    pub quantity: u32,
    /// To whom.
    pub shopper: Shopper,
    /// The shop's order.
    pub order: Option<OrderId>,
}

/// A reservation with the shop's id of its variant.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The reservation.
    pub hold: Hold,
    /// Whose units.
    pub variant: VariantId,
}

/// Which reservation is meant, and in which version.
#[derive(Clone, Copy, Debug)]
pub struct Meant {
    /// Which.
    pub id: ReservationId,
    /// The version the caller saw; `None` takes any.
    pub version: Option<u64>,
}

impl From<ReservationId> for Meant {
    fn from(id: ReservationId) -> Self {
        Self { id, version: None }
    }
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

    /// Books a sale that was made already: held and sold in one record, judged by stock alone.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn sell(&self, ctx: &Context, ask: SaleAsk) -> Result<Answered<Reservation>, AppError> {
        let begun = Stopwatch::start();
        let sell = Sell {
            id: ReservationId::FIRST,
            quantity: ask.quantity,
            shopper: ask.shopper,
            order: ask.order,
        };
        let done = self.command_to(ctx, &ask.variant, Command::Sell(sell)).await;
        let done = self.counted(Operation::Confirm, begun, done)?;
        self.reservation(&ask.variant, done)
    }

    /// Moves a reservation's deadline.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn extend(
        &self,
        ctx: &Context,
        meant: impl Into<Meant>,
        by_ms: Option<i64>,
        phase: Option<Phase>,
    ) -> Result<Answered<Reservation>, AppError> {
        let meant = meant.into();
        let extend = Extend {
            id: meant.id,
            by_ms,
            phase,
            terms: self.policies.of(&ctx.store).terms(false),
            seen: None,
        };
        self.act(ctx, meant, Operation::Extend, Command::Extend(extend))
            .await
    }

    /// Changes a reservation's quantity.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn resize(
        &self,
        ctx: &Context,
        meant: impl Into<Meant>,
        quantity: u32,
    ) -> Result<Answered<Reservation>, AppError> {
        let meant = meant.into();
        let resize = Command::Resize {
            id: meant.id,
            quantity,
            terms: self.policies.of(&ctx.store).terms(false),
        };
        self.act(ctx, meant, Operation::Extend, resize).await
    }

    /// Sells the units. A repeat gives the same answer.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn confirm(
        &self,
        ctx: &Context,
        meant: impl Into<Meant>,
        quantity: Option<u32>,
        order: Option<OrderId>,
    ) -> Result<Answered<Reservation>, AppError> {
        let meant = meant.into();
        let id = meant.id;
        let ask = Confirm { id, quantity, order };
        let done = self
            .act(ctx, meant, Operation::Confirm, Command::Confirm(ask.clone()))
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
        let repeat = Answered {
            body: Reservation { hold, ..reservation },
            at,
            replayed: false,
        };
        self.remembered(ctx, repeat).await
    }

    /// Gives the units back. One that has ended without being sold is given back already.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn release(
        &self,
        ctx: &Context,
        meant: impl Into<Meant>,
    ) -> Result<Answered<Reservation>, AppError> {
        let meant = meant.into();
        let id = meant.id;
        let done = self
            .act(ctx, meant, Operation::Release, Command::Release { id })
            .await;
        let refused = if let Err(AppError::Refused { refusal, .. }) = &done {
            Some(refusal)
        } else {
            None
        };
        match refused {
            Some(Refusal::ReservationExpired { .. } | Refusal::ReservationReleased { .. }) => {
                let ended = self.get_reservation(ctx, id).await?;
                self.remembered(ctx, ended).await
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
        meant: impl Into<Meant>,
        quantity: Option<u32>,
    ) -> Result<Answered<Reservation>, AppError> {
        self.after_sale(
            ctx,
            meant.into(),
            quantity,
            true,
            Operation::Fulfil,
            Command::Fulfil,
        )
        .await
    }

    /// Sold units are cancelled before they leave.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn cancel(
        &self,
        ctx: &Context,
        meant: impl Into<Meant>,
        quantity: Option<u32>,
        restock: bool,
    ) -> Result<Answered<Reservation>, AppError> {
        self.after_sale(
            ctx,
            meant.into(),
            quantity,
            restock,
            Operation::Cancel,
            Command::Cancel,
        )
        .await
    }

    /// Shipped units come back.
    ///
    /// # Errors
    /// A refusal with its figures, or an error of the way.
    pub async fn take_back(
        &self,
        ctx: &Context,
        meant: impl Into<Meant>,
        quantity: Option<u32>,
        restock: bool,
    ) -> Result<Answered<Reservation>, AppError> {
        self.after_sale(
            ctx,
            meant.into(),
            quantity,
            restock,
            Operation::Return,
            Command::Return,
        )
        .await
    }

    async fn after_sale(
        &self,
        ctx: &Context,
        Meant { id, version }: Meant,
        quantity: Option<u32>,
        restock: bool,
        operation: Operation,
        command: impl Fn(AfterSale) -> Command,
    ) -> Result<Answered<Reservation>, AppError> {
        let begun = Stopwatch::start();
        let home = self.home(ctx, id).await?;
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
            let command = command(ask).if_version(version);
            self.send_home(ctx, home.as_ref(), command, key).await
        };
        let done = self.counted(operation, begun, done.await)?;
        let home = home.ok_or_else(|| self.refused(Refusal::ReservationNotFound))?;
        self.reservation(home.id(), done)
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
        let unknown = || self.refused(Refusal::ReservationNotFound);
        let home = self.home(ctx, id).await?.ok_or_else(unknown)?;
        let (mut holds, at) = self.holds(ctx, &home, vec![id]).await?;
        let hold = holds.pop().flatten().ok_or_else(unknown)?;
        Ok(Answered {
            body: Reservation {
                hold,
                variant: home.id().clone(),
            },
            at,
            replayed: false,
        })
    }

    /// The variant that a reservation is of, where that is known without reading anything.
    pub fn variant_of(&self, ctx: &Context, id: ReservationId) -> Option<VariantId> {
        let entry = self.directory.by_ordinal(id.variant())?;
        (entry.store == ctx.store).then(|| entry.id.clone())
    }

    /// Several reservations of one variant, live or ended, in the order asked for.
    pub(super) async fn holds(
        &self,
        ctx: &Context,
        home: &Home,
        ids: Vec<ReservationId>,
    ) -> Result<(Vec<Option<Hold>>, Timestamp), AppError> {
        let (mut holds, at) = match self.kept(ctx, home, &ids).await {
            // It keeps nothing any more.
            Err(AppError::Gone) => (vec![None; ids.len()], self.clock.now()),
            kept => kept?,
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

    /// What the variant itself keeps of them.
    async fn kept(
        &self,
        ctx: &Context,
        home: &Home,
        ids: &[ReservationId],
    ) -> Result<(Vec<Option<Hold>>, Timestamp), AppError> {
        let Home::Here(entry) = home else {
            return Err(AppError::Gone);
        };
        match self.look(ctx, entry, What::Holds(ids.to_vec())).await? {
            Answer::Holds { holds, at } => Ok((holds, at)),
            Answer::Logged(_)
            | Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Cart { .. }
            | Answer::Order { .. }
            | Answer::Count(_) => Err(AppError::bug(
                "a look at reservations was answered by something else",
            )),
        }
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
        let parsed: Vec<Option<ReservationId>> = ids.iter().map(|id| id.parse().ok()).collect();
        let (found, seen_at) = self.found(ctx, parsed.iter().flatten().copied()).await?;
        let at = seen_at.unwrap_or_else(|| self.clock.now());
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

    /// Reservations of any variants, those that are known, and the latest moment one was seen at.
    pub(super) async fn found(
        &self,
        ctx: &Context,
        ids: impl Iterator<Item = ReservationId>,
    ) -> Result<(HashMap<ReservationId, Reservation>, Option<Timestamp>), AppError> {
        let mut by_variant: BTreeMap<u32, Vec<ReservationId>> = BTreeMap::new();
        for id in ids {
            by_variant.entry(id.variant().0).or_default().push(id);
        }
        let (mut found, mut seen_at) = (HashMap::new(), None);
        for ids in by_variant.into_values() {
            let Some(home) = self.home(ctx, ids[0]).await? else {
                continue;
            };
            let (holds, at) = self.holds(ctx, &home, ids).await?;
            seen_at = seen_at.max(Some(at));
            found.extend(holds.into_iter().flatten().map(|hold| {
                let variant = home.id().clone();
                (hold.id, Reservation { hold, variant })
            }));
        }
        Ok((found, seen_at))
    }

    /// One command about one reservation; an ended one answers by its row. The key is looked up before the variant: a
    /// repeat is answered even if that has gone since.
    async fn act(
        &self,
        ctx: &Context,
        Meant { id, version }: Meant,
        operation: Operation,
        command: Command,
    ) -> Result<Answered<Reservation>, AppError> {
        let begun = Stopwatch::start();
        let home = self.home(ctx, id).await?;
        let done = match self.claim(ctx).await {
            Ok(Keyed::Known(logged)) => Ok(Done::replayed(logged)),
            Ok(Keyed::Fresh(key)) => {
                let command = command.if_version(version);
                self.send_home(ctx, home.as_ref(), command, key).await
            }
            Err(error) => Err(error),
        };
        let done = self.counted(operation, begun, done);
        if let Err(AppError::Refused {
            refusal: Refusal::ReservationNotFound | Refusal::VariantNotFound,
            at,
        }) = done
        {
            let ended = self.ended(id).await?.filter(|_| home.is_some());
            let refusal = ended.map(|hold| hold.ended_refusal());
            let refusal = refusal.unwrap_or(Refusal::ReservationNotFound);
            return Err(AppError::Refused { refusal, at });
        }
        let (done, home) = (
            done?,
            home.ok_or_else(|| self.refused(Refusal::ReservationNotFound))?,
        );
        let repeats = matches!(done, Done::Repeat { .. });
        let answered = self.reservation(home.id(), done)?;
        if repeats {
            return self.remembered(ctx, answered).await;
        }
        Ok(answered)
    }

    fn reservation(&self, variant: &VariantId, done: Done) -> Result<Answered<Reservation>, AppError> {
        let (hold, at, replayed) = match done {
            Done::Nothing => return Err(AppError::bug("a reservation's command found nothing to do")),
            Done::Repeat { hold, at } => (*hold, at, false),
            Done::Logged { logged, replayed } => {
                let (hold, at) = hold_of(*logged)?;
                (hold, at, replayed)
            }
        };
        let variant = variant.clone();
        Ok(Answered {
            body: Reservation { hold, variant },
            at,
            replayed,
        })
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
pub(super) fn as_expired(hold: &Hold) -> Hold {
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
