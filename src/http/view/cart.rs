//! A cart as its shopper sees it: every line with what stands behind it at the moment it is told.
use super::{MoneyView, Shown};
use crate::app::CartDone;
use crate::domain::cart::{Capped, Cart, Happened, Kept, Line, LineHold, LineId, NotExtended, Status};
use crate::domain::ids::{CartId, CustomerId, OrderId, ReservationId, SessionId, VariantId};
use crate::domain::money::{Currency, Money};
use crate::domain::policy::ExpiredLines;
use crate::domain::time::Timestamp;
use crate::http::problem::Code;
use crate::http::time::Moment;
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// A line's id as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineHandle(pub LineId);

impl LineHandle {
    /// Reads one; another text names no line.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("line_")?;
        let number = digits.parse().ok().map(LineId)?;
        // One spelling only: `line_+1` and `line_01` are nobody's.
        (Self(number).to_string() == text).then_some(Self(number))
    }
}

impl fmt::Display for LineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line_{}", self.0.0)
    }
}

/// A cart.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Cart)]
pub struct CartView {
    /// Made by this service.
    #[schema(value_type = String, example = "cart_019aa4b5c2f07abc8000000740000001")]
    pub id: Shown<CartId>,
    /// `active`, `checking_out`, `ordered`, `merged` or `abandoned`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// The shop's customer; null for a guest's.
    #[schema(value_type = Option<String>)]
    pub customer_id: Option<Shown<CustomerId>>,
    /// A guest's browser session.
    #[schema(value_type = Option<String>)]
    pub session_id: Option<Shown<SessionId>>,
    /// Of every priced line; null without one.
    #[schema(value_type = Option<String>)]
    pub currency: Option<Shown<CurrencyText>>,
    /// In the order they were added.
    pub items: Vec<CartItemView>,
    /// Over all lines.
    pub totals: TotalsView,
    /// When the first of the live holds ends; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Moment>,
    /// Milliseconds from `serverTime` to `expiresAt`.
    pub expires_in_ms: Option<i64>,
    /// What the shopper should know: lines that could not be confirmed, quantities that became fewer.
    pub warnings: Vec<WarningView>,
    /// The order made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub order_id: Option<Shown<OrderId>>,
    /// The cart that has its lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub merged_into: Option<Shown<CartId>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// Counts the shopper's changes; the ETag.
    pub version: u64,
    /// The moment this was told at.
    #[schema(value_type = String, format = DateTime)]
    pub server_time: Moment,
    /// What a guest shows to act on this cart: told once, by the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cart_token: Option<String>,
}

/// A currency's three letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrencyText(Currency);

impl fmt::Display for CurrencyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// One line of a cart.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CartItem)]
pub struct CartItemView {
    /// Its id within the cart.
    #[schema(value_type = String, example = "line_1")]
    pub id: Shown<LineHandle>,
    /// Whose units.
    #[schema(value_type = String)]
    pub variant_id: Shown<VariantId>,
    /// Units the shopper wants.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Option<MoneyView>,
    /// Until when that price is sure: as long as the hold lives.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub price_locked_until: Option<Moment>,
    /// The campaign it was added from.
    pub added_from_campaign: Option<String>,
    /// The hold behind it.
    #[schema(value_type = Option<String>)]
    pub reservation_id: Option<Shown<ReservationId>>,
    /// `active`: held; `expired`: no longer, one PATCH holds it again; `unconfirmed`: its variant cannot be reached; null:
    /// nothing is held and nothing needs to be.
    #[schema(value_type = Option<String>)]
    pub reservation_status: Option<&'static str>,
    /// Until when it is held.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reserved_until: Option<Moment>,
    /// Milliseconds from `serverTime` until then; 0 once it expired.
    pub expires_in_ms: Option<i64>,
    /// For the shopper, in English.
    pub message: Option<String>,
}

/// Figures over all lines.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CartTotals)]
pub struct TotalsView {
    /// Units.
    pub items: u64,
    /// Their price, minor units; null while a line has no price.
    pub amount: Option<i64>,
    /// Whose minor units.
    #[schema(value_type = Option<String>)]
    pub currency: Option<Shown<CurrencyText>>,
}

/// Something the shopper should know about a line.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CartWarning)]
pub struct WarningView {
    /// `line-unconfirmed` or `quantity-capped`.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// Whose units.
    #[schema(value_type = String)]
    pub variant_id: Shown<VariantId>,
    /// Units that were wanted.
    pub requested: u32,
    /// Units that the cart has of it; 0 without a line.
    pub quantity: u32,
    /// For the shopper, in English.
    pub message: String,
}

impl CartView {
    /// A cart as it stands at a moment.
    pub fn new(cart: &Cart, at: Timestamp) -> Self {
        let lines: Vec<_> = cart
            .lines
            .iter()
            .filter(|line| is_shown(cart, line, at))
            .collect();
        let item = |line: &&Line| CartItemView::new(line, &cart.status, at);
        let items: Vec<_> = lines.iter().map(item).collect();
        let live = items
            .iter()
            .filter(|item| item.reservation_status == Some(ACTIVE));
        let first = live
            .filter_map(|item| Some((item.reserved_until?.0, item.expires_in_ms?)))
            .min();
        let currency = lines.iter().find_map(|line| line.unit_price);
        let currency = currency.map(|price| price.currency);
        let unconfirmed = lines
            .iter()
            .filter(|line| matches!(line.hold, LineHold::Unconfirmed { .. }));
        let (order_id, merged_into) = successors(&cart.status);
        Self {
            id: Shown(cart.id.clone()),
            status: status(&cart.status),
            customer_id: cart.customer.clone().map(Shown),
            session_id: cart.session.clone().map(Shown),
            currency: currency.map(|currency| Shown(CurrencyText(currency))),
            items,
            totals: TotalsView::new(&lines, currency),
            expires_at: first.map(|(until, _)| Moment(until)),
            expires_in_ms: first.map(|(_, left)| left),
            warnings: unconfirmed.map(|line| WarningView::unconfirmed(line)).collect(),
            order_id: order_id.map(Shown),
            merged_into: merged_into.map(Shown),
            created_at: Moment(cart.created_at),
            version: cart.version,
            server_time: Moment(at),
            cart_token: None,
        }
    }

    /// A cart as a command left it, with what the shopper should know of that.
    pub fn after(done: &CartDone, at: Timestamp) -> Self {
        let mut view = Self::new(&done.cart, at);
        let capped = done.happened.iter().filter_map(|happened| {
            if let Happened::Capped(capped) = happened {
                Some(WarningView::capped(capped))
            } else {
                None
            }
        });
        view.warnings.extend(capped);
        view
    }

    /// With the token of a guest's new cart.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self {
            cart_token: token,
            ..self
        }
    }
}

/// Where the store removes lines that expired, such a line is gone at once, whatever was logged.
fn is_shown(cart: &Cart, line: &Line, at: Timestamp) -> bool {
    let removes = cart.policy.expired_lines == ExpiredLines::Remove;
    !(removes && matches!(Behind::of(line, &cart.status, at), Behind::Expired(_)))
}

/// The word for a live line.
const ACTIVE: &str = "active";

const fn status(status: &Status) -> &'static str {
    match status {
        // It stands still for a moment while another cart takes its lines over.
        Status::Active | Status::Merging { .. } => "active",
        Status::CheckingOut { .. } => "checking_out",
        Status::Ordered { .. } => "ordered",
        Status::Merged { .. } => "merged",
        Status::Abandoned => "abandoned",
    }
}

/// The order made of a cart, and the cart that has its lines.
fn successors(status: &Status) -> (Option<OrderId>, Option<CartId>) {
    match status {
        Status::CheckingOut { order } | Status::Ordered { order } => (Some(order.clone()), None),
        Status::Merged { into } => (None, Some(into.clone())),
        Status::Active | Status::Merging { .. } | Status::Abandoned => (None, None),
    }
}

/// What stands behind a line at a moment.
enum Behind {
    /// Units, until the deadline; in checkout the order's deadline goes, which the cart does not know.
    Held(Kept, Option<Timestamp>),
    Expired(Kept),
    Unconfirmed(ReservationId),
    Nothing,
}

impl Behind {
    fn of(line: &Line, status: &Status, at: Timestamp) -> Self {
        match (status, &line.hold) {
            (Status::Ordered { .. } | Status::Merged { .. } | Status::Abandoned, _) | (_, LineHold::None) => {
                Self::Nothing
            }
            (Status::CheckingOut { .. }, LineHold::Held(kept)) => {
                Self::Held(*kept, (kept.expires_at > at).then_some(kept.expires_at))
            }
            (_, LineHold::Held(kept)) if kept.expires_at > at => Self::Held(*kept, Some(kept.expires_at)),
            (_, LineHold::Held(kept) | LineHold::Ended(kept)) => Self::Expired(*kept),
            (_, LineHold::Unconfirmed { reservation, .. }) => Self::Unconfirmed(*reservation),
        }
    }
}

impl CartItemView {
    fn new(line: &Line, status: &Status, at: Timestamp) -> Self {
        let behind = Behind::of(line, status, at);
        let (reservation, word, until, left, message) = match behind {
            Behind::Held(kept, until) => {
                let left = until.map(|until| until.since(at));
                (
                    Some(kept.reservation),
                    Some(ACTIVE),
                    until,
                    left,
                    left.map(held_for),
                )
            }
            Behind::Expired(kept) => {
                // One that somebody ended early has a deadline that no longer means anything.
                let ended = (kept.expires_at <= at).then_some(kept.expires_at);
                (
                    Some(kept.reservation),
                    Some("expired"),
                    ended,
                    Some(0),
                    Some(NO_LONGER_HELD.to_owned()),
                )
            }
            Behind::Unconfirmed(reservation) => {
                let message = Some(NOT_CONFIRMED.to_owned());
                (Some(reservation), Some("unconfirmed"), None, None, message)
            }
            Behind::Nothing => (None, None, None, None, None),
        };
        let locked = until.filter(|_| word == Some(ACTIVE) && line.unit_price.is_some());
        Self {
            id: Shown(LineHandle(line.id)),
            variant_id: Shown(line.variant.clone()),
            quantity: line.quantity,
            unit_price: line.unit_price.map(MoneyView::from),
            price_locked_until: locked.map(Moment),
            added_from_campaign: line.campaign.clone(),
            reservation_id: reservation.map(Shown),
            reservation_status: word,
            reserved_until: until.map(Moment),
            expires_in_ms: left,
            message,
        }
    }
}

const NO_LONGER_HELD: &str = "No longer held for you. Choose it again to hold it, if there is any left.";
const NOT_CONFIRMED: &str = "Not confirmed yet: we could not check the stock and keep trying.";

/// How long a line is still held, rounded up: what a shopper can plan with.
fn held_for(left_ms: i64) -> String {
    const MINUTE: i64 = 60_000;
    let (length, unit) = if left_ms > MINUTE {
        ((left_ms + MINUTE - 1) / MINUTE, "minute")
    } else {
        ((left_ms + 999) / 1000, "second")
    };
    let plural = if length == 1 { "" } else { "s" };
    format!("Held for you for {length} more {unit}{plural}.")
}

impl TotalsView {
    fn new(lines: &[&Line], currency: Option<Currency>) -> Self {
        let amounts = lines
            .iter()
            .map(|line| line_amount(line.unit_price, line.quantity));
        Self {
            items: lines.iter().map(|line| u64::from(line.quantity)).sum(),
            amount: sum(amounts),
            currency: currency.map(|currency| Shown(CurrencyText(currency))),
        }
    }
}

/// What a line costs; held at the end of the range, which no real basket reaches.
pub(super) fn line_amount(unit_price: Option<Money>, quantity: u32) -> Option<i64> {
    unit_price.map(|price| price.amount.saturating_mul(i64::from(quantity)))
}

/// The sum, if every part is known.
pub(super) fn sum(amounts: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    amounts
        .into_iter()
        .try_fold(0_i64, |sum, amount| Some(sum.saturating_add(amount?)))
}

impl WarningView {
    fn unconfirmed(line: &Line) -> Self {
        Self {
            code: "line-unconfirmed",
            variant_id: Shown(line.variant.clone()),
            requested: line.quantity,
            quantity: line.quantity,
            message: NOT_CONFIRMED.to_owned(),
        }
    }

    fn capped(capped: &Capped) -> Self {
        let Capped { variant, wanted, got } = capped;
        let message = match got {
            0 => "Your carts are one now; this could not be had any more.".to_owned(),
            got => format!("Your carts are one now; you have {got} of this instead of {wanted}."),
        };
        Self {
            code: "quantity-capped",
            variant_id: Shown(variant.clone()),
            requested: *wanted,
            quantity: *got,
            message,
        }
    }
}

/// A cart after its lines were given more time, and what came of it line by line.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtendedCart {
    /// Line by line.
    pub results: Vec<ExtendedLine>,
    /// The cart.
    #[serde(flatten)]
    pub cart: CartView,
}

/// What came of more time for a line.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtendedLine {
    /// Which line.
    #[schema(value_type = String)]
    pub line_id: Shown<LineHandle>,
    /// Whose units.
    #[schema(value_type = String)]
    pub variant_id: Shown<VariantId>,
    /// Whether it got more time.
    pub extended: bool,
    /// Why not: `extension-limit`, `sale-not-open`, `request-in-flight`, `owned-by-order`, `reservation-expired`,
    /// `line-unconfirmed` or `not-held`.
    #[schema(value_type = Option<String>)]
    pub code: Option<&'static str>,
    /// Its deadline now.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Moment>,
    /// Extensions left.
    pub extensions_left: Option<u8>,
}

impl ExtendedCart {
    /// A cart as an extension left it: a line that said no is named in the record.
    pub fn new(done: &CartDone, at: Timestamp) -> Self {
        let refused = |line: &Line| {
            done.happened.iter().find_map(|happened| {
                let (of, why) = if let Happened::NotExtended(of, why) = happened {
                    (of, *why)
                } else if let Happened::LineRefused(of) = happened {
                    // A record of before the reasons were told.
                    (of, NotExtended::Limit)
                } else {
                    return None;
                };
                (*of == line.id).then(|| code_of(why).as_str())
            })
        };
        let result = |line: &Line| {
            let (code, kept) = match Behind::of(line, &done.cart.status, at) {
                Behind::Held(kept, _) => (refused(line), Some(kept)),
                Behind::Expired(_) => (Some("reservation-expired"), None),
                Behind::Unconfirmed(_) => (Some("line-unconfirmed"), None),
                Behind::Nothing => (Some("not-held"), None),
            };
            ExtendedLine {
                line_id: Shown(LineHandle(line.id)),
                variant_id: Shown(line.variant.clone()),
                extended: code.is_none(),
                code,
                expires_at: kept.map(|kept| Moment(kept.expires_at)),
                extensions_left: kept.map(|kept| kept.extensions_left),
            }
        };
        Self {
            results: done.cart.lines.iter().map(result).collect(),
            cart: CartView::after(done, at),
        }
    }
}

fn code_of(why: NotExtended) -> Code {
    match why {
        NotExtended::Limit => Code::ExtensionLimit,
        NotExtended::SaleNotOpen => Code::SaleNotOpen,
        NotExtended::InFlight => Code::RequestInFlight,
        NotExtended::OwnedByOrder => Code::OwnedByOrder,
    }
}

#[cfg(test)]
mod tests;
