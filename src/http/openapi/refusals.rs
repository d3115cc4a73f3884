//! Which problems each operation can answer. The edge's tests hold every answer they get against it.
use crate::http::auth::GUEST_ROUTES;
use crate::http::extract::bodies::BodyKind;
use crate::http::problem::Code;
use std::collections::BTreeSet;

/// Every problem that an operation can answer.
pub(super) fn of(path: &str, method: &str, name: &str, body: Option<BodyKind>) -> BTreeSet<Code> {
    let mut codes: BTreeSet<Code> = ALWAYS.iter().copied().collect();
    if method != "GET" {
        codes.extend(WITH_A_BODY);
        if !body.is_some_and(|body| body.reads) {
            codes.extend(CHANGING);
        }
    }
    if path.starts_with("/api/cart") || path.starts_with("/api/orders/") {
        codes.extend(ASKING_A_VARIANT);
    }
    if GUEST_ROUTES
        .iter()
        .any(|(verb, guests)| verb == method && *guests == path)
    {
        codes.insert(Code::CartTokenInvalid);
    }
    if path.starts_with("/api/cart/") && method != "GET" {
        codes.extend(CHANGING_A_CART);
    }
    if path.starts_with("/api/stock/") && !NO_VARIANT.contains(&name) {
        codes.extend(ASKING_A_VARIANT);
    }
    if name.starts_with("list_") {
        codes.insert(Code::CursorTooOld);
    }
    let own = REFUSALS.iter().find(|(operation, _)| *operation == name);
    codes.extend(own.into_iter().flat_map(|(_, codes)| codes.iter().copied()));
    codes
}

/// Whatever is asked.
const ALWAYS: &[Code] = &[
    Code::MalformedRequest,
    Code::Unauthenticated,
    Code::MisdirectedRequest,
    Code::InvalidParameter,
    Code::Internal,
    Code::Overloaded,
    Code::Restoring,
];

/// Wherever a body is read.
const WITH_A_BODY: &[Code] = &[
    Code::MalformedJson,
    Code::InvalidHeader,
    Code::CrossSiteRequest,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidMember,
    Code::OutcomeUnknown,
];

/// Wherever something may be changed.
const CHANGING: &[Code] = &[
    Code::IdempotencyKeyMissing,
    Code::RequestInFlight,
    Code::IdempotencyKeyReused,
    Code::StorageUnavailable,
    Code::Draining,
];

/// Wherever a variant's actor is asked.
const ASKING_A_VARIANT: &[Code] = &[Code::TooManyRequests, Code::VariantQuarantined, Code::Draining];

/// Operations on stock that look at figures only.
const NO_VARIANT: &[&str] = &["get_statistics"];

/// What each operation may refuse beyond what all do. Its name is the handler's.
const REFUSALS: &[(&str, &[Code])] = &[
    ("create_variant", &[Code::AlreadyExists]),
    ("get_variant", &[Code::VariantNotFound]),
    (
        "change_variant",
        &[
            Code::VariantNotFound,
            Code::StaleVersion,
            Code::PreconditionRequired,
        ],
    ),
    (
        "delete_variant",
        &[
            Code::VariantNotFound,
            Code::HasActiveHolds,
            Code::StaleVersion,
            Code::PreconditionRequired,
        ],
    ),
    (
        "restore",
        &[
            Code::SnapshotNotFound,
            Code::PlanStale,
            Code::SnapshotDamaged,
            Code::CutUnreachable,
        ],
    ),
    ("get_operation", &[Code::OperationNotFound]),
    ("get_availability", &[Code::VariantNotFound]),
    (
        "set_stock",
        &[
            Code::VariantNotFound,
            Code::BelowHeld,
            Code::StaleVersion,
            Code::PreconditionRequired,
        ],
    ),
    (
        "adjust_stock",
        &[
            Code::VariantNotFound,
            Code::BelowHeld,
            Code::ExpectedMismatch,
            Code::StaleVersion,
        ],
    ),
    (
        "import_stock",
        &[Code::InvalidLines, Code::ListTooLarge, Code::LinesRefused],
    ),
    ("export_stock", &[Code::NotAcceptable]),
    ("list_history", &[Code::VariantNotFound, Code::HistoryTooOld]),
    ("list_ledger", &[Code::VariantNotFound]),
    ("pause_variant", SELLS),
    ("resume_variant", SELLS),
    ("drain_variant", SELLS),
    (
        "reserve",
        &[
            Code::VariantNotFound,
            Code::InsufficientStock,
            Code::SaleNotOpen,
            Code::LimitReached,
            Code::AlreadyHeld,
        ],
    ),
    ("sell", &[Code::VariantNotFound, Code::InsufficientStock]),
    ("get_reservation", &[Code::ReservationNotFound]),
    ("act_on_reservation", ACTS),
    ("resize_reservation", ACTS),
    ("extend_reservation", ACTS),
    ("confirm_reservation", ACTS),
    (
        "release_reservation",
        &[
            Code::ReservationNotFound,
            Code::ReservationConfirmed,
            Code::OwnedByOrder,
            Code::StaleVersion,
        ],
    ),
    (
        "release_reservations",
        &[
            Code::ReservationNotFound,
            Code::ReservationConfirmed,
            Code::StaleVersion,
        ],
    ),
    ("bulk", &[Code::LinesRefused]),
    ("fulfil_reservation", AFTER_SALE),
    ("cancel_reservation", AFTER_SALE),
    ("return_reservation", AFTER_SALE),
    ("get_cart", &[Code::CartNotFound]),
    ("create_cart", &[Code::LimitReached]),
    ("add_item", ADDS),
    ("add_item_to_cart", ADDS),
    ("change_item", CHANGES),
    ("remove_item", &[Code::LineNotFound]),
    (
        "extend_cart",
        &[
            Code::CartEmpty,
            Code::ExtensionLimit,
            Code::SaleNotOpen,
            Code::ReservationExpired,
        ],
    ),
    (
        "merge_carts",
        &[
            Code::CartTokenInvalid,
            Code::MergeConflict,
            Code::LimitReached,
            Code::CurrencyMismatch,
        ],
    ),
    (
        "check_out_cart",
        &[Code::LinesUnavailable, Code::CartEmpty, Code::LimitReached],
    ),
    ("get_order", &[Code::OrderNotFound]),
    (
        "confirm_order",
        &[
            Code::OrderNotFound,
            Code::OrderState,
            Code::RefundRequired,
            Code::AmountMismatch,
        ],
    ),
    ("fail_order", &[Code::OrderNotFound, Code::OrderState]),
    ("cancel_order", ORDER_LINES),
    ("fulfil_order", ORDER_LINES),
    ("return_order", ORDER_LINES),
    ("close_refund", &[Code::OrderNotFound, Code::RefundNotFound]),
    ("put_policy", &[Code::StaleVersion, Code::PreconditionRequired]),
    (
        "create_snapshot",
        &[
            Code::SnapshotRunning,
            Code::InsufficientStorage,
            // A repeat, when its snapshot was removed or damaged since.
            Code::SnapshotNotFound,
            Code::SnapshotDamaged,
        ],
    ),
    ("get_snapshot", &[Code::SnapshotNotFound, Code::SnapshotDamaged]),
    (
        "delete_snapshot",
        &[Code::SnapshotNotFound, Code::SnapshotRunning],
    ),
    (
        "verify_snapshot",
        &[
            Code::SnapshotNotFound,
            Code::SnapshotRunning,
            Code::SnapshotDamaged,
        ],
    ),
    (
        "rebuild_quarantined",
        &[Code::VariantNotFound, Code::QuarantineNotFound],
    ),
];

/// Wherever a cart that is there is changed.
const CHANGING_A_CART: &[Code] = &[
    Code::CartNotFound,
    Code::CartCheckingOut,
    Code::CartOrdered,
    Code::CartMerged,
    Code::CartAbandoned,
    Code::StaleVersion,
];
/// Units are put into a cart.
const ADDS: &[Code] = &[
    Code::VariantNotFound,
    Code::InsufficientStock,
    Code::SaleNotOpen,
    Code::LimitReached,
    Code::AlreadyHeld,
    Code::CurrencyMismatch,
];
/// A line of a cart gets more or fewer units.
const CHANGES: &[Code] = &[
    Code::LineNotFound,
    Code::VariantNotFound,
    Code::InsufficientStock,
    Code::SaleNotOpen,
    Code::LimitReached,
    Code::AlreadyHeld,
    Code::CurrencyMismatch,
];
/// Units of an order's lines move.
const ORDER_LINES: &[Code] = &[
    Code::OrderNotFound,
    Code::LineNotFound,
    Code::OrderState,
    Code::TooManyUnits,
];
/// The sale of a variant is opened, paused or drained.
const SELLS: &[Code] = &[Code::VariantNotFound, Code::StaleVersion];
/// A live hold is extended, changed or sold.
const ACTS: &[Code] = &[
    Code::StaleVersion,
    Code::ReservationNotFound,
    Code::InsufficientStock,
    Code::SaleNotOpen,
    Code::LimitReached,
    Code::ExtensionLimit,
    Code::TooManyUnits,
    Code::ReservationReleased,
    Code::ReservationConfirmed,
    Code::ReservationExpired,
    Code::OwnedByOrder,
];
/// Sold units are shipped, cancelled or returned.
const AFTER_SALE: &[Code] = &[
    Code::StaleVersion,
    Code::ReservationNotFound,
    Code::ReservationNotConfirmed,
    Code::OwnedByOrder,
    Code::TooManyUnits,
    Code::ReservationReleased,
    Code::ReservationExpired,
    // It was deleted since, and what it sold is remembered.
    Code::VariantNotFound,
];
