//! Exports: everything that an import can set, of every variant of a store, in order of ids.
//!
//! What is held is the list of places, one pointer a variant; each variant is looked at when its turn comes, so that a
//! reader who is slow costs nothing. A line tells how its variant stood at that moment: sales go on meanwhile. An export
//! that cannot be whole breaks off instead of leaving a variant out in silence.
use super::{AppError, Context, Shop, replay::blocking};
use crate::{
    actor::Entry,
    domain::{
        ids::VariantId,
        variant::{Refusal, Sheet},
    },
};
use std::{sync::Arc, vec};

/// An export under way.
pub struct Export {
    shop: Arc<Shop>,
    ctx: Context,
    places: vec::IntoIter<Arc<Entry>>,
}

impl Shop {
    /// Begins an export.
    ///
    /// # Errors
    /// A variant of the store is quarantined: its line could not be told.
    pub async fn export(self: &Arc<Self>, ctx: &Context) -> Result<Export, AppError> {
        if !self.quarantined(ctx).is_empty() {
            return Err(AppError::Quarantined);
        }
        let (shop, store) = (Arc::clone(self), ctx.store.clone());
        let places = blocking(&*self.workers, move || {
            let mut places = shop.directory.list(&store, None, usize::MAX);
            places.sort_by(|one, other| one.id.cmp(&other.id));
            Ok(places)
        });
        Ok(Export {
            shop: Arc::clone(self),
            ctx: ctx.clone(),
            places: places.await?.into_iter(),
        })
    }
}

impl Export {
    /// The next variant; `None` behind the last.
    ///
    /// # Errors
    /// An error of the way: what was told so far is not the whole.
    pub async fn next(&mut self) -> Result<Option<(VariantId, Sheet)>, AppError> {
        for place in self.places.by_ref() {
            loop {
                let ctx = self.shop.patient(&self.ctx, None);
                match self.shop.view(&ctx, &place).await {
                    Ok(view) => return Ok(Some((place.id.clone(), view.head.sheet()))),
                    // Being created, or deleted.
                    Err(
                        AppError::Gone
                        | AppError::Refused {
                            refusal: Refusal::VariantNotFound,
                            ..
                        },
                    ) => break,
                    Err(error) if super::import::comes_again(&error) => self.shop.pause().await,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }
}
