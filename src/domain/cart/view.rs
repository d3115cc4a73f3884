//! A cart as a shopper sees it at some moment: an expired hold shows at once, whatever was logged.
use super::{Cart, Line, LineHold, Status};
use crate::domain::{
    ids::ReservationId, money::Money, policy::ExpiredLines, time::Timestamp, variant::NEEDS_EXTENSION_MS,
};

/// What stands behind a line at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineStatus {
    /// Units are held.
    Active,
    /// The hold ended; the line can be held again.
    Expired,
    /// Nothing is held and nothing needs to be before checkout.
    None,
    /// The variant could not be asked yet.
    Unconfirmed,
}

impl LineStatus {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::None => "none",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// A line at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineView<'a> {
    /// The line.
    pub line: &'a Line,
    /// What stands behind it.
    pub status: LineStatus,
    /// The reservation, live or ended.
    pub reservation: Option<ReservationId>,
    /// The deadline of its hold; past it when it expired.
    pub expires_at: Option<Timestamp>,
    /// Until when the price is locked.
    pub price_locked_until: Option<Timestamp>,
    /// Little time is left and it can be extended.
    pub needs_extension: bool,
}

/// A cart at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// Its lines, without those that have expired where the store removes them.
    pub lines: Vec<LineView<'a>>,
    /// Units over these lines.
    pub units: u64,
    /// What they cost, one sum per currency; lines without a price are left out.
    pub totals: Vec<Money>,
    /// The earliest deadline of a live hold.
    pub expires_at: Option<Timestamp>,
    /// Some line needs an extension.
    pub needs_extension: bool,
}

impl Cart {
    /// The cart as it is at `now`.
    pub fn view_at(&self, now: Timestamp) -> View<'_> {
        let remove = self.policy.expired_lines == ExpiredLines::Remove;
        let lines = self.lines.iter().map(|line| self.view_line(line, now));
        let lines: Vec<LineView<'_>> = lines
            .filter(|view| !(remove && view.status == LineStatus::Expired))
            .collect();
        let live = lines.iter().filter(|view| view.status == LineStatus::Active);
        View {
            units: lines.iter().map(|view| u64::from(view.line.quantity)).sum(),
            totals: totals(&lines),
            expires_at: live.filter_map(|view| view.expires_at).min(),
            needs_extension: lines.iter().any(|view| view.needs_extension),
            lines,
        }
    }

    fn view_line<'a>(&self, line: &'a Line, now: Timestamp) -> LineView<'a> {
        // While an order has the holds it decides when they end, not the clock.
        let in_payment = matches!(self.status, Status::CheckingOut { .. });
        let (status, reservation, expires_at) = match line.hold {
            LineHold::None => (LineStatus::None, None, None),
            LineHold::Held(kept) if in_payment || kept.expires_at > now => {
                (LineStatus::Active, Some(kept.reservation), Some(kept.expires_at))
            }
            LineHold::Held(kept) | LineHold::Ended(kept) => {
                (LineStatus::Expired, Some(kept.reservation), Some(kept.expires_at))
            }
            LineHold::Unconfirmed { reservation, .. } => (LineStatus::Unconfirmed, Some(reservation), None),
        };
        let live = expires_at.filter(|_| status == LineStatus::Active);
        let extensions_left = match line.hold {
            LineHold::Held(kept) => kept.extensions_left,
            LineHold::None | LineHold::Ended(_) | LineHold::Unconfirmed { .. } => 0,
        };
        let short = live.is_some_and(|at| at.since(now) < NEEDS_EXTENSION_MS);
        LineView {
            line,
            status,
            reservation,
            expires_at,
            price_locked_until: live.filter(|_| line.unit_price.is_some()),
            needs_extension: short && extensions_left > 0 && !in_payment,
        }
    }
}

fn totals(lines: &[LineView<'_>]) -> Vec<Money> {
    let mut totals: Vec<Money> = Vec::new();
    for view in lines {
        let Some(price) = view.line.unit_price else {
            continue;
        };
        let amount = price.amount.saturating_mul(i64::from(view.line.quantity));
        match totals.iter_mut().find(|total| total.currency == price.currency) {
            Some(total) => total.amount = total.amount.saturating_add(amount),
            None => totals.push(Money { amount, ..price }),
        }
    }
    totals
}
