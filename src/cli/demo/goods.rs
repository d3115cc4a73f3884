//! The shop's own goods: a table that is written by hand.
use super::DemoError;
use crate::domain::{ids::VariantId, money::Currency, time::Timestamp};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::collections::{BTreeMap, BTreeSet};

/// The table of goods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// When the shop opened: the creation of every variant and the time in the snapshot's manifest. Fixed, so that the
    /// file is repeatable; in the past, so that no clock has to wait for it.
    #[serde(deserialize_with = "moment")]
    pub created_at: Timestamp,
    /// Of all prices in the table.
    #[serde(deserialize_with = "currency")]
    pub currency: Currency,
    /// The goods, in the order of the shop.
    #[serde(rename = "good")]
    pub goods: Vec<Good>,
}

/// One good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Good {
    /// The variant's id.
    pub id: String,
    /// The product's id.
    pub product: String,
    /// The human code.
    pub sku: String,
    /// The name shoppers read.
    pub name: String,
    /// The shop's category.
    pub category: String,
    /// Minor units.
    pub price: u32,
    /// Units on hand.
    pub stock: u64,
    /// Kinds, regions and seasons.
    pub tags: Vec<String>,
    /// Weight, origin, ingredients, ...
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Table {
    /// Reads the table and checks that every good is complete and its id and code are its own.
    ///
    /// # Errors
    /// [`DemoError::Goods`].
    pub fn parse(text: &str) -> Result<Self, DemoError> {
        let table: Self = toml::from_str(text).map_err(|error| DemoError::Goods(error.to_string()))?;
        let (mut ids, mut skus) = (BTreeSet::new(), BTreeSet::new());
        for good in &table.goods {
            let wrong = |problem: &str| Err(DemoError::Goods(format!("good {}: {problem}", good.id)));
            if let Err(invalid) = VariantId::parse(&good.id) {
                return wrong(&format!("its id {invalid}"));
            }
            if !ids.insert(&good.id) {
                return wrong("its id is taken");
            }
            if !skus.insert(&good.sku) {
                return wrong("its sku is taken");
            }
            if good.price == 0 || good.stock == 0 || good.name.trim().is_empty() || good.tags.is_empty() {
                return wrong("it lacks a price, stock, a name or tags");
            }
        }
        Ok(table)
    }
}

fn moment<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(input)?;
    let moment: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
    Ok(Timestamp::from_millis(moment.as_millisecond()))
}

fn currency<'de, D: Deserializer<'de>>(input: D) -> Result<Currency, D::Error> {
    let text = String::deserialize(input)?;
    Currency::parse(&text).ok_or_else(|| D::Error::custom(format!("{text} is no currency code")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
created_at = "2026-01-01T00:00:00Z"
currency = "USD"

[[good]]
id = "123"
product = "45"
sku = "A-1"
name = "Soap"
category = "Beauty"
price = 2599
stock = 100
tags = ["organic"]
attributes = { origin = "Aleppo" }
"#;

    #[test]
    fn a_table_is_read_strictly() {
        let table = Table::parse(TABLE).unwrap();
        assert_eq!(table.created_at.as_millis(), 1_767_225_600_000);
        assert_eq!(
            (table.goods.len(), table.goods[0].attributes["origin"].as_str()),
            (1, "Aleppo")
        );

        let (_, good) = TABLE.split_at(TABLE.find("[[good]]").unwrap());
        for (broken, problem) in [
            (format!("{TABLE}{good}"), "good 123: its id is taken"),
            (
                format!("{TABLE}{}", good.replace("\"123\"", "\"124\"")),
                "its sku is taken",
            ),
            (TABLE.replace("2599", "0"), "lacks a price"),
            (TABLE.replace("\"123\"", "\"\""), "must not be empty"),
            (TABLE.replace("USD", "usd"), "usd is no currency code"),
            (TABLE.replace("stock", "stok"), "unknown field"),
        ] {
            let error = Table::parse(&broken).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
