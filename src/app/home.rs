//! Where a reservation is at home: with a variant that is there, or with one that was deleted and whose ended reservations
//! are shown as long as they are remembered.
use super::{AppError, Context, Done, Shop};
use crate::{
    actor::{Entry, KeyClaim},
    domain::{
        ids::{ReservationId, StoreId, VariantId},
        variant::{Command, Refusal},
    },
};
use std::sync::Arc;

/// A reservation's variant.
#[derive(Clone, Debug)]
pub(super) enum Home {
    /// It is there.
    Here(Arc<Entry>),
    /// It was deleted; this was the shop's id.
    Departed(VariantId),
}

impl Home {
    /// The shop's id of the variant.
    pub(super) fn id(&self) -> &VariantId {
        match self {
            Self::Here(entry) => &entry.id,
            Self::Departed(id) => id,
        }
    }
}

impl Shop {
    /// The variant that a reservation's id names; `None` when the store never had it.
    pub(super) async fn home(&self, ctx: &Context, id: ReservationId) -> Result<Option<Home>, AppError> {
        let (ordinal, of_the_store) = (id.variant(), |store: &StoreId| *store == ctx.store);
        if let Some(entry) = self.directory.by_ordinal(ordinal) {
            return Ok(of_the_store(&entry.store).then_some(Home::Here(entry)));
        }
        if !self.directory.has_given_out(ordinal) {
            return Ok(None);
        }
        let projection = Arc::clone(&self.projection);
        let departed = super::replay::blocking(&*self.workers, move || {
            let departed = projection.departed(ordinal);
            departed
                .map_err(|error| AppError::internal("the name of a deleted variant cannot be read", &error))
        });
        let departed = departed.await?.filter(|(store, _)| of_the_store(store));
        Ok(departed.map(|(_, id)| Home::Departed(id)))
    }

    /// One command about a reservation to its variant.
    pub(super) async fn send_home(
        &self,
        ctx: &Context,
        home: Option<&Home>,
        command: Command,
        key: Option<KeyClaim>,
    ) -> Result<Done, AppError> {
        match home {
            Some(Home::Here(entry)) => match self.send(ctx, entry, command, key).await {
                // Deleted, and gone between finding it and sending there.
                Err(AppError::Gone) => Err(self.refused(Refusal::VariantNotFound)),
                done => done,
            },
            Some(Home::Departed(_)) => Err(self.refused(Refusal::VariantNotFound)),
            None => Err(self.refused(Refusal::ReservationNotFound)),
        }
    }
}
