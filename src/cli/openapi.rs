//! `holdfast openapi`: the document that describes the API. `tests/golden/openapi.json` is made with it.
use super::{Failure, Output};
use crate::http::router::{document, document_json};

pub(super) fn run(output: Output) -> Result<(), Failure> {
    output.data(|| document_json() + "\n", &document())
}
