//! Several reservations in one request.
use super::{LINES_MAX, Takes, expect_foreign_cart, shopper};
use crate::domain::ids::{ReservationId, VariantId};
use crate::domain::variant::Shopper;
use crate::http::extract::body::Object;
use crate::http::extract::member::{
    CartRef, CustomerRef, Id, List, QUANTITY_MAX, Quantity, ReservationRef, Seconds, SessionRef, VariantRef,
};
use crate::http::extract::shape::foreign_cart;
use crate::http::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// What a bulk request does to every line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkActionWord {
    /// Hold `lines`.
    Reserve,
    /// Move the deadlines of `reservationIds`.
    Extend,
    /// Sell `reservationIds`.
    Confirm,
    /// Give `reservationIds` back.
    Release,
}

/// Whether lines stand and fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkModeWord {
    /// Every line or none.
    AllOrNothing,
    /// Each line for itself.
    BestEffort,
}

/// One line of a bulk reserve.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BulkLineBody {
    /// Whose units.
    #[schema(inline)]
    pub variant_id: VariantRef,
    /// How many.
    #[schema(inline)]
    pub quantity: Quantity,
}

/// The lines of a bulk reserve.
pub type BulkLines = List<Object<BulkLineBody>, 1, LINES_MAX>;

/// Reservations that one action is about.
pub type ReservationRefs = List<ReservationRef, 1, LINES_MAX>;

/// Several reservations at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"action": "reserve", "mode": "all_or_nothing", "cartId": "c1", "lines": [{"variantId": "123", "quantity": 1}, {"variantId": "156", "quantity": 2}]}))]
pub struct BulkBody {
    /// What to do.
    pub action: BulkActionWord,
    /// Together or each for itself; together without.
    pub mode: Option<BulkModeWord>,
    /// For `reserve`: 1 to 200; lines of one variant are summed first.
    #[schema(inline)]
    pub lines: Option<BulkLines>,
    /// For the other actions: 1 to 200.
    #[schema(inline)]
    pub reservation_ids: Option<ReservationRefs>,
    /// For `reserve`: for which customer.
    #[schema(inline)]
    pub customer_id: Option<CustomerRef>,
    /// For `reserve`: for which guest.
    #[schema(inline)]
    pub session_id: Option<SessionRef>,
    /// For `reserve`: for which cart.
    #[schema(schema_with = foreign_cart)]
    pub cart_id: Option<CartRef>,
    /// For `reserve`: for how long.
    #[schema(inline)]
    pub ttl_seconds: Option<Seconds>,
    /// For `extend`: by how much.
    #[schema(inline)]
    pub seconds: Option<Seconds>,
}

impl BulkBody {
    /// For whom a bulk reserve holds.
    pub fn shopper(&self) -> Shopper {
        shopper(
            self.customer_id.as_ref(),
            self.session_id.as_ref(),
            self.cart_id.as_ref(),
        )
    }

    /// What each action takes.
    pub const ACTIONS: &[Takes] = &[
        Takes {
            action: "reserve",
            members: &["lines", "customerId", "sessionId", "cartId", "ttlSeconds"],
            needs: &["lines"],
        },
        Takes {
            action: "extend",
            members: &["reservationIds", "seconds"],
            needs: &["reservationIds"],
        },
        Takes {
            action: "confirm",
            members: &["reservationIds"],
            needs: &["reservationIds"],
        },
        Takes {
            action: "release",
            members: &["reservationIds"],
            needs: &["reservationIds"],
        },
    ];

    /// Refuses members that another action would use, and a request without any line.
    ///
    /// # Errors
    /// `invalid-member` naming the member.
    pub fn check(&self) -> Result<(), Problem> {
        let takes = match self.action {
            BulkActionWord::Reserve => &Self::ACTIONS[0],
            BulkActionWord::Extend => &Self::ACTIONS[1],
            BulkActionWord::Confirm => &Self::ACTIONS[2],
            BulkActionWord::Release => &Self::ACTIONS[3],
        };
        takes.check(&[
            ("lines", self.lines.is_some()),
            ("reservationIds", self.reservation_ids.is_some()),
            ("customerId", self.customer_id.is_some()),
            ("sessionId", self.session_id.is_some()),
            ("cartId", self.cart_id.is_some()),
            ("ttlSeconds", self.ttl_seconds.is_some()),
            ("seconds", self.seconds.is_some()),
        ])?;
        expect_foreign_cart(self.cart_id.as_ref())
    }

    /// The reservations named, each once: the same work twice in one request is the same work.
    pub fn reservations(&self) -> Vec<ReservationId> {
        let mut ids = Vec::new();
        for ReservationRef(id) in self.reservation_ids.iter().flat_map(|List(named)| named) {
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        ids
    }

    /// The lines with duplicates summed, in the order in which variants were first named.
    ///
    /// # Errors
    /// `invalid-member` when a sum is more than one hold may have.
    pub fn summed_lines(&self) -> Result<Vec<(VariantId, u32)>, Problem> {
        let mut summed: Vec<(VariantId, u32)> = Vec::new();
        for Object(BulkLineBody {
            variant_id: Id(variant),
            quantity,
        }) in self.lines.iter().flat_map(|List(lines)| lines)
        {
            match summed.iter_mut().find(|(named, _)| named == variant) {
                None => summed.push((variant.clone(), quantity.as_u32())),
                Some((_, sum)) => {
                    let total = i64::from(*sum) + quantity.0;
                    *sum = u32::try_from(total)
                        .ok()
                        .filter(|_| total <= QUANTITY_MAX)
                        .ok_or_else(|| {
                            Problem::invalid_member(
                                "lines",
                                format!("quantities of one variant that sum to at most {}", QUANTITY_MAX),
                            )
                        })?;
                }
            }
        }
        Ok(summed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::body::parse;

    fn member(text: &str) -> Option<String> {
        let body: BulkBody = parse(text.as_bytes()).unwrap();
        let problem = body.check().and_then(|()| body.summed_lines().map(drop)).err()?;
        Some(
            serde_json::to_value(problem.body("r")).unwrap()["member"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    }

    #[test]
    fn members_of_another_action_are_refused() {
        assert_eq!(
            member(r#"{"action":"reserve","lines":[{"variantId":1,"quantity":1}]}"#),
            None
        );
        for (text, expected) in [
            (r#"{"action":"reserve"}"#, "lines"),
            (r#"{"action":"release"}"#, "reservationIds"),
            (
                r#"{"action":"release","lines":[{"variantId":1,"quantity":1}]}"#,
                "lines",
            ),
            (
                r#"{"action":"reserve","reservationIds":["rsv_019aa4b5c2f07abc8000000740000001"]}"#,
                "reservationIds",
            ),
            (
                r#"{"action":"confirm","reservationIds":["rsv_019aa4b5c2f07abc8000000740000001"],"seconds":1}"#,
                "seconds",
            ),
            (
                r#"{"action":"confirm","reservationIds":["rsv_019aa4b5c2f07abc8000000740000001"],"customerId":1}"#,
                "customerId",
            ),
        ] {
            assert_eq!(member(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn lines_of_one_variant_are_summed_before_anything_is_checked() {
        let text = r#"{"action":"reserve","lines":[{"variantId":"a","quantity":3},{"variantId":"b","quantity":1},{"variantId":"a","quantity":3}]}"#;
        let lines = parse::<BulkBody>(text.as_bytes())
            .unwrap()
            .summed_lines()
            .unwrap();
        let told: Vec<_> = lines
            .iter()
            .map(|(variant, quantity)| (variant.as_str(), *quantity))
            .collect();
        assert_eq!(told, [("a", 6), ("b", 1)]);
        let text = r#"{"action":"reserve","lines":[{"variantId":"a","quantity":1000000000},{"variantId":"a","quantity":1}]}"#;
        assert_eq!(member(text).as_deref(), Some("lines"));
    }
}
