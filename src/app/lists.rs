//! Lists and statistics, served from the projections and made whole by the variants.
use super::{Answered, AppError, Context, Reservation, Shop};
use crate::{
    domain::{
        ids::{CartId, CustomerId, ReservationId, VariantId},
        time::Timestamp,
        variant::HoldStatus,
    },
    storage::projection::{Filter, Statistics},
};

/// Which reservations are wanted; everything left out is open.
#[derive(Clone, Debug, Default)]
pub struct HoldFilter {
    /// Of this variant.
    pub variant: Option<VariantId>,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// Of this cart.
    pub cart: Option<CartId>,
    /// That stand like this.
    pub status: Option<HoldStatus>,
}

/// A page of reservations.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In order of creation.
    pub items: Vec<Reservation>,
    /// Where the next page begins.
    pub next: Option<ReservationId>,
    /// The moment the page tells.
    pub at: Timestamp,
}

impl Shop {
    /// Reservations in order of creation, after `after`, at most `limit`.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn list_reservations(
        &self,
        ctx: &Context,
        filter: &HoldFilter,
        after: Option<ReservationId>,
        limit: usize,
    ) -> Result<Listed, AppError> {
        let at = self.clock.now();
        let variant = match &filter.variant {
            Some(id) => match self.directory.find(&ctx.store, id) {
                Some(entry) => Some(entry.ordinal),
                None => {
                    return Ok(Listed {
                        items: Vec::new(),
                        next: None,
                        at,
                    });
                }
            },
            None => None,
        };
        let wanted = Filter {
            store: ctx.store.clone(),
            variant,
            customer: filter.customer.clone(),
            cart: filter.cart.clone(),
            status: filter.status,
        };
        let projection = self.projection.clone();
        let page = super::replay::blocking(&*self.workers, move || {
            let page = projection.list(&wanted, after, limit);
            page.map_err(|error| AppError::internal("reservations could not be listed", &error))
        })
        .await?;
        let items = self.made_whole(ctx, &page.ids).await?;
        // A reservation may have moved on between the index and its variant: what is told is what stands.
        let stands = |item: &Reservation| filter.status.is_none_or(|status| item.hold.status == status);
        Ok(Listed {
            items: items.into_iter().filter(stands).collect(),
            next: page.next,
            at,
        })
    }

    /// How reservations of a store have gone so far.
    pub fn statistics(&self, ctx: &Context) -> Answered<Statistics> {
        Answered {
            body: self.projection.statistics(&ctx.store),
            at: self.clock.now(),
            replayed: false,
        }
    }

    async fn made_whole(&self, ctx: &Context, ids: &[ReservationId]) -> Result<Vec<Reservation>, AppError> {
        let (mut found, _) = self.found(ctx, ids.iter().copied()).await?;
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }
}
