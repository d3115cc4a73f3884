//! What became of an import, or would.
use crate::app::{ImportPlan, LineFault, PlannedChange};
use crate::domain::ids::VariantId;
use crate::domain::variant::{ImportReport, LineFailure, Sheet, WhyNot};
use crate::http::problem::{Code, Problem};
use crate::http::refusal::{self, Subject};
use crate::http::stock_file::LineView;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What became of an import, or would.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Import)]
pub struct ImportView {
    /// Whether nothing was done but to look.
    pub dry_run: bool,
    /// Lines judged.
    pub total: u64,
    /// Variants that entered the shop.
    pub created: u64,
    /// Variants that changed.
    pub changed: u64,
    /// Variants that were so already.
    pub unchanged: u64,
    /// Lines of which nothing was done.
    pub failed: u64,
    /// The first 100 of those: `line`, `variantId`, `code`, `title` and the code's own data.
    #[schema(value_type = Vec<Object>)]
    pub lines: Vec<Value>,
    /// A dry run's first 1,000 changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ImportChangeView>>,
    /// How many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_omitted: Option<u64>,
}

/// A line that would change something.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportChange)]
pub struct ImportChangeView {
    /// Where it stands, from 1.
    pub line: u64,
    /// Its variant.
    pub variant_id: String,
    /// `create` or `change`.
    #[schema(value_type = String)]
    pub action: &'static str,
    /// What would be different.
    pub members: Vec<ImportMemberView>,
}

/// A member before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportMember)]
pub struct ImportMemberView {
    /// Its name.
    pub member: String,
    /// What stands; null where nothing does.
    #[schema(value_type = Option<Object>)]
    pub before: Value,
    /// What would stand.
    #[schema(value_type = Option<Object>)]
    pub after: Value,
}

impl From<&ImportReport> for ImportView {
    fn from(report: &ImportReport) -> Self {
        Self::new(report, false)
    }
}

impl From<&ImportPlan> for ImportView {
    fn from(plan: &ImportPlan) -> Self {
        Self {
            changes: Some(plan.changes.iter().map(ImportChangeView::from).collect()),
            changes_omitted: Some(plan.changes_untold),
            ..Self::new(&plan.report, true)
        }
    }
}

impl ImportView {
    fn new(report: &ImportReport, dry_run: bool) -> Self {
        Self {
            dry_run,
            total: report.lines(),
            created: report.created,
            changed: report.changed,
            unchanged: report.unchanged,
            failed: report.failed,
            lines: report.failures.iter().map(failed).collect(),
            changes: None,
            changes_omitted: None,
        }
    }
}

/// A line of which nothing was done, as a member of `lines`.
pub(crate) fn failed(failure: &LineFailure) -> Value {
    let subject = Subject {
        variant: Some(&failure.variant),
        ..Subject::default()
    };
    let problem = match &failure.why {
        WhyNot::Refused(refusal) => refusal::problem(refusal, subject),
        WhyNot::Quarantined => subject.name(Problem::new(Code::VariantQuarantined)),
        WhyNot::Unknown => subject.name(Problem::new(Code::OutcomeUnknown)),
    };
    let mut line = Map::from_iter([("line".to_owned(), failure.line.into())]);
    if let Value::Object(rest) = problem.as_line() {
        line.extend(rest);
    }
    Value::Object(line)
}

/// A line that cannot be read or names what is not there, as a member of a problem's `lines`.
pub(crate) fn fault(fault: &LineFault) -> Value {
    let mut line = Map::from_iter([("line".to_owned(), fault.line.into())]);
    if let Some(member) = &fault.member {
        line.insert("member".to_owned(), member.as_str().into());
    }
    line.insert("problem".to_owned(), fault.problem.as_str().into());
    if let Some(first) = fault.first_line {
        line.insert("firstLine".to_owned(), first.into());
    }
    Value::Object(line)
}

impl From<&PlannedChange> for ImportChangeView {
    fn from(change: &PlannedChange) -> Self {
        let id = &change.variant;
        let after = members(id, &change.after);
        let members = match &change.before {
            Some(before) => different(&members(id, before), &after, Value::clone),
            None => different(&members(id, &Sheet::default()), &after, |_| Value::Null),
        };
        Self {
            line: change.line,
            variant_id: id.to_string(),
            action: if change.before.is_some() {
                "change"
            } else {
                "create"
            },
            members,
        }
    }
}

fn members(id: &VariantId, sheet: &Sheet) -> Map<String, Value> {
    match serde_json::to_value(LineView::new(id, sheet)) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn different(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    shown: impl Fn(&Value) -> Value,
) -> Vec<ImportMemberView> {
    let pairs = before.iter().zip(after.values());
    pairs
        .filter(|((_, before), after)| before != after)
        .map(|((member, before), after)| ImportMemberView {
            member: member.clone(),
            before: shown(before),
            after: after.clone(),
        })
        .collect()
}
