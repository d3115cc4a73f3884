//! `holdfast openapi`: the document that describes the API.
use super::{Failure, Output};
use crate::http::router::document_json;

pub(super) fn run(output: Output) -> Result<(), Failure> {
    let document = document_json();
    let value: serde_json::Value = serde_json::from_str(&document).expect("it was written as JSON just now");
    output.data(|| format!("{document}\n"), &value)
}
