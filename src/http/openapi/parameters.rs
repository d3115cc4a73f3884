//! Parameters: those that follow from path, method and refusals are added, those that a handler named get their limits.
use crate::http::auth::GUEST_ROUTES;
use crate::http::extract::bodies::{BodyKind, LINES_MAX};
use crate::http::extract::header::{KEY_BYTES_MAX, VERSION_DIGITS_MAX};
use crate::http::extract::query::{CURSOR_BYTES_MAX, LIMIT_DEFAULT, LIMIT_MAX};
use crate::http::extract::shape::{id_text, moment};
use crate::http::problem::Code;
use crate::http::routes::{orders, reservations};
use crate::http::stock_file::Format;
use crate::http::view::order_status;
use std::collections::BTreeSet;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required};

/// Finishes the parameters of an operation.
pub(super) fn describe(
    path: &str,
    method: &str,
    codes: &BTreeSet<Code>,
    body: Option<BodyKind>,
    operation: &mut Operation,
) {
    let name = operation.operation_id.clone().unwrap_or_default();
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter {
            limit(parameter, &name);
        }
    }
    let mut add = |parameter: ParameterBuilder| parameters.push(RefOr::T(parameter.build()));
    if path.contains("{id}") {
        add(made("id", ParameterIn::Path, id_text(), "Its id.").required(Required::True));
    }
    for (name, about) in [
        ("lineId", "The line's id within the cart."),
        ("paymentReference", "The payment."),
    ] {
        if path.contains(&format!("{{{name}}}")) {
            add(made(name, ParameterIn::Path, id_text(), about).required(Required::True));
        }
    }
    if GUEST_ROUTES
        .iter()
        .any(|(verb, guests)| verb == method && *guests == path)
    {
        let about = "A guest's, for its own cart; a caller with the key needs none.";
        add(made(
            "Cart-Token",
            ParameterIn::Header,
            text("^[0-9a-f]{64}$".to_owned()),
            about,
        ));
    }
    if method != "GET" && !body.is_some_and(|body| body.reads) {
        let key = text(format!("^[!-~]{{1,{KEY_BYTES_MAX}}}$"));
        let about = "Names one intent through all its retries, for 24 hours.";
        add(made("Idempotency-Key", ParameterIn::Header, key, about));
    }
    if codes.contains(&Code::StaleVersion) {
        let tag = text(format!("^(\\*|\"[0-9]{{1,{VERSION_DIGITS_MAX}}}\")$"));
        let required = codes.contains(&Code::PreconditionRequired);
        let (required, about) = if required {
            (
                Required::True,
                "The ETag that was read, or * for whatever is there.",
            )
        } else {
            (
                Required::False,
                "The ETag that was read, if another version is not meant.",
            )
        };
        add(made("If-Match", ParameterIn::Header, tag, about).required(required));
    }
    let lists = name.starts_with("list_");
    if lists || name == "get_hot_variants" {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX))
            .default(Some(LIMIT_DEFAULT.into()));
        add(made(
            "limit",
            ParameterIn::Query,
            limit,
            "How many items at most.",
        ));
    }
    if lists {
        let cursor = text(format!("^([0-9a-f]{{2}}){{1,{}}}$", CURSOR_BYTES_MAX / 2));
        let about = "`nextCursor` of the page before; no other text is one.";
        add(made("cursor", ParameterIn::Query, cursor, about));
    }
}

fn made(name: &str, place: ParameterIn, schema: ObjectBuilder, about: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
}

fn text(pattern: String) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
}

/// Says of a parameter that a handler named by what limits it is read.
fn limit(parameter: &mut Parameter, operation: &str) {
    let schema = match parameter.name.as_str() {
        "variantId" | "customerId" | "cartId" | "reservationId" => id_text(),
        "at" => moment(),
        "number" => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0_u64))
            .maximum(Some(u64::MAX)),
        "format" => ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Format::ALL.map(Format::word))),
        "status" => ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(statuses(operation))),
        "ids" => {
            let id = r"[^\u0000-\u001f\u007f-\u009f,]{1,128}";
            text(format!("^{id}(,{id}){{0,{}}}$", LINES_MAX - 1))
        }
        _ => return,
    };
    parameter.schema = Some(schema.into());
}

/// The words that a list goes by.
fn statuses(operation: &str) -> Vec<&'static str> {
    if operation == "list_orders" {
        orders::STATUSES.map(order_status).to_vec()
    } else {
        reservations::STATUSES.map(|(word, _)| word).to_vec()
    }
}
