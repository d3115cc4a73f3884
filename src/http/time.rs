//! Moments as callers see them: RFC 3339 in UTC with milliseconds.
//!
//! Written by hand because a reservation's body carries four of them; the tests hold it against `jiff`.
use crate::domain::time::{MILLIS_PER_DAY, Timestamp};
use serde::{Serialize, Serializer};

/// A moment in a body, such as `2026-11-21T08:30:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl From<Timestamp> for Moment {
    fn from(moment: Timestamp) -> Self {
        Self(moment)
    }
}

/// Reads a moment: RFC 3339 with any offset.
pub fn read(text: &str) -> Option<Timestamp> {
    let millis = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    (millis >= 0).then(|| Timestamp::from_millis(millis))
}

impl Moment {
    /// Appends it as JSON: no character of it needs an escape.
    pub(super) fn write_json(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(&Text::of(self.0).0);
        out.push(b'"');
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(self.0).as_str())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Text::of(self.0).as_str())
    }
}

/// The last moment that four digits of a year can say; later ones are held there.
const LAST_MS: i64 = 253_402_300_799_999;

struct Text([u8; 24]);

impl Text {
    fn of(moment: Timestamp) -> Self {
        let millis = moment.as_millis().clamp(0, LAST_MS);
        let (days, of_day) = (millis / MILLIS_PER_DAY, millis % MILLIS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], of_day / 3_600_000);
        digits(&mut text[14..16], of_day / 60_000 % 60);
        digits(&mut text[17..19], of_day / 1000 % 60);
        digits(&mut text[20..23], of_day % 1000);
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("ASCII digits and marks")
    }
}

fn digits(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit of a number that is not negative");
        number /= 10;
    }
}

/// Year, month and day of a day number since 1970-01-01: the proleptic Gregorian calendar counted in eras of 400 years that
/// start on 1 March, so that the leap day is the last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_jiff(millis: i64) -> String {
        format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap())
    }

    #[test]
    fn edges_read_as_jiff_writes_them() {
        for millis in [
            0,
            1,
            951_782_399_999,
            951_782_400_000,
            951_868_800_000,
            1_709_164_800_000,
            LAST_MS - 2 * 86_400_000,
        ] {
            assert_eq!(
                Moment(Timestamp::from_millis(millis)).to_string(),
                by_jiff(millis)
            );
        }
        assert_eq!(
            Moment(Timestamp::from_millis(i64::MAX)).to_string(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Moment(Timestamp::from_millis(-1)).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
    }

    proptest! {
        #[test]
        fn any_moment_reads_as_jiff_writes_it(millis in 0..LAST_MS - 2 * 86_400_000) {
            prop_assert_eq!(Moment(Timestamp::from_millis(millis)).to_string(), by_jiff(millis));
        }
    }
}
