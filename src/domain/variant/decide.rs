//! Judging a command: refusals first and in a fixed order, then a point of no return.
use super::{
    Variant,
    after_sale::Movement,
    command::{Command, Confirm, Extend, Reserve, Sell},
    event::Event,
    head::{ReservationMode, SaleState},
    hold::{EndReason, Fulfilment, Hold, HoldStatus, Owner, Phase, Shopper},
    merge::Fold,
    refusal::Refusal,
};
use crate::domain::{ids::ReservationId, policy::Terms, time::Timestamp};

/// An expiry turn logs at most this many expiries, plus as many as the command in hand needs (decisions 7).
pub const EXPIRIES_PER_TURN: usize = 256;

/// A hold that goes back to the cart phase lives at least this long, ms, so that the shopper can act, as far as the
/// cart's last deadline or the payment's own allows.
pub(super) const CART_PHASE_LEAST_MS: i64 = 60_000;

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It happens: these events, in this order, in one record.
    Granted(Vec<Event>),
    /// It has happened before; this is how the reservation stands.
    Repeat(Box<Hold>),
    /// It is granted, and there is nothing to log and nothing held: the units are taken later, or never counted, or gone
    /// back already.
    Nothing,
    /// It is refused, and what the refusal cites must be logged first.
    Refused {
        /// The facts.
        events: Vec<Event>,
        /// The no.
        refusal: Refusal,
    },
}

impl Variant {
    /// Judges `command` at `now`. Only reads.
    ///
    /// # Errors
    /// A refusal, which changes nothing.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Decision, Refusal> {
        if let Command::Create {
            settings,
            on_hand,
            by,
        } = command
        {
            return self.create(settings, *on_hand, by, now);
        }
        if !self.head.exists() && !matches!(command, Command::Import(_)) {
            return Err(Refusal::VariantNotFound);
        }
        match command {
            Command::Create { .. } => Err(Refusal::AlreadyExists),
            Command::Import(import) => self.import(import, now),
            Command::IfVersion { version, command } => {
                self.expect_version(*version, command, now)?;
                self.decide(command, now)
            }
            Command::Change { settings } => self.change(settings, now),
            Command::SetStock { on_hand, by } => self.set_stock(*on_hand, by, now),
            Command::Adjust {
                delta,
                reason,
                reference,
                expected_on_hand,
                by,
            } => self.adjust(*delta, reason, reference.as_ref(), *expected_on_hand, by, now),
            Command::SetSale { sale } => Ok(granted(Event::SaleChanged { sale: *sale })),
            Command::Delete => self.delete(now),
            Command::Reserve(ask) => self.reserve(ask, now),
            Command::Sell(ask) => self.sell(ask, now),
            Command::Take(ask) => self.take_in(ask, now),
            Command::Extend(ask) => self.extend(ask, now),
            Command::Resize { id, quantity, terms } => self.resize(*id, *quantity, terms, now),
            Command::Confirm(ask) => self.confirm(ask, now),
            Command::Release { id } => self.release(*id, now),
            Command::Look { id } => self.look(*id, now),
            Command::Cleanup => Ok(Decision::Granted(self.expire_due(now, EXPIRIES_PER_TURN))),
            Command::Rehome {
                id,
                shopper,
                quantity,
                terms,
            } => self.rehome(*id, shopper, *quantity, terms, now),
            Command::Fold {
                into,
                from,
                quantity,
                terms,
                seen,
            } => self.fold(
                &Fold {
                    into: *into,
                    from: *from,
                    quantity: *quantity,
                    seen: *seen,
                },
                terms,
                now,
            ),
            Command::ForOrder { order, id, step } => self.for_order(order, *id, step, now),
            Command::Fulfil(ask) => self.after_sale(ask, Movement::Fulfil, now),
            Command::Cancel(ask) => self.after_sale(ask, Movement::Cancel, now),
            Command::Return(ask) => self.after_sale(ask, Movement::Return, now),
            Command::Prepare { attempt, prepare } => self.prepare(*attempt, prepare, now),
            Command::Settle {
                attempt,
                id,
                commit,
                decided_at,
                shopper,
            } => Ok(self.settle(*attempt, *id, *commit, *decided_at, shopper.as_ref())),
        }
    }

    /// Whether the caller saw the present version of what a command is about. A reservation that is not there, or has ended,
    /// is told as that: the command itself says so.
    fn expect_version(&self, seen: u64, command: &Command, now: Timestamp) -> Result<(), Refusal> {
        let live = |id: &ReservationId| {
            let hold = self.hold(*id);
            hold.filter(|hold| hold.status == HoldStatus::Active && !hold.is_due(now))
        };
        let hold = match command {
            Command::Extend(Extend { id, .. })
            | Command::Resize { id, .. }
            | Command::Confirm(Confirm { id, .. })
            | Command::Release { id } => live(id),
            Command::Fulfil(ask) | Command::Cancel(ask) | Command::Return(ask) => {
                self.sold(ask.id, ask.closed.as_deref()).ok()
            }
            Command::Create { .. }
            | Command::Change { .. }
            | Command::SetStock { .. }
            | Command::Adjust { .. }
            | Command::SetSale { .. }
            | Command::Delete
            | Command::Import(_)
            | Command::Look { .. }
            | Command::Reserve(_)
            | Command::Sell(_)
            | Command::Take(_)
            | Command::Rehome { .. }
            | Command::Fold { .. }
            | Command::ForOrder { .. }
            | Command::Cleanup
            | Command::Prepare { .. }
            | Command::Settle { .. }
            | Command::IfVersion { .. } => return expect_equal(seen, self.head.version),
        };
        hold.map_or(Ok(()), |hold| expect_equal(seen, u64::from(hold.version)))
    }

    /// What has come due by `now`, at most `limit` events in deadline order.
    pub fn expire_due(&self, now: Timestamp, limit: usize) -> Vec<Event> {
        let expired = self.due_holds(now).map(|hold| expired(hold, now));
        let closed = self.closing.iter().take_while(|(at, _)| *at <= now);
        let closed = closed.map(|(_, id)| Event::Closed(self.kept(*id).clone()));
        expired.chain(closed).take(limit).collect()
    }

    fn reserve(&self, ask: &Reserve, now: Timestamp) -> Result<Decision, Refusal> {
        if let Some(again) = self.reserved_before(ask, now) {
            return again;
        }
        let (mut events, hold) = self.grant(ask, None, now)?;
        // A hold asked for again after it has lived and died must not rise under its id.
        let dies_at = ask.id.created_at().saturating_add(self.ttl(ask)?);
        if dies_at <= now {
            return Err(Refusal::ReservationExpired { at: dies_at });
        }
        events.push(Event::Held(hold));
        Ok(Decision::Granted(events))
    }

    /// A sale that was made already: the units must be there. Whether the sale is open and what the limits say was asked then.
    fn sell(&self, ask: &Sell, now: Timestamp) -> Result<Decision, Refusal> {
        if ask.quantity == 0 {
            return Err(Refusal::OutOfRange);
        }
        let wanted = u64::from(ask.quantity);
        let expired = self.expiries_for(wanted, &ask.shopper, now);
        let given_back = expired.iter().map(|hold| u64::from(hold.quantity)).sum();
        let available = self.free(given_back);
        if self.head.tracks_stock() && available < wanted {
            return Err(self.insufficient(wanted, available, now));
        }
        let until = now.saturating_add(1);
        let held = Hold {
            id: ask.id,
            quantity: ask.quantity,
            status: HoldStatus::Active,
            phase: Phase::Payment,
            shopper: ask.shopper.clone(),
            order: None,
            expires_at: until,
            max_expires_at: until,
            extensions_left: 0,
            version: 1,
            ended: None,
            fulfilment: Fulfilment::default(),
            pin: None,
        };
        let confirm = Confirm {
            id: ask.id,
            quantity: None,
            order: ask.order.clone(),
        };
        let sold = confirmed(&held, ask.quantity, &confirm, now);
        let expired = expired.into_iter().map(|hold| self::expired(hold, now));
        Ok(Decision::Granted(
            expired.chain([Event::Held(held), sold]).collect(),
        ))
    }

    /// A cart's line: judged like a hold in every mode, held only where units are taken so early.
    fn take_in(&self, ask: &Reserve, now: Timestamp) -> Result<Decision, Refusal> {
        match self.head.settings.reservation_mode {
            ReservationMode::OnCart => self.reserve(ask, now),
            ReservationMode::OnCheckout | ReservationMode::Untracked => self
                .reserved_before(ask, now)
                .unwrap_or_else(|| self.grant(ask, None, now).map(|_| Decision::Nothing)),
        }
    }

    /// The answer to a request whose reservation is there already: an id is drawn for one reservation.
    fn reserved_before(&self, ask: &Reserve, now: Timestamp) -> Option<Result<Decision, Refusal>> {
        let hold = self.hold(ask.id)?;
        Some(match hold.status {
            HoldStatus::Tentative => Err(Refusal::InFlight),
            HoldStatus::Confirmed => Ok(Decision::Repeat(Box::new(hold.clone()))),
            HoldStatus::Active | HoldStatus::Released | HoldStatus::Expired => {
                self.live(ask.id, now).map(|live| match live {
                    Live::Due(refused) => refused,
                    Live::Yes(hold) => Decision::Repeat(Box::new(hold.clone())),
                })
            }
        })
    }

    /// The hold that `ask` would get, after the expiries it relies on. What it takes over from `own` is there already.
    pub(super) fn grant(
        &self,
        ask: &Reserve,
        own: Option<&Hold>,
        now: Timestamp,
    ) -> Result<(Vec<Event>, Hold), Refusal> {
        let taken_over = own.map_or(0, |own| own.quantity.min(ask.quantity));
        if taken_over < ask.quantity || ask.quantity == 0 {
            self.expect_open(now)?;
        }
        let ttl_ms = self.ttl(ask)?;
        if ask.quantity == 0 || ttl_ms <= 0 {
            return Err(Refusal::OutOfRange);
        }
        let expired = self.expiries_for(u64::from(ask.quantity - taken_over), &ask.shopper, now);
        self.expect_no_other_hold(&ask.shopper, &expired, own.as_slice())?;
        let mut quantity = u64::from(ask.quantity);
        if self.head.tracks_stock() {
            let given_back: u64 = expired.iter().map(|hold| u64::from(hold.quantity)).sum();
            let available = self.free(given_back + u64::from(taken_over));
            if available < quantity && !(ask.allow_partial && available > 0) {
                return Err(self.insufficient(quantity, available, now));
            }
            quantity = quantity.min(available);
        }
        let left = self.allowance(&ask.shopper, &ask.terms, &expired, own.as_slice(), now);
        let quantity = within(left, quantity, ask.allow_partial)?;
        let lengths = ask.terms.lengths;
        let expires_at = now.saturating_add(ttl_ms);
        let extensions_ms = lengths
            .extension_ms
            .saturating_mul(i64::from(lengths.max_extensions));
        let hold = Hold {
            id: ask.id,
            quantity: u32::try_from(quantity).expect("at most the quantity asked for"),
            status: HoldStatus::Active,
            phase: ask.for_order.as_ref().map_or(Phase::Cart, |_| Phase::Payment),
            shopper: ask.shopper.clone(),
            order: ask.for_order.as_ref().map(|by| by.order.clone()),
            expires_at: ask.for_order.as_ref().map_or(expires_at, |by| by.pay_by),
            max_expires_at: expires_at.saturating_add(extensions_ms),
            extensions_left: lengths.max_extensions,
            version: 1,
            ended: None,
            fulfilment: Fulfilment::default(),
            pin: None,
        };
        Ok((
            expired.into_iter().map(|hold| self::expired(hold, now)).collect(),
            hold,
        ))
    }

    pub(super) fn expect_open(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.is_open(now) {
            return Ok(());
        }
        let settings = &self.head.settings;
        Err(Refusal::SaleNotOpen {
            sale: self.sale_at(now),
            opens_at: settings.opens_at.filter(|at| *at > now),
            closes_at: settings.closes_at.filter(|at| *at <= now),
        })
    }

    fn ttl(&self, ask: &Reserve) -> Result<i64, Refusal> {
        let max_ms = ask.terms.max_ttl_ms;
        match ask.ttl_ms {
            Some(wanted) if wanted > max_ms => Err(Refusal::TtlTooLong { max_ms }),
            Some(wanted) => Ok(wanted),
            None => {
                let usual = self.head.settings.hold_ttl_ms.unwrap_or(ask.terms.lengths.ttl_ms);
                Ok(usual.min(max_ms))
            }
        }
    }

    /// The due holds this turn gives back: a bounded number, and beyond it as many as `wanted` units need and the
    /// shopper's own, which would otherwise still count against limits.
    pub(super) fn expiries_for(&self, wanted: u64, shopper: &Shopper, now: Timestamp) -> Vec<&Hold> {
        let mut given_back = 0;
        let mut expiries = Vec::new();
        let mut due = self.due_holds(now);
        loop {
            let enough = !self.head.tracks_stock() || self.free(given_back) >= wanted;
            if expiries.len() >= EXPIRIES_PER_TURN && enough {
                break;
            }
            let Some(hold) = due.next() else {
                return expiries;
            };
            given_back += u64::from(hold.quantity);
            expiries.push(hold);
        }
        let Some(last) = expiries.last().map(|hold| (hold.expires_at, hold.id)) else {
            return expiries;
        };
        let Some(owner) = shopper.owner() else {
            return expiries;
        };
        let own = self.owners.live(&owner).iter().map(|id| self.kept(*id));
        let beyond = own.filter(|hold| hold.is_due(now) && (hold.expires_at, hold.id) > last);
        let mut own: Vec<&Hold> = beyond.collect();
        own.sort_by_key(|hold| (hold.expires_at, hold.id));
        expiries.extend(own);
        expiries
    }

    /// `own` are the shopper's reservations that the command is about.
    pub(super) fn expect_no_other_hold(
        &self,
        shopper: &Shopper,
        expired: &[&Hold],
        own: &[&Hold],
    ) -> Result<(), Refusal> {
        if !self.head.settings.one_hold_per_customer {
            return Ok(());
        }
        let Some(owner) = shopper.owner() else {
            return Ok(());
        };
        let live = self
            .owners
            .live(&owner)
            .iter()
            .find(|id| !expired.iter().chain(own).any(|hold| hold.id == **id));
        live.map_or(Ok(()), |id| Err(Refusal::AlreadyHeld { id: *id }))
    }

    pub(super) fn insufficient(&self, requested: u64, available: u64, now: Timestamp) -> Refusal {
        Refusal::InsufficientStock {
            requested,
            available,
            next_release_at: self.next_release_at(now),
            contended: available + self.tentative >= requested,
        }
    }

    /// What the per-customer limit leaves to this shopper: live holds and purchases count together, but neither what
    /// expires in this turn nor `own`, the reservations that the command is about.
    pub(super) fn allowance(
        &self,
        shopper: &Shopper,
        terms: &Terms,
        expired: &[&Hold],
        own: &[&Hold],
        now: Timestamp,
    ) -> Option<Allowance> {
        let limit = self
            .head
            .settings
            .units_per_customer
            .or(terms.units_per_customer)?;
        let owner: Owner = shopper.owner()?;
        let not_counted = expired
            .iter()
            .chain(own)
            .filter(|hold| hold.shopper.owner().as_ref() == Some(&owner));
        let not_counted: u64 = not_counted.map(|hold| u64::from(hold.quantity)).sum();
        let held = self.owners.held(&owner) - not_counted;
        let taken = held + self.owners.bought(&owner, now, terms.window_days);
        Some(Allowance { limit, taken })
    }

    fn extend(&self, ask: &Extend, now: Timestamp) -> Result<Decision, Refusal> {
        match self.foreign(ask.id, now)? {
            Live::Due(refused) => Ok(refused),
            // Somebody knows an older version: the extension was made and its answer was lost.
            Live::Yes(hold) if ask.seen.is_some_and(|seen| hold.version > seen) => {
                Ok(Decision::Repeat(Box::new(hold.clone())))
            }
            Live::Yes(hold) => Ok(granted(Event::Extended(self.extended(hold, ask, now)?))),
        }
    }

    /// The hold with its deadline moved.
    pub(super) fn extended(&self, hold: &Hold, ask: &Extend, now: Timestamp) -> Result<Hold, Refusal> {
        let sale = self.sale_at(now);
        if matches!(sale, SaleState::Draining | SaleState::Closed) {
            return Err(Refusal::SaleNotOpen {
                sale,
                opens_at: None,
                closes_at: self.head.settings.closes_at,
            });
        }
        let version = hold.version + 1;
        match (hold.phase, ask.phase.unwrap_or(hold.phase)) {
            (Phase::Cart, Phase::Payment) => {
                // Past the cart's last deadline a second payment gets the time that is left: going back and forth
                // must not keep a hold for ever.
                let paying = now.saturating_add(ask.terms.payment_ttl_ms);
                let in_time = now < hold.max_expires_at;
                let expires_at = if in_time {
                    hold.expires_at.max(paying)
                } else {
                    hold.expires_at
                };
                Ok(Hold {
                    phase: Phase::Payment,
                    expires_at,
                    version,
                    ..hold.clone()
                })
            }
            (Phase::Payment, Phase::Cart) => {
                // Between a minute from now and the cart's last deadline; beyond that never later than it was.
                let least = now.saturating_add(CART_PHASE_LEAST_MS);
                let latest = hold.max_expires_at;
                let expires_at = hold.expires_at.clamp(least.min(latest), least.max(latest));
                Ok(Hold {
                    phase: Phase::Cart,
                    expires_at,
                    version,
                    ..hold.clone()
                })
            }
            (Phase::Cart, Phase::Cart) => extended_within(hold, hold.max_expires_at, ask),
            (Phase::Payment, Phase::Payment) => {
                let latest = hold
                    .max_expires_at
                    .max(now.saturating_add(ask.terms.payment_ttl_ms));
                extended_within(hold, latest, ask)
            }
        }
    }

    fn resize(
        &self,
        id: ReservationId,
        quantity: u32,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let hold = match self.foreign(id, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        if quantity == 0 {
            return Err(Refusal::OutOfRange);
        }
        if quantity == hold.quantity {
            // Nothing changes, but it is a success: logged, so that its key keeps its answer whatever becomes of the hold.
            return Ok(granted(Event::Resized(hold.clone())));
        }
        let resized = Hold {
            quantity,
            version: hold.version + 1,
            ..hold.clone()
        };
        if quantity < hold.quantity {
            return Ok(granted(Event::Resized(resized)));
        }
        // More units: the wish is judged as if the shopper's own were free.
        self.expect_open(now)?;
        let (wanted, own) = (u64::from(quantity), u64::from(hold.quantity));
        let more = wanted - own;
        let expired = self.expiries_for(more, &hold.shopper, now);
        if self.head.tracks_stock() {
            let available = self.free(expired.iter().map(|hold| u64::from(hold.quantity)).sum());
            if available < more {
                return Err(self.insufficient(wanted, available + own, now));
            }
        }
        within(
            self.allowance(&hold.shopper, terms, &expired, &[hold], now),
            wanted,
            false,
        )?;
        let expiries = expired.into_iter().map(|hold| self::expired(hold, now));
        Ok(Decision::Granted(
            expiries.chain([Event::Resized(resized)]).collect(),
        ))
    }

    fn confirm(&self, ask: &Confirm, now: Timestamp) -> Result<Decision, Refusal> {
        if let Some(hold) = self
            .holds
            .get(&ask.id)
            .filter(|hold| hold.status == HoldStatus::Confirmed)
        {
            return hold
                .repeat_of_confirm(ask)
                .map(|hold| Decision::Repeat(Box::new(hold)));
        }
        let hold = match self.foreign(ask.id, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        let quantity = ask.quantity.unwrap_or(hold.quantity);
        if quantity == 0 {
            return Err(Refusal::OutOfRange);
        }
        if quantity > hold.quantity {
            return Err(Refusal::QuantityExceeds {
                requested: quantity,
                allowed: hold.quantity,
            });
        }
        Ok(granted(confirmed(hold, quantity, ask, now)))
    }

    fn release(&self, id: ReservationId, now: Timestamp) -> Result<Decision, Refusal> {
        match self.foreign(id, now)? {
            Live::Due(refused) => Ok(refused),
            Live::Yes(hold) => Ok(granted(released(hold, now))),
        }
    }

    /// How a reservation stands. That it was bought is said before whose it is now: that is what whoever looks has to know.
    fn look(&self, id: ReservationId, now: Timestamp) -> Result<Decision, Refusal> {
        let bought = |hold: &Hold| hold.status == HoldStatus::Confirmed;
        let live = if self.hold(id).is_some_and(bought) {
            self.live(id, now)
        } else {
            self.foreign(id, now)
        };
        Ok(match live? {
            Live::Due(refused) => refused,
            Live::Yes(hold) => Decision::Repeat(Box::new(hold.clone())),
        })
    }

    /// The reservation if somebody other than an order may act on it now: one that an order made here owns is its alone.
    pub(super) fn foreign(&self, id: ReservationId, now: Timestamp) -> Result<Live<'_>, Refusal> {
        let live = self.live(id, now);
        let owner = self.hold(id).filter(|hold| {
            let ends = matches!(live, Ok(Live::Due(_)));
            hold.pin.is_none() && !ends && hold.status != HoldStatus::Tentative
        });
        match owner.and_then(Hold::owning_order) {
            Some(order) => Err(Refusal::OwnedByOrder { order: order.clone() }),
            None => live,
        }
    }

    /// The reservation if somebody may act on it now. One whose deadline has come is expired by this very turn.
    pub(super) fn live(&self, id: ReservationId, now: Timestamp) -> Result<Live<'_>, Refusal> {
        let hold = self
            .holds
            .get(&id)
            .filter(|hold| hold.status != HoldStatus::Tentative);
        let hold = hold.ok_or(Refusal::ReservationNotFound)?;
        if hold.status == HoldStatus::Confirmed {
            return Err(Refusal::ReservationConfirmed {
                at: hold.told_at(now),
            });
        }
        if hold.pin.is_some() {
            return Err(Refusal::InFlight);
        }
        planted!(ConfirmAfterExpiry => return Ok(Live::Yes(hold)));
        if hold.is_due(now) {
            return Ok(Live::Due(Decision::Refused {
                events: self.expiries_up_to(hold, now),
                refusal: Refusal::ReservationExpired { at: now },
            }));
        }
        Ok(Live::Yes(hold))
    }

    /// The end of a due hold. Deadline order: whoever was due earlier goes first, within the bound of a turn.
    pub(super) fn expiries_up_to(&self, hold: &Hold, now: Timestamp) -> Vec<Event> {
        let earlier = self
            .due_holds(now)
            .take_while(|due| due.id != hold.id)
            .take(EXPIRIES_PER_TURN - 1);
        earlier.chain([hold]).map(|due| expired(due, now)).collect()
    }
}

fn expect_equal(seen: u64, current: u64) -> Result<(), Refusal> {
    if seen == current {
        Ok(())
    } else {
        Err(Refusal::VersionMismatch { current })
    }
}

/// What a limit is and how much of it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    limit: u32,
    taken: u64,
}

impl Allowance {
    /// Units left.
    pub(super) fn left(self) -> u64 {
        u64::from(self.limit).saturating_sub(self.taken)
    }
}

/// Caps or refuses by what a limit leaves.
pub(super) fn within(
    allowance: Option<Allowance>,
    quantity: u64,
    allow_partial: bool,
) -> Result<u64, Refusal> {
    let Some(allowance) = allowance else {
        return Ok(quantity);
    };
    let left = allowance.left();
    if quantity > left && !(allow_partial && left > 0) {
        return Err(Refusal::LimitReached {
            limit: allowance.limit,
            taken: allowance.taken,
            requested: quantity,
        });
    }
    Ok(quantity.min(left))
}

/// Whether a reservation can still be acted on.
pub(super) enum Live<'a> {
    /// It can.
    Yes(&'a Hold),
    /// Its deadline has come: this is the decision.
    Due(Decision),
}

impl Hold {
    /// The answer to a confirmation of a reservation that is sold already: the same again, if it asks for the same.
    ///
    /// # Errors
    /// [`Refusal::ReservationConfirmed`] when another quantity or order was confirmed, [`Refusal::OwnedByOrder`] when an
    /// order made here did it.
    pub fn repeat_of_confirm(&self, ask: &Confirm) -> Result<Self, Refusal> {
        if let Some(order) = self.owning_order() {
            return Err(Refusal::OwnedByOrder { order: order.clone() });
        }
        let same_units = ask.quantity.is_none_or(|quantity| quantity == self.quantity);
        let same_order = ask.order.is_none() || ask.order == self.order;
        if same_units && same_order {
            Ok(self.clone())
        } else {
            Err(self.ended_refusal())
        }
    }

    /// Why nobody can act on this ended reservation.
    pub fn ended_refusal(&self) -> Refusal {
        match self.ended {
            Some(end) => match end.reason {
                EndReason::Released => Refusal::ReservationReleased { at: end.at },
                EndReason::Expired => Refusal::ReservationExpired { at: end.at },
                EndReason::Confirmed => Refusal::ReservationConfirmed { at: end.at },
            },
            None => Refusal::ReservationNotFound,
        }
    }
}

pub(super) fn granted(event: Event) -> Decision {
    Decision::Granted(vec![event])
}

pub(super) fn expired(hold: &Hold, now: Timestamp) -> Event {
    Event::Expired(hold.ended(HoldStatus::Expired, EndReason::Expired, now))
}

pub(super) fn released(hold: &Hold, now: Timestamp) -> Event {
    Event::Released(hold.ended(HoldStatus::Released, EndReason::Released, now))
}

pub(super) fn confirmed(hold: &Hold, quantity: u32, ask: &Confirm, now: Timestamp) -> Event {
    let given_back = hold.quantity - quantity;
    let sold = hold.ended(HoldStatus::Confirmed, EndReason::Confirmed, now);
    Event::Confirmed {
        hold: Hold {
            quantity,
            order: ask.order.clone(),
            ..sold
        },
        given_back,
    }
}

fn extended_within(hold: &Hold, latest: Timestamp, ask: &Extend) -> Result<Hold, Refusal> {
    let by_ms = ask.by_ms.unwrap_or(ask.terms.lengths.extension_ms);
    let expires_at = hold.expires_at.saturating_add(by_ms).min(latest);
    if hold.extensions_left == 0 || expires_at <= hold.expires_at {
        return Err(Refusal::ExtensionLimit {
            max_expires_at: latest,
        });
    }
    let extensions_left = hold.extensions_left - 1;
    Ok(Hold {
        expires_at,
        extensions_left,
        version: hold.version + 1,
        ..hold.clone()
    })
}
