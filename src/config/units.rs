//! Values as an operator writes them: lengths and sizes with their unit, and values that must not be shown.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, written with its unit: `500ms`, `15m`, `24h`. Kept in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(u64);

/// Units of a length, largest first: the first that divides evenly is the one shown.
const LENGTH_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest length that is accepted: a thousand years, so that adding one to a moment cannot overflow.
const LONGEST_MS: u64 = 1_000 * 366 * 86_400_000;

impl Length {
    /// A length of `millis` milliseconds, held at a thousand years.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > LONGEST_MS { LONGEST_MS } else { millis })
    }

    /// The length in milliseconds, in the type that moments are moved by.
    pub const fn as_millis(self) -> i64 {
        // In range: the constructor holds it at a thousand years.
        self.0.cast_signed()
    }

    /// The length for timers of the runtime.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let millis = scaled(
            text,
            &LENGTH_UNITS,
            "a length with its unit, like 500ms, 5s, 15m, 24h or 7d",
        )?;
        if millis > LONGEST_MS {
            return Err(format!("\"{text}\" is too long: at most a thousand years"));
        }
        Ok(Self(millis))
    }
}

impl fmt::Display for Length {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_scaled(out, self.0, &LENGTH_UNITS, "s")
    }
}

/// A size in bytes, written with its unit: `64KiB`, `256MiB`, `8GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Units of a size, largest first.
const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl ByteSize {
    /// A size of `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size as a length of memory, held at what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(
            text,
            &SIZE_UNITS,
            "a size with its unit, like 512B, 64KiB, 256MiB or 8GiB",
        )
        .map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_scaled(out, self.0, &SIZE_UNITS, "B")
    }
}

/// Reads `<digits><unit>`. Units are exact: `m` and `M`, `KB` and `KiB` are too easily taken for each other.
fn scaled(text: &str, units: &[(&str, u64)], wanted: &str) -> Result<u64, String> {
    let digits = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = units
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .map(|(_, scale)| *scale);
    let (Some(scale), false) = (scale, number.is_empty()) else {
        return Err(format!("\"{text}\" is not {wanted}"));
    };
    let number: u64 = number.parse().map_err(|_| format!("\"{text}\" is too large"))?;
    number
        .checked_mul(scale)
        .ok_or_else(|| format!("\"{text}\" is too large"))
}

fn show_scaled(
    out: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&str, u64)],
    zero_unit: &str,
) -> fmt::Result {
    let fitting = units
        .iter()
        .find(|(_, scale)| value != 0 && value.is_multiple_of(*scale));
    let text = match fitting {
        Some((unit, scale)) => format!("{}{unit}", value / scale),
        None => format!("{value}{zero_unit}"),
    };
    out.pad(&text)
}

/// A value that opens doors: never shown, logged or printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the comparison that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(***)")
    }
}

/// A secret of 32 bytes, written as 64 hexadecimal digits: what the tokens of guest carts are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct CartSecret([u8; 32]);

impl CartSecret {
    /// The bytes themselves, for the hash that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CartSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CartSecret(***)")
    }
}

/// Which back end keeps the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalBackend {
    /// The embedded database.
    Sled,
    /// A plain append-only file.
    File,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line, for collectors.
    Json,
}

/// A value that can stand in the configuration: read from text, shown as text that reads back as the same value.
pub(super) trait Setting: Sized {
    /// Whether the value is masked wherever it is shown.
    const SECRET: bool = false;

    /// Reads the text of any source. The error says what was wanted and quotes the text.
    fn read(text: &str) -> Result<Self, String>;

    /// The canonical text.
    fn show(&self) -> String;
}

/// A setting read by `FromStr` and shown by `Display`.
macro_rules! plain_setting {
    ($($type:ty => $wanted:literal),+ $(,)?) => {$(
        impl Setting for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("\"{text}\" is not {}", $wanted))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

plain_setting! {
    SocketAddr => "an address with a port, like 127.0.0.1:3000 or [::1]:3000",
    bool => "true or false",
    usize => "a whole number",
    u64 => "a whole number",
    u32 => "a whole number up to 4294967295",
    u8 => "a whole number up to 255",
}

impl Setting for Length {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for ByteSize {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("\"\" is not a path".to_owned())
        } else {
            Ok(Self::from(text))
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for Secret {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("an empty text protects nothing".to_owned())
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    fn show(&self) -> String {
        "***".to_owned()
    }
}

impl Setting for CartSecret {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        // The text is not quoted: it may be nearly the secret.
        let wanted = || "wanted 64 hexadecimal digits, like those of openssl rand -hex 32".to_owned();
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| wanted())?;
        let digit = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(wanted)?;
        }
        rest.is_empty().then_some(Self(bytes)).ok_or_else(wanted)
    }

    fn show(&self) -> String {
        "***".to_owned()
    }
}

impl Setting for String {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("\"\" says nothing".to_owned())
        } else {
            Ok(text.to_owned())
        }
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// `none` stands for the absent value in every source.
impl<S: Setting> Setting for Option<S> {
    const SECRET: bool = S::SECRET;

    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(None);
        }
        S::read(text)
            .map(Some)
            .map_err(|message| format!("{message} (or none)"))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), S::show)
    }
}

impl Setting for JournalBackend {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "sled" => Ok(Self::Sled),
            "file" => Ok(Self::File),
            _ => Err(format!("\"{text}\" is not one of sled, file")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Sled => "sled",
            Self::File => "file",
        }
        .to_owned()
    }
}

impl Setting for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("\"{text}\" is not one of text, json")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_written_with_their_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("15m", 900_000),
            ("36h", 129_600_000),
        ] {
            assert_eq!(text.parse(), Ok(Length::from_millis(millis)), "{text}");
        }
        assert_eq!("90s".parse::<Length>().unwrap().to_string(), "90s");
        assert_eq!("24h".parse::<Length>().unwrap().to_string(), "1d");
        for wrong in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 minutes",
            "5M",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(wrong.parse::<Length>().is_err(), "{wrong} was taken");
        }
        assert!("366001d".parse::<Length>().is_err());
    }

    #[test]
    fn sizes_are_written_with_their_unit() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("8GiB", 8 << 30)] {
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)), "{text}");
        }
        assert_eq!("1024KiB".parse::<ByteSize>().unwrap().to_string(), "1MiB");
        for wrong in ["", "64", "64KB", "64kib", "KiB", "16777216TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn a_secret_shows_in_no_way() {
        let secret = Secret::read("open sesame").unwrap();
        assert_eq!(secret.show(), "***");
        assert!(!format!("{secret:?}").contains("sesame"));
        assert_eq!(secret.expose(), "open sesame");
        assert!(Secret::read("").is_err());
    }

    #[test]
    fn a_cart_secret_is_64_digits_and_shows_in_no_way() {
        let secret = CartSecret::read(&"0aF".repeat(22)[..64]).unwrap();
        assert_eq!(secret.expose()[..3], [0x0a, 0xf0, 0xaf]);
        assert_eq!(
            (secret.show().as_str(), format!("{secret:?}").as_str()),
            ("***", "CartSecret(***)")
        );
        for wrong in [
            "",
            "0a",
            &"0".repeat(63),
            &"0".repeat(65),
            &"0".repeat(66),
            &"g".repeat(64),
        ] {
            let told = CartSecret::read(wrong).unwrap_err();
            assert!(told.starts_with("wanted 64"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn shown_values_read_back(millis in 0..=LONGEST_MS, bytes: u64) {
            let length = Length::from_millis(millis);
            prop_assert_eq!(length.to_string().parse(), Ok(length));
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
