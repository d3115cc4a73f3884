//! The results of a bulk request, line by line.
use super::ReservationView;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What became of one line.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(title = "BulkLine")]
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

/// Every line, in the order in which the variants or ids were first named.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(title = "Bulk")]
pub struct BulkView {
    /// Lines done.
    pub succeeded: usize,
    /// Lines refused.
    pub failed: usize,
    /// Line by line.
    pub results: Vec<BulkLineView>,
}
