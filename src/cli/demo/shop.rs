//! Step 2: articles and goods become variants, each created by the domain's own `decide` and `apply`.
use super::{
    ATTRIBUTION, DemoError,
    articles::Article,
    goods::{Good, Table},
    shelves,
};
use crate::{
    domain::{
        ids::{StoreId, VariantId, VariantOrdinal},
        money::{Currency, Money},
        rules::Rules,
        time::Timestamp,
        variant::{Command, Decision, LedgerEntry, Settings, Variant},
    },
    storage::{
        dto,
        snapshot::{About, EntityKind, Entry, SnapshotWriter, Summary},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// At or below this many units a shopper is told to hurry.
const LOW_STOCK_THRESHOLD: u64 = 5;

/// The demo shop on its first day.
pub struct Shop {
    opened_at: Timestamp,
    /// In the order of their ordinals, which are dense from 0: the shop's own goods, then the articles by code.
    variants: Vec<(Variant, LedgerEntry)>,
}

/// What is said about a variant before it exists.
struct Draft {
    id: String,
    settings: Settings,
    stock: u64,
}

impl Shop {
    /// Creates every variant.
    ///
    /// # Errors
    /// [`DemoError::Variant`] when two are the same or one is refused.
    pub fn new(articles: &[Article], table: &Table) -> Result<Self, DemoError> {
        let goods = table
            .goods
            .iter()
            .map(|good| Draft::of_good(good, table.currency));
        let articles = articles.iter().map(Draft::of_article);
        let mut ids = BTreeSet::new();
        let mut variants = Vec::new();
        for (ordinal, draft) in (0..).map(VariantOrdinal).zip(goods.chain(articles)) {
            if !ids.insert(draft.id.clone()) {
                return Err(draft.wrong("is there twice"));
            }
            variants.push(draft.create(ordinal, table.created_at)?);
        }
        let opened_at = table.created_at;
        Ok(Self { opened_at, variants })
    }

    /// The variants in the order of their ordinals, each with the ledger's line of its first stock.
    pub fn variants(&self) -> &[(Variant, LedgerEntry)] {
        &self.variants
    }

    /// Writes the shop as a portable snapshot: as if each variant had been created by a record of its own, from 1.
    ///
    /// # Errors
    /// [`DemoError::Snapshot`].
    pub fn write(&self, out: &Path) -> Result<Summary, DemoError> {
        let mut writer = SnapshotWriter::create(out)?;
        for ((variant, _), number) in self.variants.iter().zip(1..) {
            writer.entity(&Entry {
                kind: EntityKind::VARIANT,
                id: variant.head().ordinal.0.to_be_bytes().to_vec(),
                number,
                state: dto::encode_variant(variant),
            })?;
        }
        for ((variant, entry), number) in self.variants.iter().zip(1..) {
            let ordinal = variant.head().ordinal.0.to_be_bytes();
            writer.entity(&Entry {
                kind: EntityKind::LEDGER,
                id: [&ordinal[..], &entry.seq.to_be_bytes()].concat(),
                number,
                state: dto::encode_ledger_entry(entry),
            })?;
        }
        Ok(writer.finish(self.about())?)
    }

    fn about(&self) -> About {
        let sum = |of: fn(&Variant) -> u64| self.variants.iter().map(|(variant, _)| of(variant)).sum::<u64>();
        let totals = [
            ("onHand", sum(|variant| variant.head().on_hand)),
            ("held", sum(Variant::held)),
            ("committed", sum(Variant::committed)),
        ];
        About {
            written_by: concat!("holdfast ", env!("CARGO_PKG_VERSION")).to_owned(),
            created_at_ms: self.opened_at.as_millis(),
            epoch: 1,
            position: self.variants.len() as u64,
            logged_at_ms: None,
            rows_number: None,
            rows_logged_at_ms: None,
            rules: Rules::CURRENT.0,
            rules_since: env!("CARGO_PKG_VERSION").to_owned(),
            totals: totals.map(|(name, units)| (name.to_owned(), units)).into(),
            attribution: vec![ATTRIBUTION.to_owned()],
            source: "The demo shop: articles of a British gift shop and goods of a Syrian market. Stock, categories \
                and tags are plausible, not true."
                .to_owned(),
        }
    }
}

impl Draft {
    fn of_good(good: &Good, currency: Currency) -> Self {
        let settings = Settings {
            product_id: Some(good.product.clone()),
            sku: Some(good.sku.clone()),
            name: Some(good.name.clone()),
            category: Some(good.category.clone()),
            tags: good.tags.clone(),
            attributes: good.attributes.clone(),
            price: Some(price(good.price, currency)),
            low_stock_threshold: LOW_STOCK_THRESHOLD,
            ..Settings::default()
        };
        Self {
            id: good.id.clone(),
            settings,
            stock: good.stock,
        }
    }

    /// Variants of one product share the digits of their code.
    fn of_article(article: &Article) -> Self {
        let place = shelves::place(article);
        let digits = article.code.bytes().take_while(u8::is_ascii_digit).count();
        let pounds = Currency::parse("GBP").expect("three capital letters");
        let settings = Settings {
            product_id: Some(article.code[..digits].to_owned()),
            sku: Some(article.code.clone()),
            name: Some(article.name.clone()),
            category: Some(place.category.to_owned()),
            tags: place.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            attributes: BTreeMap::new(),
            price: Some(price(article.price_pence, pounds)),
            low_stock_threshold: LOW_STOCK_THRESHOLD,
            ..Settings::default()
        };
        Self {
            id: article.code.clone(),
            settings,
            stock: place.stock,
        }
    }

    fn create(self, ordinal: VariantOrdinal, at: Timestamp) -> Result<(Variant, LedgerEntry), DemoError> {
        let store = StoreId::parse("default").expect("a short word");
        let id = VariantId::parse(&self.id).map_err(|invalid| self.wrong(format!("its id {invalid}")))?;
        let mut variant = Variant::unborn(store, id, ordinal);
        let create = Command::Create {
            settings: Box::new(self.settings.clone()),
            on_hand: self.stock,
            by: "demo".to_owned(),
        };
        let events = match variant.decide(&create, at) {
            Ok(Decision::Granted(events)) => events,
            Ok(Decision::Repeat(_) | Decision::Nothing | Decision::Refused { .. }) => {
                return Err(self.wrong("cannot be created"));
            }
            Err(refusal) => return Err(self.wrong(format!("is refused: {refusal:?}"))),
        };
        events.iter().for_each(|event| variant.apply(event, at));
        variant.recount().map_err(|violation| self.wrong(violation))?;
        let entry = events.iter().find_map(|event| event.ledger_entry()).cloned();
        let entry = entry.ok_or_else(|| self.wrong("has no stock"))?;
        Ok((variant, entry))
    }

    fn wrong(&self, problem: impl ToString) -> DemoError {
        DemoError::Variant {
            id: self.id.clone(),
            problem: problem.to_string(),
        }
    }
}

fn price(minor_units: u32, currency: Currency) -> Money {
    let amount = i64::from(minor_units);
    Money { amount, currency }
}
