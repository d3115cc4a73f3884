//! What an order costs: locked where its cart held the units, as of now where not, and all in one currency.
use super::{Line, Order, saga::Refused};
use crate::domain::{agent::Answer, money::Money, variant};

impl Order {
    /// What it costs; `None` when a line has no price or its currency is another one.
    pub fn total(&self) -> Option<Money> {
        let currency = self.lines.first()?.unit_price?.currency;
        let amount = self.lines.iter().try_fold(0_i64, |sum, line| {
            let price = line.unit_price.filter(|price| price.currency == currency)?;
            sum.checked_add(price.amount.checked_mul(i64::from(line.quantity))?)
        })?;
        Some(Money { amount, currency })
    }

    /// Only a hold that is live locks the price its cart was told. Every other line costs what its variant says as it promises.
    pub(super) fn priced(&self, asked: &[usize], answers: &[Answer]) -> Self {
        let mut after = self.clone();
        for (at, answer) in asked.iter().zip(answers) {
            let line = &mut after.lines[*at];
            if let Answer::Variant {
                quote: Some(quote), ..
            } = answer
                && !line.held
            {
                line.unit_price = quote.price;
            }
        }
        after
    }

    /// The lines that are priced in another currency than the rest, where what the cart was promised counts first.
    pub(super) fn in_another_currency(&self) -> Refused {
        let priced = |line: &Line| line.unit_price.map(|price| price.currency);
        let locked = self.lines.iter().filter(|line| line.held).find_map(priced);
        let Some(currency) = locked.or_else(|| self.lines.iter().find_map(priced)) else {
            return Refused::new();
        };
        let other = |line: &&Line| priced(line).is_some_and(|other| other != currency);
        // It is on sale, only not with the rest.
        let refused = |line: &Line| {
            let refusal = variant::Refusal::SaleNotOpen {
                sale: variant::SaleState::Open,
                opens_at: None,
                closes_at: None,
            };
            (line.variant.clone(), refusal)
        };
        self.lines.iter().filter(other).map(refused).collect()
    }
}
