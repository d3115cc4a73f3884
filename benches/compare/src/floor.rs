//! Floors below everybody: the domain in memory without keys, log or HTTP, and one write with one device sync at a time.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use house::domain::ids::{ReservationId, StoreId, VariantId, VariantOrdinal};
use house::domain::policy::{HoldLengths, Terms};
use house::domain::time::Timestamp;
use house::domain::variant::{Command, Decision, Reserve, Settings, Shopper, Variant};

use crate::ask::{STOCK, TTL_MS, VARIANT};
use crate::trouble::Trouble;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Bytes of one write: about one record of a hold.
const WRITE_BYTES: usize = 256;
/// Turns between looks at the clock.
const TURNS: u32 = 64;

const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: TTL_MS,
        extension_ms: TTL_MS,
        max_extensions: 3,
    },
    payment_ttl_ms: 2_100_000,
    max_ttl_ms: 3_600_000,
    units_per_customer: None,
    window_days: None,
};

/// Holds a second that the domain decides and applies, in memory.
pub(crate) fn domain(length: Duration) -> Result<f64, Trouble> {
    let bad = || Trouble::Unexpected("the domain refused what it must grant".to_owned());
    let store = StoreId::parse("default").map_err(|_| bad())?;
    let id = VariantId::parse(VARIANT).map_err(|_| bad())?;
    let mut variant = Variant::unborn(store, id, VariantOrdinal(1));
    let create = Command::Create {
        settings: Box::new(Settings::default()),
        on_hand: STOCK,
        by: "compare".to_owned(),
    };
    if !turn(&mut variant, &create) {
        return Err(bad());
    }
    let begun = Instant::now();
    let mut held: u32 = 0;
    while begun.elapsed() < length {
        for _ in 0..TURNS {
            held += 1;
            let head = variant.head();
            // A thousand reservations a millisecond.
            let at = START.saturating_add(i64::from(held / 1024));
            let reserve = Command::Reserve(Reserve {
                id: ReservationId::new(at, head.slot(), head.ordinal, held),
                quantity: 1,
                shopper: Shopper::default(),
                ttl_ms: Some(TTL_MS),
                allow_partial: false,
                for_order: None,
                terms: TERMS,
            });
            if !turn(&mut variant, &reserve) {
                return Err(bad());
            }
        }
    }
    Ok(f64::from(held) / begun.elapsed().as_secs_f64())
}

/// Judges and applies; whether it was granted.
fn turn(variant: &mut Variant, command: &Command) -> bool {
    let Ok(Decision::Granted(events)) = variant.decide(command, START) else {
        return false;
    };
    for event in &events {
        variant.apply(event, START);
    }
    true
}

/// Writes a second that are on the device before the next begins.
pub(crate) fn syncs(directory: &Path, length: Duration) -> Result<f64, Trouble> {
    let failed = || Trouble::system("write and sync");
    let mut file = File::create(directory.join("floor")).map_err(failed())?;
    let begun = Instant::now();
    let mut synced: u32 = 0;
    while begun.elapsed() < length {
        file.write_all(&[0x5a; WRITE_BYTES]).map_err(failed())?;
        file.sync_data().map_err(failed())?;
        synced += 1;
    }
    Ok(f64::from(synced) / begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floors_give_a_figure() {
        let directory = tempfile::tempdir().unwrap();
        let short = Duration::from_millis(5);
        assert!(domain(short).unwrap() > 0.0);
        assert!(syncs(directory.path(), short).unwrap() > 0.0);
    }
}
