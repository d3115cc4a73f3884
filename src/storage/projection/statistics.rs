//! How the reservations of a store have gone. A pure fold of events, so that the stored figures and the live ones can
//! only be the same.
use crate::domain::variant::{EndReason, Event};

/// The figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Reservations that are live now.
    pub active: u64,
    /// Reservations sold so far.
    pub confirmed: u64,
    /// Reservations given back by somebody so far.
    pub released: u64,
    /// Reservations given back by their deadline so far.
    pub expired: u64,
    /// How long all that ended were held, together, in ms.
    pub hold_ms: u64,
}

impl Statistics {
    const VERSION: u8 = 1;

    /// The share of ended reservations that were sold, 0 to 1; 0 while none has ended.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no last digit")]
    pub fn conversion_rate(&self) -> f64 {
        match self.ended() {
            0 => 0.0,
            ended => self.confirmed as f64 / ended as f64,
        }
    }

    /// How long a reservation was held on average, in seconds; 0 while none has ended.
    #[expect(clippy::cast_precision_loss, reason = "an average needs no last digit")]
    pub fn average_hold_seconds(&self) -> f64 {
        match self.ended() {
            0 => 0.0,
            ended => self.hold_ms as f64 / ended as f64 / 1000.0,
        }
    }

    fn ended(&self) -> u64 {
        self.confirmed + self.released + self.expired
    }

    /// Counts an end. What comes after it (shipped, returned, closed) ends nothing again.
    pub(in crate::storage) fn count(&mut self, event: &Event) {
        let (Event::Confirmed { hold, .. } | Event::Released(hold) | Event::Expired(hold)) = event else {
            return;
        };
        let Some(ended) = hold.ended else { return };
        match ended.reason {
            EndReason::Confirmed => self.confirmed += 1,
            EndReason::Released => self.released += 1,
            EndReason::Expired => self.expired += 1,
        }
        // A decision taken before the hold's creation was logged would count negative; it counts as nothing.
        self.hold_ms += u64::try_from(ended.at.since(hold.id.created_at())).unwrap_or(0);
    }

    /// The stored row; live reservations are counted again at each start.
    pub(in crate::storage) fn to_row(self) -> Vec<u8> {
        let figures = [self.confirmed, self.released, self.expired, self.hold_ms];
        let mut row = vec![Self::VERSION];
        row.extend(figures.into_iter().flat_map(u64::to_le_bytes));
        row
    }

    /// Reads a stored row; `None` when it is none.
    pub(in crate::storage) fn from_row(row: &[u8]) -> Option<Self> {
        let (version, figures) = row.split_first()?;
        let (figures, rest) = figures.as_chunks::<8>();
        let &[confirmed, released, expired, hold_ms] = figures else {
            return None;
        };
        (*version == Self::VERSION && rest.is_empty()).then_some(Self {
            active: 0,
            confirmed: u64::from_le_bytes(confirmed),
            released: u64::from_le_bytes(released),
            expired: u64::from_le_bytes(expired),
            hold_ms: u64::from_le_bytes(hold_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back() {
        let statistics = Statistics {
            active: 0,
            confirmed: 7,
            released: 2,
            expired: 1,
            hold_ms: 10_500,
        };
        assert_eq!(Statistics::from_row(&statistics.to_row()), Some(statistics));
        assert_eq!(Statistics::from_row(&statistics.to_row()[1..]), None);
        assert_eq!(
            (statistics.conversion_rate(), statistics.average_hold_seconds()),
            (0.7, 1.05)
        );
        assert_eq!(Statistics::default().average_hold_seconds(), 0.0);
    }
}
