//! A house that nobody serves, as an operator looks at it: rows and log are read as the next start reads them, and no timer
//! runs and nothing is logged.
//!
//! What is told is told as of the last record: a hold whose deadline has passed since then is still shown as live,
//! because nobody has given it back. Opening cuts a torn tail off the log, as the next start would.
use super::{
    AppError, HoldFilter, Listed, ListedOrders, OpenError, OrderFilter, Reservation, replay,
    reservations::as_expired,
};
use crate::{
    config::Config,
    domain::{
        ids::{OrderId, ReservationId, StoreId, VariantId, VariantOrdinal},
        order::Order,
        time::Timestamp,
        variant::{Hold, HoldStatus, Sheet, Variant, View},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::Journal,
        past::Past,
        projection::{self, OrderPage, Projection},
        recovery::{self, RecoveredAgent, RecoveredVariant},
        state::StateStore,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The house at its last record.
pub struct Offline {
    store: StoreId,
    variants: BTreeMap<VariantOrdinal, RecoveredVariant>,
    names: HashMap<VariantId, VariantOrdinal>,
    orders: BTreeMap<u128, RecoveredAgent>,
    at: Timestamp,
    projection: Arc<Projection>,
    state: Arc<StateStore>,
    journal: Box<dyn Journal>,
    /// Locked as long as the rest is looked at.
    data_dir: DataDir,
}

impl Offline {
    /// Reads the configured data directory, whichever back end wrote its log, for one store.
    ///
    /// # Errors
    /// [`OpenError`]: it is in use, damaged, or the disk refuses.
    pub fn open(config: &Config, store: StoreId) -> Result<Self, OpenError> {
        let data_dir = DataDir::open(&config.data.dir)?;
        let options = super::recover_options(config).as_found(&data_dir)?;
        let recovered = recovery::recover(&data_dir, &options, &options.journal(), &|_| {})?;
        let own = |variant: &RecoveredVariant| variant.store == store;
        let variants: BTreeMap<_, _> = recovered
            .variants
            .into_iter()
            .filter(own)
            .map(|variant| (variant.ordinal, variant))
            .collect();
        let names = variants
            .values()
            .map(|variant| (variant.id.clone(), variant.ordinal))
            .collect();
        let orders = recovered.orders.into_iter().filter(|order| order.store == store);
        Ok(Self {
            names,
            variants,
            orders: orders.map(|order| (order.bits, order)).collect(),
            at: recovered.decided_at.unwrap_or_default(),
            projection: recovered.projection,
            state: recovered.state,
            journal: recovered.journal,
            store,
            data_dir,
        })
    }

    /// The moment of the last record.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The epoch of its log.
    pub fn epoch(&self) -> u64 {
        self.data_dir.epoch()
    }

    /// A variant.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn variant(&self, id: &VariantId) -> Result<Option<View>, AppError> {
        let Some(ordinal) = self.names.get(id) else {
            return Ok(None);
        };
        self.view(&self.variants[ordinal]).map(Some)
    }

    /// Variants in order of creation behind `after`, at most `limit`, and where the next page begins.
    ///
    /// # Errors
    /// As [`Offline::variant`].
    pub fn variants(
        &self,
        after: Option<VariantOrdinal>,
        limit: usize,
    ) -> Result<(Vec<View>, Option<VariantOrdinal>), AppError> {
        let mut behind = self
            .variants
            .values()
            .skip_while(|variant| after.is_some_and(|after| variant.ordinal <= after));
        let page: Vec<&RecoveredVariant> = behind.by_ref().take(limit).collect();
        let next = page.last().map(|last| last.ordinal);
        let views = page.iter().map(|variant| self.view(variant));
        Ok((
            views.collect::<Result<_, _>>()?,
            next.filter(|_| behind.next().is_some()),
        ))
    }

    /// Which variant this id is.
    pub(super) fn ordinal(&self, id: &VariantId) -> Option<VariantOrdinal> {
        self.names.get(id).copied()
    }

    /// What is still known of its past.
    pub(super) fn past(&self) -> Past {
        Past::of(&self.data_dir, self.journal.reader(), Arc::clone(&self.state))
    }

    /// Everything that an import can set, of every variant in order of ids.
    pub fn sheets(&self) -> impl Iterator<Item = Result<(VariantId, Sheet), AppError>> {
        let mut variants: Vec<&RecoveredVariant> = self.variants.values().collect();
        variants.sort_by(|one, other| one.id.cmp(&other.id));
        let sheet = |variant: &RecoveredVariant| Ok((variant.id.clone(), decoded(variant)?.head().sheet()));
        variants.into_iter().map(sheet)
    }

    /// A reservation, live or ended.
    ///
    /// # Errors
    /// Its variant or its row cannot be read.
    pub fn reservation(&self, id: ReservationId) -> Result<Option<Reservation>, AppError> {
        let variant = match self.variants.get(&id.variant()) {
            Some(variant) => variant.id.clone(),
            None => match self.projection.departed(id.variant()) {
                Ok(Some((store, name))) if store == self.store => name,
                Ok(_) => return Ok(None),
                Err(error) => {
                    return Err(AppError::internal(
                        "the name of a deleted variant cannot be read",
                        &error,
                    ));
                }
            },
        };
        let kept = match self.variants.get(&id.variant()) {
            Some(keeper) => decoded(keeper)?.hold(id).cloned(),
            None => None,
        };
        let hold = match kept {
            Some(hold) if hold.status == HoldStatus::Tentative => None,
            Some(hold) if hold.is_due(self.at) => Some(as_expired(&hold)),
            Some(hold) => Some(hold),
            None => self.ended(id)?,
        };
        Ok(hold.map(|hold| Reservation { hold, variant }))
    }

    fn ended(&self, id: ReservationId) -> Result<Option<Hold>, AppError> {
        replay::ended_hold(
            self.projection.ended(id),
            &*self.journal.reader(),
            &self.state,
            id,
        )
    }

    /// Reservations in order of creation behind `after`, at most `limit`.
    ///
    /// # Errors
    /// As [`Offline::reservation`].
    pub fn reservations(
        &self,
        filter: &HoldFilter,
        after: Option<ReservationId>,
        limit: usize,
    ) -> Result<Listed, AppError> {
        let variant = filter.variant.as_ref().map(|id| self.names.get(id).copied());
        if variant == Some(None) {
            return Ok(Listed {
                items: Vec::new(),
                next: None,
                at: self.at,
            });
        }
        let wanted = projection::Filter {
            store: self.store.clone(),
            variant: variant.flatten(),
            customer: filter.customer.clone(),
            cart: filter.cart.clone(),
            status: filter.status,
        };
        let page = self
            .projection
            .list(&wanted, after, limit)
            .map_err(|error| AppError::internal("reservations could not be listed", &error))?;
        let found = page.ids.iter().map(|id| self.reservation(*id));
        let found: Vec<Option<Reservation>> = found.collect::<Result<_, _>>()?;
        let stands = |item: &Reservation| filter.status.is_none_or(|status| item.hold.status == status);
        Ok(Listed {
            items: found.into_iter().flatten().filter(stands).collect(),
            next: page.next,
            at: self.at,
        })
    }

    /// An order.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn order(&self, id: &OrderId) -> Result<Option<Order>, AppError> {
        let stored = id.bits().and_then(|bits| self.orders.get(&bits));
        let order = stored.map(|order| dto::decode_order(&order.encoded)).transpose();
        order.map_err(|error| AppError::internal("an order cannot be read", &error))
    }

    /// Orders in order of creation behind `after`, at most `limit`.
    ///
    /// # Errors
    /// As [`Offline::order`].
    pub fn orders(
        &self,
        filter: &OrderFilter,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<ListedOrders, AppError> {
        let wanted = projection::OrderFilter {
            store: self.store.clone(),
            customer: filter.customer.clone(),
            status: filter.status,
        };
        let OrderPage { ids, next } = self.projection.orders(&wanted, after, limit);
        let found = ids.iter().map(|id| self.order(id));
        let found: Vec<Option<Order>> = found.collect::<Result<_, _>>()?;
        Ok(ListedOrders {
            items: found.into_iter().flatten().map(Box::new).collect(),
            next,
            at: self.at,
        })
    }

    fn view(&self, variant: &RecoveredVariant) -> Result<View, AppError> {
        Ok(decoded(variant)?.view(self.at))
    }
}

fn decoded(variant: &RecoveredVariant) -> Result<Variant, AppError> {
    dto::decode_variant(&variant.encoded)
        .map_err(|error| AppError::internal("a variant cannot be read", &error))
}
