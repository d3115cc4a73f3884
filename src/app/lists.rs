//! Lists and statistics, served from the projections and made whole by the variants.
use super::{Answered, AppError, Context, Reservation, Shop};
use crate::{
    domain::{
        ids::{CartId, CustomerId, ReservationId, VariantId},
        time::Timestamp,
        variant::{Hold, HoldStatus},
    },
    storage::projection::{Filter, Statistics},
};
use hashbrown::HashMap;

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
        let page = super::replay::blocking(move || {
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

    /// Gives back every live reservation of a cart; how many there were.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn release_cart(&self, ctx: &Context, cart: CartId) -> Result<usize, AppError> {
        let filter = HoldFilter {
            cart: Some(cart),
            status: Some(HoldStatus::Active),
            ..HoldFilter::default()
        };
        // No single record could carry the key of many releases. Each is harmless when repeated, but a repeat also
        // releases what the cart has held since.
        let ctx = Context {
            key: None,
            ..ctx.clone()
        };
        let (mut after, mut released) = (None, 0);
        loop {
            let page = self.list_reservations(&ctx, &filter, after, 200).await?;
            for item in page.items {
                if item.hold.owning_order().is_some() {
                    continue; // Being paid: its order decides.
                }
                self.release(&ctx, item.hold.id).await?;
                released += 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(released),
            }
        }
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
        let mut by_variant: HashMap<u32, Vec<ReservationId>> = HashMap::new();
        for id in ids {
            by_variant.entry(id.variant().0).or_default().push(*id);
        }
        let mut holds: HashMap<ReservationId, (Hold, VariantId)> = HashMap::new();
        for ids in by_variant.into_values() {
            let Some(entry) = ids.first().and_then(|id| self.variant_of(ctx, *id).ok()) else {
                continue;
            };
            let (found, _) = self.holds(ctx, &entry, ids).await?;
            holds.extend(
                found
                    .into_iter()
                    .flatten()
                    .map(|hold| (hold.id, (hold, entry.id.clone()))),
            );
        }
        let item = |id: &ReservationId| {
            holds
                .remove(id)
                .map(|(hold, variant)| Reservation { hold, variant })
        };
        Ok(ids.iter().filter_map(item).collect())
    }
}
