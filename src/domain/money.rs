//! Money: integer minor units with an ISO 4217 code.

/// An ISO 4217 alphabetic code, three capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads three capital ASCII letters; anything else is `None`. Whether the code is assigned is not checked: shops
    /// also sell in codes that ISO has retired.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Self(bytes))
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three ASCII letters, checked when parsed")
    }
}

/// An amount in the currency's minor unit: 25.99 USD is 2599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Minor units, never negative for a price.
    pub amount: i64,
    /// Whose minor units.
    pub currency: Currency,
}
