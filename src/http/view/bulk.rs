//! The results of a bulk request, line by line.
use super::ReservationView;
use crate::app::BulkLine;
use crate::domain::bulk::LineOutcome;
use crate::domain::ids::VariantId;
use crate::domain::time::Timestamp;
use crate::http::failure::line_problem;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What became of one line.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BulkLine)]
pub struct BulkLineView {
    /// The variant, if it is known.
    pub variant_id: Option<String>,
    /// The reservation, if there is one.
    pub reservation_id: Option<String>,
    /// Whether the line was done.
    pub ok: bool,
    /// The reservation as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationView>,
    /// Why not: `code`, `title`, and the code's own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub problem: Option<Value>,
}

impl BulkLineView {
    /// What a line came to.
    pub fn new(line: &BulkLine, outcome: &LineOutcome, at: Timestamp) -> Self {
        let done = match (outcome, &line.variant) {
            (LineOutcome::Done(hold), Some(variant)) => Some((hold, variant)),
            _ => None,
        };
        let made = done.map(|(hold, _)| hold.id);
        Self {
            variant_id: line.variant.as_ref().map(VariantId::to_string),
            reservation_id: line.reservation.or(made).map(|id| id.to_string()),
            ok: outcome.is_done(),
            reservation: done.map(|(hold, variant)| ReservationView::new(hold, variant, at)),
            problem: line_problem(line, outcome),
        }
    }
}

/// Every line, in the order in which the variants or ids were first named.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Bulk)]
pub struct BulkView {
    /// Lines done.
    pub succeeded: usize,
    /// Lines refused.
    pub failed: usize,
    /// Line by line.
    pub results: Vec<BulkLineView>,
}
