//! A line of an import: what a shop's list says about one variant. What it does not mention stays as it is.
//!
//! A line is one turn of its variant: description, sale and level change together or not at all. Neighbours: `shop`
//! judges the same changes one at a time. Deliberately absent: one outcome over several lines. A variant knows its own line;
//! where a list is to be taken over all or not at all, its actor waits until every other line is judged
//! ([`crate::actor::Together`]).
use super::{
    Variant,
    decide::Decision,
    event::{Event, LedgerEntry, LedgerKind},
    head::{Head, ReservationMode, SaleState, Settings},
    refusal::Refusal,
    shop::booked,
    stock::{MAX_UNITS, View},
};
use crate::domain::{ids::VariantId, money::Money, time::Timestamp};
use std::collections::BTreeMap;

/// The most failed lines that a report tells of one by one; the others are counted.
pub const FAILURES_TOLD_MAX: usize = 100;

/// Why the ledger says the level changed.
const REASON: &str = "import";

/// One thing that a line says; see [`Settings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The product it belongs to.
    ProductId(Option<String>),
    /// The human code.
    Sku(Option<String>),
    /// The name shoppers read.
    Name(Option<String>),
    /// The shop's category.
    Category(Option<String>),
    /// Free words, all of them.
    Tags(Vec<String>),
    /// Free pairs, all of them.
    Attributes(BTreeMap<String, String>),
    /// The price of one unit.
    Price(Option<Money>),
    /// Units kept back from sale.
    SafetyStock(u64),
    /// Units that may be sold beyond those on hand.
    BackorderLimit(u64),
    /// When units are taken.
    ReservationMode(ReservationMode),
    /// At or below this many available the variant says so.
    LowStockThreshold(u64),
    /// No holds before this moment.
    OpensAt(Option<Timestamp>),
    /// No new holds from this moment on.
    ClosesAt(Option<Timestamp>),
    /// Whether a second hold of the same shopper is refused.
    OneHoldPerCustomer(bool),
    /// The ttl of holds here instead of the store's, ms.
    HoldTtlMs(Option<i64>),
    /// Units for one customer here instead of the store's.
    UnitsPerCustomer(Option<u32>),
}

/// What a line says about the units on hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// So many were counted.
    Counted(u64),
    /// So many came in (positive) or went out.
    Delta(i64),
}

/// A line of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// What it says, each thing once.
    pub settings: Vec<Setting>,
    /// The units on hand.
    pub level: Option<Level>,
    /// What an operator allows.
    pub sale: Option<SaleState>,
    /// Where the line stands, for the ledger.
    pub reference: String,
    /// Who asks.
    pub by: String,
}

/// Everything that an import can set and an export tells: nothing that a sale changes but the units on hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Description and rules.
    pub settings: Settings,
    /// What an operator allows.
    pub sale: SaleState,
    /// Physical units.
    pub on_hand: u64,
}

/// What became of an import that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Variants that entered the shop.
    pub created: u64,
    /// Variants that changed.
    pub changed: u64,
    /// Variants that were so already.
    pub unchanged: u64,
    /// Lines of which nothing was done.
    pub failed: u64,
    /// The first of them, at most [`FAILURES_TOLD_MAX`].
    pub failures: Vec<LineFailure>,
}

/// A line of which nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFailure {
    /// Where it stands, from 1.
    pub line: u64,
    /// The shop's id of its variant.
    pub variant: VariantId,
    /// Why.
    pub why: WhyNot,
}

/// Why nothing was done of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Its variant says no.
    Refused(Refusal),
    /// Its variant is closed until an operator has looked.
    Quarantined,
    /// No answer came, and without a key nobody can ask again: it may have happened.
    Unknown,
}

impl Settings {
    /// Changes one of them.
    fn set(&mut self, setting: &Setting) {
        match setting.clone() {
            Setting::ProductId(id) => self.product_id = id,
            Setting::Sku(sku) => self.sku = sku,
            Setting::Name(name) => self.name = name,
            Setting::Category(category) => self.category = category,
            Setting::Tags(tags) => self.tags = tags,
            Setting::Attributes(attributes) => self.attributes = attributes,
            Setting::Price(price) => self.price = price,
            Setting::SafetyStock(units) => self.safety_stock = units,
            Setting::BackorderLimit(units) => self.backorder_limit = units,
            Setting::ReservationMode(mode) => self.reservation_mode = mode,
            Setting::LowStockThreshold(units) => self.low_stock_threshold = units,
            Setting::OpensAt(at) => self.opens_at = at,
            Setting::ClosesAt(at) => self.closes_at = at,
            Setting::OneHoldPerCustomer(one) => self.one_hold_per_customer = one,
            Setting::HoldTtlMs(ttl_ms) => self.hold_ttl_ms = ttl_ms,
            Setting::UnitsPerCustomer(units) => self.units_per_customer = units,
        }
    }
}

impl Head {
    /// What an import can set, as it stands.
    pub fn sheet(&self) -> Sheet {
        Sheet {
            settings: self.settings.clone(),
            sale: self.sale,
            on_hand: self.on_hand,
        }
    }
}

impl Import {
    /// What stands after this line where `before` stood; nothing before a variant that it creates.
    ///
    /// # Errors
    /// Units are booked in or out of a variant that is not there, fewer than none would be left, or more than are
    /// counted.
    fn after(&self, before: Option<&Sheet>) -> Result<Sheet, Impossible> {
        let mut after = match (before, self.level) {
            (None, Some(Level::Delta(_))) => return Err(Impossible::NotThere),
            (before, _) => before.cloned().unwrap_or_default(),
        };
        self.settings
            .iter()
            .for_each(|setting| after.settings.set(setting));
        after.sale = self.sale.unwrap_or(after.sale);
        after.on_hand = match self.level {
            None => after.on_hand,
            Some(Level::Counted(units)) => units,
            Some(Level::Delta(delta)) => after
                .on_hand
                .checked_add_signed(delta)
                .ok_or(Impossible::BelowNone)?,
        };
        if after.on_hand > MAX_UNITS || !after.settings.in_range() {
            return Err(Impossible::OutOfRange);
        }
        Ok(after)
    }
}

/// Why a line means nothing.
enum Impossible {
    NotThere,
    BelowNone,
    OutOfRange,
}

impl View {
    /// What `import` would make of the variant as it is seen here: what its own turn would say, were it now.
    ///
    /// # Errors
    /// As the variant would refuse.
    pub fn imported(&self, import: &Import) -> Result<Sheet, Refusal> {
        let before = self.head.sheet();
        let after = import.after(Some(&before));
        let empty = Sheet { on_hand: 0, ..before };
        match after {
            Err(Impossible::NotThere) => Err(Refusal::VariantNotFound),
            Err(Impossible::OutOfRange) => Err(Refusal::OutOfRange),
            Err(Impossible::BelowNone) => Err(self.below_held(&empty)),
            Ok(after) if self.held + self.committed > after.room() => Err(self.below_held(&after)),
            Ok(after) => Ok(after),
        }
    }

    fn below_held(&self, sheet: &Sheet) -> Refusal {
        let used = self.held + self.committed;
        let least = used.saturating_sub(sheet.settings.backorder_limit);
        Refusal::BelowHeld {
            held: self.held,
            committed: self.committed,
            least: if sheet.tracks_stock() { least } else { 0 },
        }
    }
}

impl Sheet {
    /// What `import` makes of a variant that is not there yet.
    ///
    /// # Errors
    /// As the variant would refuse.
    pub fn created(import: &Import) -> Result<Self, Refusal> {
        import.after(None).map_err(|impossible| match impossible {
            Impossible::NotThere => Refusal::VariantNotFound,
            Impossible::BelowNone | Impossible::OutOfRange => Refusal::OutOfRange,
        })
    }

    fn tracks_stock(&self) -> bool {
        self.settings.reservation_mode != ReservationMode::Untracked
    }

    /// The most units that may be held and sold.
    fn room(&self) -> u64 {
        if self.tracks_stock() {
            self.on_hand + self.settings.backorder_limit
        } else {
            u64::MAX
        }
    }
}

impl Variant {
    /// Judges a line of an import: it creates the variant or changes what is there.
    pub(super) fn import(&self, import: &Import, now: Timestamp) -> Result<Decision, Refusal> {
        if self.head.deleted {
            return Err(Refusal::VariantNotFound);
        }
        if !self.head.exists() {
            let sheet = Sheet::created(import)?;
            return Ok(Decision::Granted(self.imported_anew(import, sheet, now)));
        }
        let before = self.head.sheet();
        let after = import
            .after(Some(&before))
            .map_err(|impossible| match impossible {
                Impossible::NotThere => Refusal::VariantNotFound,
                Impossible::OutOfRange => Refusal::OutOfRange,
                Impossible::BelowNone => self.below_held(self.room(0), now),
            })?;
        let room = super::shop::Room {
            on_hand: after.on_hand,
            backorder: after.settings.backorder_limit,
            tracked: after.tracks_stock(),
        };
        let mut events = self.expiries_to_fit(room, now)?;
        let stock = self
            .line_of_ledger(import, after.on_hand, now)
            .map(|entry| Event::StockChanged { entry: Some(entry) });
        let settings = (after.settings != before.settings).then(|| Event::SettingsChanged {
            settings: Box::new(after.settings),
        });
        let sale = (after.sale != before.sale).then_some(Event::SaleChanged { sale: after.sale });
        // What makes room goes first, so that the units fit after every event.
        let (first, second) = if after.on_hand > before.on_hand {
            (stock, settings)
        } else {
            (settings, stock)
        };
        let changes: Vec<Event> = [sale, first, second].into_iter().flatten().collect();
        if changes.is_empty() {
            return Ok(Decision::Nothing);
        }
        events.extend(changes);
        Ok(Decision::Granted(events))
    }

    fn imported_anew(&self, import: &Import, sheet: Sheet, now: Timestamp) -> Vec<Event> {
        let created = Event::Created {
            entry: self.line_of_ledger(import, sheet.on_hand, now),
            settings: Box::new(sheet.settings),
        };
        let sale = (sheet.sale != self.head.sale).then_some(Event::SaleChanged { sale: sheet.sale });
        [created].into_iter().chain(sale).collect()
    }

    fn line_of_ledger(&self, import: &Import, on_hand: u64, now: Timestamp) -> Option<LedgerEntry> {
        let units = |units: u64| i64::try_from(units).expect("a level is at most MAX_UNITS");
        let delta = units(on_hand) - units(self.head.on_hand);
        let kind: LedgerKind = booked(delta);
        (delta != 0).then(|| LedgerEntry {
            reference: Some(import.reference.clone()),
            ..self.entry(kind, delta, REASON, &import.by, now)
        })
    }
}

impl ImportReport {
    /// Counts a line of which nothing was done.
    pub fn fail(&mut self, failure: LineFailure) {
        self.failed += 1;
        self.failures.push(failure);
        // Lines come in the order in which they are done; told are the first of the file.
        self.failures.sort_by_key(|failure| failure.line);
        self.failures.truncate(FAILURES_TOLD_MAX);
    }

    /// Lines judged.
    pub fn lines(&self) -> u64 {
        self.created + self.changed + self.unchanged + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ids::{ReservationId, Slot, StoreId, VariantOrdinal},
        policy::{HoldLengths, Terms},
        variant::{Command, Reserve, Shopper},
    };

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn import(settings: Vec<Setting>, level: Option<Level>) -> Import {
        Import {
            settings,
            level,
            sale: None,
            reference: "line 2".into(),
            by: "shop".into(),
        }
    }

    /// Takes a line in, with the laws asked after every event; the events.
    fn take_in(variant: &mut Variant, line: &Import) -> Result<Vec<Event>, Refusal> {
        let events = match variant.decide(&Command::Import(Box::new(line.clone())), NOW)? {
            Decision::Granted(events) => events,
            Decision::Nothing => Vec::new(),
            other @ (Decision::Repeat(_) | Decision::Refused { .. }) => panic!("{other:?}"),
        };
        for event in &events {
            variant.apply(event, NOW);
            variant.check().unwrap();
        }
        Ok(events)
    }

    /// A variant with 10 units, 6 beyond stock, of which 12 are held.
    fn variant() -> Variant {
        let store = StoreId::parse("default").unwrap();
        let id = VariantId::parse("123").unwrap();
        let slot = Slot::of_variant(&store, &id);
        let mut variant = Variant::unborn(store, id, VariantOrdinal(0));
        let line = import(vec![Setting::BackorderLimit(6)], Some(Level::Counted(10)));
        take_in(&mut variant, &line).unwrap();
        let lengths = HoldLengths {
            ttl_ms: 60_000,
            extension_ms: 60_000,
            max_extensions: 1,
        };
        let reserve = Reserve {
            id: ReservationId::new(NOW, slot, VariantOrdinal(0), 1),
            quantity: 12,
            shopper: Shopper::default(),
            ttl_ms: None,
            allow_partial: false,
            terms: Terms {
                lengths,
                payment_ttl_ms: 60_000,
                max_ttl_ms: 60_000,
                units_per_customer: None,
                window_days: None,
            },
            for_order: None,
        };
        match variant.decide(&Command::Reserve(reserve), NOW) {
            Ok(Decision::Granted(events)) => events.iter().for_each(|event| variant.apply(event, NOW)),
            other => panic!("{other:?}"),
        }
        variant
    }

    #[test]
    fn what_makes_room_goes_first_so_that_units_fit_after_every_event() {
        for (beyond, level) in [
            (0, Level::Counted(12)),
            (2, Level::Delta(0)),
            (2, Level::Counted(10)),
            (12, Level::Counted(0)),
            (20, Level::Delta(-10)),
        ] {
            let mut variant = variant();
            let line = import(vec![Setting::BackorderLimit(beyond)], Some(level));
            let foretold = variant.view(NOW).imported(&line).unwrap();
            take_in(&mut variant, &line).unwrap();
            assert_eq!(variant.head().sheet(), foretold, "{line:?}");
        }
    }

    #[test]
    fn what_would_not_fit_is_refused_and_foretold() {
        for (settings, level, least) in [
            (vec![Setting::BackorderLimit(1)], None, 11),
            (vec![], Some(Level::Counted(5)), 6),
            (vec![], Some(Level::Delta(-11)), 6),
            (vec![Setting::BackorderLimit(3)], Some(Level::Counted(8)), 9),
        ] {
            let mut variant = variant();
            let line = import(settings, level);
            let foretold = variant.view(NOW).imported(&line).unwrap_err();
            let refused = take_in(&mut variant, &line).unwrap_err();
            assert_eq!(refused, foretold, "{line:?}");
            assert!(
                matches!(refused, Refusal::BelowHeld { least: told, .. } if told == least),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn the_laws_are_asked_of_a_turn_before_it_is_applied() {
        let variant = variant();
        let enough = import(vec![Setting::BackorderLimit(2)], None);
        let Ok(Decision::Granted(events)) = variant.decide(&Command::Import(Box::new(enough)), NOW) else {
            panic!("12 held units fit into 10 and 2")
        };
        assert_eq!(variant.check_after(&events, NOW), Ok(()));
        let settings = Box::default();
        let too_little = [Event::SettingsChanged { settings }];
        let broken = variant.check_after(&too_little, NOW).unwrap_err();
        assert!(broken.to_string().contains("NO_OVERSELL"), "{broken}");
        assert_eq!(variant.check(), Ok(()), "it was only asked");
    }

    #[test]
    fn a_line_that_changes_nothing_is_no_turn() {
        let mut variant = variant();
        let line = import(vec![Setting::BackorderLimit(6)], Some(Level::Counted(10)));
        assert_eq!(take_in(&mut variant, &line), Ok(Vec::new()));
    }

    #[test]
    fn units_of_what_is_not_there_cannot_change() {
        let store = StoreId::parse("default").unwrap();
        let mut unborn = Variant::unborn(store, VariantId::parse("1").unwrap(), VariantOrdinal(0));
        let line = import(Vec::new(), Some(Level::Delta(1)));
        assert_eq!(take_in(&mut unborn, &line), Err(Refusal::VariantNotFound));
        assert_eq!(Sheet::created(&line), Err(Refusal::VariantNotFound));
        let more = import(Vec::new(), Some(Level::Counted(MAX_UNITS + 1)));
        assert_eq!(take_in(&mut unborn, &more), Err(Refusal::OutOfRange));
    }

    #[test]
    fn a_report_tells_the_first_failures_of_the_file() {
        let mut report = ImportReport::default();
        for line in (1..=150).rev() {
            report.fail(LineFailure {
                line,
                variant: VariantId::parse("1").unwrap(),
                why: WhyNot::Unknown,
            });
        }
        let told: Vec<u64> = report.failures.iter().map(|failure| failure.line).collect();
        assert_eq!((report.failed, told), (150, (1..=100).collect()));
    }
}
