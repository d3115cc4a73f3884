//! Variants: the shop's side. Create, describe, count, adjust, open and close, look at.
use super::{Answered, AppError, Context, Done, Keyed, Shop};
use crate::{
    actor::{Answer, Entry, Shed, What},
    clock::Stopwatch,
    domain::{
        ids::{VariantId, VariantOrdinal},
        time::Timestamp,
        variant::{Command, Event, LedgerEntry, Refusal, SaleState, Settings, View},
    },
    storage::{dto, record::Fact},
    telemetry::metrics::Operation,
};
use std::sync::Arc;

/// A stock adjustment.
#[derive(Clone, Debug)]
pub struct AdjustAsk {
    /// Units in (positive) or out.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// The caller's document.
    pub reference: Option<String>,
    /// Units on hand the caller believes in.
    pub expected_on_hand: Option<u64>,
}

/// A variant after an adjustment, with the ledger's line.
#[derive(Clone, Debug)]
pub struct Adjusted {
    /// The variant.
    pub view: View,
    /// The line.
    pub entry: LedgerEntry,
}

impl Shop {
    /// Takes a variant into the shop.
    ///
    /// # Errors
    /// It is there already, or an error of the way.
    pub async fn create_variant(
        &self,
        ctx: &Context,
        id: &VariantId,
        settings: Settings,
        on_hand: u64,
    ) -> Result<Answered<View>, AppError> {
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let by = ctx.caller.to_string();
        let create = Command::Create {
            settings: Box::new(settings),
            on_hand,
            by,
        };
        loop {
            let begun = Stopwatch::start();
            let done = self.try_to_create(ctx, id, create.clone()).await;
            match self.administered(begun, done) {
                // The place was given up between finding it and sending there: find it again.
                Err(AppError::Gone) => {}
                created => return created,
            }
        }
    }

    /// A place is taken only when nothing stands between it and its first command, or refused creations would pile up.
    async fn try_to_create(&self, ctx: &Context, id: &VariantId, create: Command) -> Result<Done, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return Ok(Done::replayed(logged)),
            Keyed::Fresh(key) => key,
        };
        if self.is_draining() {
            return Err(AppError::Shed(Shed::Draining));
        }
        let entry = self.directory.place(&ctx.store, id);
        self.send(ctx, &entry, create, key).await
    }

    /// Replaces a variant's description and rules; `change` is applied to what stands at `expected`.
    ///
    /// # Errors
    /// A stale version, a refusal, or an error of the way.
    pub async fn change_variant(
        &self,
        ctx: &Context,
        id: &VariantId,
        expected: Option<u64>,
        change: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Answered<View>, AppError> {
        let begun = Stopwatch::start();
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return self.administered(begun, Ok(Done::replayed(logged))),
            Keyed::Fresh(key) => key,
        };
        let entry = self.variant(ctx, id)?;
        let seen = self.view(ctx, &entry).await?;
        let mut settings = seen.head.settings.clone();
        change(&mut settings);
        // A caller who takes any version still must not overwrite a change that came in between.
        let expected = Some(expected.unwrap_or(seen.head.version));
        let change = Command::Change {
            settings: Box::new(settings),
        };
        let done = self.send(ctx, &entry, change.if_version(expected), key).await;
        self.administered(begun, done)
    }

    /// Sets the units on hand.
    ///
    /// # Errors
    /// Below what is held, a stale version, or an error of the way.
    pub async fn set_stock(
        &self,
        ctx: &Context,
        id: &VariantId,
        on_hand: u64,
        expected: Option<u64>,
    ) -> Result<Answered<View>, AppError> {
        let by = ctx.caller.to_string();
        let set = Command::SetStock { on_hand, by };
        self.administer(ctx, id, set.if_version(expected)).await
    }

    /// Books units in or out.
    ///
    /// # Errors
    /// Below what is held, another level than expected, a stale version, or an error of the way.
    pub async fn adjust_stock(
        &self,
        ctx: &Context,
        id: &VariantId,
        ask: AdjustAsk,
        expected: Option<u64>,
    ) -> Result<Answered<Adjusted>, AppError> {
        let AdjustAsk {
            delta,
            reason,
            reference,
            expected_on_hand,
        } = ask;
        let by = ctx.caller.to_string();
        let command = Command::Adjust {
            delta,
            reason,
            reference,
            expected_on_hand,
            by,
        };
        let begun = Stopwatch::start();
        let done = self.command_to(ctx, id, command.if_version(expected)).await;
        let logged = self.shops_side(self.counted(Operation::Administer, begun, done)?)?;
        let (Some(view), Some(entry)) = (logged.view, logged.entry) else {
            return Err(AppError::bug("the record of an adjustment has no ledger line"));
        };
        Ok(Answered {
            body: Adjusted { view, entry },
            at: logged.at,
            replayed: logged.replayed,
        })
    }

    /// Opens, pauses or drains a variant's sale.
    ///
    /// # Errors
    /// No such variant, a stale version, or an error of the way.
    pub async fn set_sale(
        &self,
        ctx: &Context,
        id: &VariantId,
        sale: SaleState,
        expected: Option<u64>,
    ) -> Result<Answered<View>, AppError> {
        self.administer(ctx, id, Command::SetSale { sale }.if_version(expected))
            .await
    }

    /// Takes a variant out of the shop.
    ///
    /// # Errors
    /// Holds stand in the way, a stale version, or an error of the way.
    pub async fn delete_variant(
        &self,
        ctx: &Context,
        id: &VariantId,
        expected: Option<u64>,
    ) -> Result<Answered<View>, AppError> {
        self.administer(ctx, id, Command::Delete.if_version(expected))
            .await
    }

    /// One variant.
    ///
    /// # Errors
    /// No such variant, or an error of the way.
    pub async fn get_variant(&self, ctx: &Context, id: &VariantId) -> Result<Answered<View>, AppError> {
        let entry = self.variant(ctx, id)?;
        let view = self.view(ctx, &entry).await?;
        Ok(Answered {
            at: view.at,
            body: view,
            replayed: false,
        })
    }

    /// Several variants; `None` for those that are not there.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn get_variants(
        &self,
        ctx: &Context,
        ids: &[VariantId],
    ) -> Result<Vec<Option<View>>, AppError> {
        let mut views = Vec::with_capacity(ids.len());
        for id in ids {
            let entry = self.directory.find(&ctx.store, id);
            views.push(match entry {
                Some(entry) => found(self.view(ctx, &entry).await)?,
                None => None,
            });
        }
        Ok(views)
    }

    /// Variants in order of creation, after `after`, at most `limit`; the second part is where to go on.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn list_variants(
        &self,
        ctx: &Context,
        after: Option<VariantOrdinal>,
        limit: usize,
    ) -> Result<(Vec<View>, Option<VariantOrdinal>), AppError> {
        let entries = self.directory.list(&ctx.store, after, limit + 1);
        let more = entries.len() > limit;
        let mut views = Vec::with_capacity(limit);
        let mut last = None;
        for entry in entries.iter().take(limit) {
            last = Some(entry.ordinal);
            views.extend(found(self.view(ctx, entry).await)?);
        }
        Ok((views, last.filter(|_| more)))
    }

    /// The ledger of a variant from line `after` on, at most `limit` lines, and whether there are more. Only durable lines.
    ///
    /// # Errors
    /// No such variant, or an error of the way.
    pub async fn ledger(
        &self,
        ctx: &Context,
        id: &VariantId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<LedgerEntry>, bool), AppError> {
        let entry = self.variant(ctx, id)?;
        let last = self.view(ctx, &entry).await?.head.ledger_seq;
        let lines = self.ledger_lines(entry.ordinal, after, limit).await?;
        let reached = lines.last().map_or(after, |line| line.seq);
        let more = reached < last;
        Ok((lines, more))
    }

    /// A variant as it is durable now; one that sleeps is read without waking it.
    pub(super) async fn view(&self, ctx: &Context, entry: &Arc<Entry>) -> Result<View, AppError> {
        if let Some(state) = self.directory.sleeping(entry) {
            let variant = dto::decode_variant(&state)
                .map_err(|error| AppError::internal("a sleeping variant cannot be read", &error))?;
            let exists = variant.head().exists();
            let now = self.clock.now().max(variant.head().decided_at);
            return if exists {
                Ok(variant.view(now))
            } else {
                Err(self.refused(Refusal::VariantNotFound))
            };
        }
        match self.look(ctx, entry, What::Variant).await? {
            Answer::Variant(view) => Ok(*view),
            Answer::Logged(_)
            | Answer::Repeat { .. }
            | Answer::Holds { .. }
            | Answer::Cart { .. }
            | Answer::Order { .. }
            | Answer::Count(_) => Err(AppError::bug(
                "a look at a variant was answered by something else",
            )),
        }
    }

    async fn administer(
        &self,
        ctx: &Context,
        id: &VariantId,
        command: Command,
    ) -> Result<Answered<View>, AppError> {
        let begun = Stopwatch::start();
        let done = self.command_to(ctx, id, command).await;
        self.administered(begun, done)
    }

    /// One command to the variant with this id. The key is claimed first: a repeat is answered even if the variant has
    /// gone since.
    pub(super) async fn command_to(
        &self,
        ctx: &Context,
        id: &VariantId,
        command: Command,
    ) -> Result<Done, AppError> {
        match self.claim(ctx).await? {
            Keyed::Known(logged) => Ok(Done::replayed(logged)),
            Keyed::Fresh(key) => {
                let entry = self.variant(ctx, id)?;
                self.send(ctx, &entry, command, key).await
            }
        }
    }

    fn administered(
        &self,
        begun: Stopwatch,
        done: Result<Done, AppError>,
    ) -> Result<Answered<View>, AppError> {
        let logged = self.shops_side(self.counted(Operation::Administer, begun, done)?)?;
        let view = logged
            .view
            .ok_or_else(|| AppError::bug("the record of an admin command has no view"))?;
        Ok(Answered {
            body: view,
            at: logged.at,
            replayed: logged.replayed,
        })
    }

    fn shops_side(&self, done: Done) -> Result<ShopsSide, AppError> {
        let Done::Logged { logged, replayed } = done else {
            return Err(AppError::bug("an admin command was answered by a reservation"));
        };
        let at = logged.turn.at;
        let Fact::Variant(fact) = logged.turn.fact else {
            return Err(AppError::KeyReused);
        };
        let entry = fact.events.last().and_then(Event::ledger_entry).cloned();
        Ok(ShopsSide {
            view: fact.view.map(|view| *view),
            entry,
            at,
            replayed,
        })
    }
}

struct ShopsSide {
    view: Option<View>,
    entry: Option<LedgerEntry>,
    at: Timestamp,
    replayed: bool,
}

/// A variant that is not there is no error in a list.
fn found(view: Result<View, AppError>) -> Result<Option<View>, AppError> {
    match view {
        Ok(view) => Ok(Some(view)),
        Err(
            AppError::Refused {
                refusal: Refusal::VariantNotFound,
                ..
            }
            | AppError::Quarantined
            | AppError::Gone,
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
