//! What an event leaves of the reservation it is about, told once for projections and stored rows. It says what
//! `Variant::apply` does; a property over random turns holds the two together.
use crate::domain::variant::{Event, Hold};

/// Where a reservation is after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// Kept by its variant.
    Kept(&'a Hold),
    /// No longer kept by its variant: it is answered for from what is stored.
    Ended(&'a Hold),
    /// Gone without a trace: it was never a reservation.
    Withdrawn(&'a Hold),
}

/// What becomes of the reservation an event is about; `None` for events about the variant itself.
pub(super) fn fate(event: &Event) -> Option<Fate<'_>> {
    match event {
        Event::Held(hold)
        | Event::Extended(hold)
        | Event::Resized(hold)
        | Event::Pinned(hold)
        | Event::Unpinned(hold)
        | Event::Confirmed { hold, .. }
        | Event::Rehomed { hold, .. }
        | Event::Returned { hold, .. } => Some(Fate::Kept(hold)),
        Event::Fulfilled { hold, .. } | Event::Cancelled { hold, .. } if hold.committed_units() > 0 => {
            Some(Fate::Kept(hold))
        }
        Event::Fulfilled { hold, .. }
        | Event::Cancelled { hold, .. }
        | Event::Released(hold)
        | Event::Expired(hold)
        | Event::Closed(hold) => Some(Fate::Ended(hold)),
        Event::Withdrawn(hold) => Some(Fate::Withdrawn(hold)),
        Event::Created { .. }
        | Event::SettingsChanged { .. }
        | Event::SaleChanged { .. }
        | Event::StockChanged { .. }
        | Event::Deleted => None,
    }
}
