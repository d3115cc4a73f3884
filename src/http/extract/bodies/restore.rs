//! What a restore goes back to.
use crate::app::RestoreAsk;
use crate::domain::rewind::HoldsRule;
use crate::http::extract::member::{Instant, Label, Line, Whole};
use crate::http::problem::Problem;
use crate::storage::restore::Cut;
use serde::Deserialize;
use utoipa::ToSchema;

/// The number of a record.
type RecordNumber = Whole<0, { i64::MAX }>;

/// What becomes of live holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldsWord {
    /// Deadlines stay as they were.
    Keep,
    /// Live holds get the time back that has passed since.
    Rebase,
    /// Live holds of the cart phase end.
    Expire,
}

/// What to go back to; or the token of a plan, and nothing else, to do it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"toTime": "2026-11-27T02:14:07Z", "holds": "rebase"}))]
pub struct RestoreBody {
    /// The snapshot to start from; without one the nearest before the cut.
    #[schema(inline)]
    pub snapshot_id: Option<Label>,
    /// The same by the name of its file.
    #[schema(inline)]
    pub file: Option<Line>,
    /// Back to this moment, in the epoch that was current then; without a cut, back to where the snapshot was taken.
    #[schema(inline)]
    pub to_time: Option<Instant>,
    /// Back to this record: of the snapshot's own epoch if that is named, of the running shop's history otherwise.
    #[schema(inline)]
    pub to_number: Option<RecordNumber>,
    /// What becomes of live holds; they are kept without a word.
    pub holds: Option<HoldsWord>,
    /// The token of a plan, to carry it out.
    #[schema(inline)]
    pub plan_token: Option<Label>,
}

impl RestoreBody {
    /// The token, if it is the plan that is meant.
    ///
    /// # Errors
    /// `invalid-member` for anything beside it.
    pub fn token(&self) -> Result<Option<&str>, Problem> {
        let Some(token) = &self.plan_token else {
            return Ok(None);
        };
        let given = [
            ("snapshotId", self.snapshot_id.is_some()),
            ("file", self.file.is_some()),
            ("toTime", self.to_time.is_some()),
            ("toNumber", self.to_number.is_some()),
            ("holds", self.holds.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((member, _)) => Err(Problem::invalid_member(*member, "to be absent beside planToken")),
            None => Ok(Some(&token.0)),
        }
    }

    /// What is to be planned.
    ///
    /// # Errors
    /// `invalid-member` when two members contradict each other.
    pub fn ask(&self) -> Result<RestoreAsk, Problem> {
        let file = match (&self.snapshot_id, &self.file) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid_member("file", "to be absent beside snapshotId"));
            }
            (Some(id), None) => Some(format!("{}.holdfast", id.0)),
            (None, file) => file.as_ref().map(|file| file.0.clone()),
        };
        let cut = match (self.to_time, self.to_number) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid_member("toNumber", "to be absent beside toTime"));
            }
            (Some(at), None) => Some(Cut::Time(at.0.as_millis())),
            (None, number) => number.map(|number| Cut::Number(number.0.unsigned_abs())),
        };
        let holds = match self.holds {
            None | Some(HoldsWord::Keep) => HoldsRule::Keep,
            Some(HoldsWord::Rebase) => HoldsRule::Rebase,
            Some(HoldsWord::Expire) => HoldsRule::Expire,
        };
        Ok(RestoreAsk { file, cut, holds })
    }
}
