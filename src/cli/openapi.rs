//! `holdfast openapi`: the document that describes the API.
use super::{Failure, Output};

pub(super) fn run(_output: Output) -> Result<(), Failure> {
    Err(Failure::failed("this build has no API document"))
}
