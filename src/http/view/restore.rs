//! What a restore would mean, how far it is, and what came of it.
use crate::app::{Operation, Phase, Planned};
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::restore::{Plan, Restored, SoldAfter};
use serde::Serialize;
use utoipa::ToSchema;

/// What a restore would mean.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RestorePlan)]
pub struct RestorePlanView {
    /// Give it back to have this carried out.
    pub plan_token: String,
    /// Until when it is good; it is good no longer once the shop was restored.
    #[schema(value_type = String, format = DateTime)]
    pub good_until: Moment,
    /// The snapshot's file.
    pub snapshot: String,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: Moment,
    /// Where the log behind the snapshot ends.
    pub position: String,
    /// The last position that is kept.
    pub cut: String,
    /// The moment everything is put back to.
    #[schema(value_type = String, format = DateTime)]
    pub cut_at: Moment,
    /// What becomes of live holds.
    #[schema(value_type = String)]
    pub holds: &'static str,
    /// Records replayed behind the snapshot's states.
    pub records_replayed: u64,
    /// Records of the running shop that are given up.
    pub records_lost: u64,
    /// Units that the running shop has sold and the cut has not; these variants come up paused.
    pub sold_after: Vec<SoldAfterView>,
    /// These orders and sales; they are written into a file from which they can be made again.
    pub lost_sales: u64,
    /// How many of them find no stock at the cut.
    pub lost_sales_without_stock: u64,
    /// Live holds at the cut.
    pub holds_live: u64,
    /// How many of them will have expired.
    pub holds_expired: u64,
    /// Why the logs do not tell all that came after the cut. It is not in these figures then, and every variant comes up paused.
    pub log_cut_short: Option<String>,
    /// Bytes that are read.
    pub bytes: u64,
    /// About how long callers are turned away.
    pub estimated_seconds: u64,
}

/// Units of a variant that were sold after the cut.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SoldAfter)]
pub struct SoldAfterView {
    /// The variant.
    pub variant_id: String,
    /// Units.
    pub units: u64,
    /// Whether it was there at the cut.
    pub existed: bool,
}

impl From<&SoldAfter> for SoldAfterView {
    fn from(sold: &SoldAfter) -> Self {
        Self {
            variant_id: sold.id.to_string(),
            units: sold.units,
            existed: sold.existed,
        }
    }
}

impl From<&Planned> for RestorePlanView {
    fn from(planned: &Planned) -> Self {
        let plan: &Plan = &planned.plan;
        let moment = |ms| Moment(Timestamp::from_millis(ms));
        let file = planned.file.file_name().unwrap_or_default();
        Self {
            plan_token: planned.token.clone(),
            good_until: Moment(planned.good_until),
            snapshot: file.to_string_lossy().into_owned(),
            taken_at: moment(plan.taken_at_ms),
            position: plan.end.to_string(),
            cut: plan.cut.to_string(),
            cut_at: moment(plan.cut_at_ms),
            holds: plan.wanted.holds.as_str(),
            records_replayed: plan.replayed,
            records_lost: plan.lost_records,
            sold_after: plan.sold_after.iter().map(SoldAfterView::from).collect(),
            lost_sales: plan.lost.len() as u64,
            lost_sales_without_stock: plan.without_stock,
            holds_live: plan.live_holds,
            holds_expired: plan.expired_holds,
            log_cut_short: plan.log_cut_short.clone(),
            bytes: plan.bytes,
            estimated_seconds: plan.seconds,
        }
    }
}

/// A restore under way, or over.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Operation)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// What it does: `restore`.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// `running`, `done` or `failed`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// What it is at: `closing`, `reading`, `filling`, `checking`, `amending`, `entering`, `opening`, `done` or `failed`.
    #[schema(value_type = String)]
    pub phase: &'static str,
    /// States and records that are in.
    pub done: u64,
    /// Of so many; 0 before that is known.
    pub total: u64,
    /// Milliseconds that filling will take still, by the pace so far.
    pub eta_ms: Option<i64>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub begun_at: Moment,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Moment>,
    /// What came of it.
    pub result: Option<RestoredView>,
    /// Why it failed; the shop goes on as it was before.
    pub error: Option<String>,
}

/// What came of a restore.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Restored)]
pub struct RestoredView {
    /// Where the new log begins.
    pub position: String,
    /// The last position of before that is kept.
    pub cut: String,
    /// Variants.
    pub variants: u64,
    /// Reservations that variants keep.
    pub reservations: u64,
    /// Carts.
    pub carts: u64,
    /// Orders.
    pub orders: u64,
    /// Points in which holds, carts and orders did not agree at the cut; they are mended.
    pub disagreements: u64,
    /// Holds with another deadline.
    pub holds_moved: u64,
    /// Variants that came up paused.
    pub variants_paused: u64,
    /// The digest of the states at the cut.
    pub state_digest: String,
    /// The file with the lost sales; `holdfast order commit` makes them again.
    pub lost_sales_file: Option<String>,
    /// The epoch of before; remove it when nobody needs it any more.
    pub epoch_of_before: Option<String>,
}

impl From<&Restored> for RestoredView {
    fn from(restored: &Restored) -> Self {
        let Restored { counted, amended, .. } = restored;
        let shown = |path: &std::path::PathBuf| path.display().to_string();
        Self {
            position: restored.position.to_string(),
            cut: restored.cut.to_string(),
            variants: counted.variants,
            reservations: counted.holds,
            carts: counted.carts,
            orders: counted.orders,
            disagreements: counted.mends,
            holds_moved: amended.holds,
            variants_paused: amended.paused,
            state_digest: restored.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            lost_sales_file: restored.lost_file.as_ref().map(shown),
            epoch_of_before: restored.left.as_ref().map(shown),
        }
    }
}

impl From<&Operation> for OperationView {
    fn from(operation: &Operation) -> Self {
        let standing = operation.standing();
        let (done, total) = standing.progress;
        let (mut result, mut error) = (None, None);
        match standing.result.as_deref() {
            Some(Ok(restored)) => result = Some(RestoredView::from(restored)),
            Some(Err(why)) => error = Some(why.clone()),
            None => {}
        }
        let status = match standing.phase {
            Phase::Done => "done",
            Phase::Failed => "failed",
            Phase::Closing
            | Phase::Reading
            | Phase::Filling
            | Phase::Checking
            | Phase::Amending
            | Phase::Entering
            | Phase::Opening => "running",
        };
        Self {
            id: operation.id.clone(),
            kind: "restore",
            status,
            phase: standing.phase.as_str(),
            done,
            total,
            eta_ms: standing.eta_ms,
            begun_at: Moment(operation.begun_at),
            ended_at: standing.ended_at.map(Moment),
            result,
            error,
        }
    }
}
