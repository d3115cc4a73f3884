//! Shoppers who go the whole way: a cart, a checkout, a payment, a parcel, a return. Closed loops over HTTP; every worker is one
//! shopper after the other, and books what it was answered, so that the stock at the end can be held to it.
//!
//! | file | holds |
//! |---|---|
//! | `shopper` | one keep-alive connection that speaks JSON, with a key for every write and patience when turned away |
//! | `checkout` | `--scenario checkout`: 1 to 5 lines, 70 % pay, 10 % fail, 20 % walk away; single reserves beside it |
//! | `orders` | reads a file of real orders |
//! | `replay` | `--replay FILE`: plays it, and compares the stock left with plain arithmetic over the file |
mod checkout;
mod orders;
mod replay;
mod shopper;

pub(super) use checkout::checkout;
pub use orders::OrdersError;
pub(super) use replay::replay;

use std::collections::BTreeMap;

use serde::Serialize;

/// What the stock of one variant should be and is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    variant: String,
    figure: &'static str,
    expected: i64,
    found: i64,
}

/// What one variant should have at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Expected {
    on_hand: i64,
    held: i64,
    committed: i64,
}

/// Where the server's final word differs from what it answered.
fn differences(
    expected: &BTreeMap<String, Expected>,
    found: &[super::verdict::FinalStock],
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for ((variant, expected), found) in expected.iter().zip(found) {
        for (figure, expected, found) in [
            ("onHand", expected.on_hand, found.on_hand),
            ("held", expected.held, found.held),
            ("committed", expected.committed, found.committed),
        ] {
            if expected != found {
                differences.push(Difference {
                    variant: variant.clone(),
                    figure,
                    expected,
                    found,
                });
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::verdict::FinalStock;

    #[test]
    fn a_unit_too_many_in_any_figure_is_a_difference() {
        let of = |on_hand, held, committed| Expected {
            on_hand,
            held,
            committed,
        };
        let found = |on_hand, held, committed| FinalStock {
            asked_ns: (0, 0),
            on_hand,
            held,
            committed,
            available: on_hand - held - committed,
        };
        let expected = BTreeMap::from([("a".to_owned(), of(5, 1, 2)), ("b".to_owned(), of(9, 0, 0))]);
        assert_eq!(differences(&expected, &[found(5, 1, 2), found(9, 0, 0)]), []);
        let told = differences(&expected, &[found(5, 2, 2), found(8, 0, 1)]);
        let figures: Vec<_> = told
            .iter()
            .map(|one| (one.variant.as_str(), one.figure))
            .collect();
        assert_eq!(figures, [("a", "held"), ("b", "onHand"), ("b", "committed")]);
    }
}
