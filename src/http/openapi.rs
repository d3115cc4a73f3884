//! The OpenAPI document: paths and schemas come from the handlers, what every route has in common is added here.
//!
//! `holdfast openapi` prints it; `tests/golden/openapi.json` is the reviewed copy.
use super::extract::query::LIMIT_MAX;
use super::problem::{Code, PROBLEM_JSON};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Required,
    Response, ResponseBuilder,
};

/// The name of the bearer scheme in the document.
const BEARER: &str = "adminKey";

/// What each operation may refuse beyond what all do. Its name is the handler's.
const REFUSALS: &[(&str, &[Code])] = &[
    ("create_variant", &[Code::AlreadyExists]),
    ("get_variant", &[Code::VariantNotFound]),
    (
        "change_variant",
        &[
            Code::VariantNotFound,
            Code::StaleVersion,
            Code::PreconditionRequired,
        ],
    ),
    (
        "delete_variant",
        &[
            Code::VariantNotFound,
            Code::HasActiveHolds,
            Code::StaleVersion,
            Code::PreconditionRequired,
        ],
    ),
    ("get_availability", &[Code::VariantNotFound]),
    (
        "set_stock",
        &[
            Code::VariantNotFound,
            Code::BelowHeld,
            Code::StaleVersion,
            Code::PreconditionRequired,
        ],
    ),
    (
        "adjust_stock",
        &[Code::VariantNotFound, Code::BelowHeld, Code::ExpectedMismatch],
    ),
    ("list_ledger", &[Code::VariantNotFound]),
    ("pause_variant", &[Code::VariantNotFound]),
    ("resume_variant", &[Code::VariantNotFound]),
    ("drain_variant", &[Code::VariantNotFound]),
    (
        "reserve",
        &[
            Code::VariantNotFound,
            Code::InsufficientStock,
            Code::SaleNotOpen,
            Code::LimitReached,
            Code::AlreadyHeld,
        ],
    ),
    ("get_reservation", &[Code::ReservationNotFound]),
    ("act_on_reservation", ENDS),
    (
        "resize_reservation",
        &[
            Code::ReservationNotFound,
            Code::InsufficientStock,
            Code::ReservationExpired,
        ],
    ),
    ("extend_reservation", ENDS),
    (
        "confirm_reservation",
        &[
            Code::ReservationNotFound,
            Code::ReservationExpired,
            Code::ReservationReleased,
            Code::OwnedByOrder,
        ],
    ),
    (
        "release_reservation",
        &[
            Code::ReservationNotFound,
            Code::ReservationConfirmed,
            Code::OwnedByOrder,
        ],
    ),
    ("release_reservations", &[Code::ReservationConfirmed]),
    ("bulk", &[Code::LinesRefused]),
    ("fulfil_reservation", AFTER_SALE),
    ("cancel_reservation", AFTER_SALE),
    ("return_reservation", AFTER_SALE),
    ("put_policy", &[Code::StaleVersion, Code::PreconditionRequired]),
    ("rebuild_quarantined", &[Code::QuarantineNotFound]),
];

const ENDS: &[Code] = &[
    Code::ReservationNotFound,
    Code::ExtensionLimit,
    Code::ReservationReleased,
    Code::ReservationConfirmed,
    Code::ReservationExpired,
    Code::OwnedByOrder,
];
const AFTER_SALE: &[Code] = &[
    Code::ReservationNotFound,
    Code::ReservationNotConfirmed,
    Code::OwnedByOrder,
    Code::TooManyUnits,
];

/// Operations whose body may be left out.
const BODY_OPTIONAL: &[&str] = &[
    "extend_reservation",
    "confirm_reservation",
    "fulfil_reservation",
    "cancel_reservation",
    "return_reservation",
    "clean_up",
];

/// Finishes the document that the handlers made.
pub fn finish(mut api: OpenApi) -> OpenApi {
    api.info = InfoBuilder::new()
        .title("Holdfast")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(
            utoipa::openapi::LicenseBuilder::new()
                .name("MIT OR Apache-2.0")
                .build(),
        ))
        .build();
    api.tags = Some(
        TAGS.iter()
            .map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build())
            .collect(),
    );
    api.security = Some(vec![
        SecurityRequirement::default(),
        SecurityRequirement::new(BEARER, Vec::<String>::new()),
    ]);
    let components = api.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(ABOUT_BEARER))
        .build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    components
        .schemas
        .insert("Problem".to_owned(), RefOr::T(problem_schema()));
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, method, operation);
        }
    }
    api
}

const ABOUT: &str = "Holds units of stock for shoppers while they check out, sells none twice, loses nothing it answered.\n\n\
Send `Idempotency-Key` with everything that changes something: a retry with the same key and body has one effect and one answer \
(`Idempotent-Replayed: true`). Errors are `application/problem+json`; `code` is stable and documented at `/problems/{code}`.";
const ABOUT_BEARER: &str =
    "Wanted when `auth.admin_key` is configured. Without it the service is open, on loopback only.";

const TAGS: &[(&str, &str)] = &[
    (
        "variants",
        "What is sold: description, rules, stock and its ledger.",
    ),
    (
        "reservations",
        "Units held for a shopper until they are confirmed, released or expire.",
    ),
    (
        "admin",
        "For operators: policy, hot variants, configuration, quarantine, drain.",
    ),
];

/// `(method, operation)` of a path; the spelling of methods is HTTP's.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("PUT", &mut item.put),
        ("POST", &mut item.post),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

fn complete(path: &str, method: &str, operation: &mut Operation) {
    let name = operation.operation_id.clone().unwrap_or_default();
    let mut codes: BTreeSet<Code> = [
        Code::Unauthenticated,
        Code::Internal,
        Code::Overloaded,
        Code::InvalidParameter,
    ]
    .into();
    if method != "GET" {
        codes.extend([
            Code::InvalidHeader,
            Code::IdempotencyKeyMissing,
            Code::IdempotencyKeyReused,
            Code::RequestInFlight,
        ]);
        codes.extend([Code::OutcomeUnknown, Code::StorageUnavailable, Code::Draining]);
        codes.extend([
            Code::MalformedJson,
            Code::UnsupportedMediaType,
            Code::BodyTooLarge,
            Code::InvalidMember,
        ]);
    }
    if path.contains("{id}") {
        codes.insert(Code::VariantQuarantined);
    }
    let own = REFUSALS.iter().find(|(operation, _)| *operation == name);
    codes.extend(own.into_iter().flat_map(|(_, codes)| codes.iter().copied()));
    describe_parameters(path, method, &codes, operation);
    for (status, codes) in by_status(&codes) {
        operation
            .responses
            .responses
            .insert(status, RefOr::T(problem_response(&codes)));
    }
    if let Some(RefOr::T(body)) = operation.request_body.as_mut()
        && BODY_OPTIONAL.contains(&name.as_str())
    {
        body.required = Some(Required::False);
    }
    if name == "reserve" {
        link_onward(operation);
    }
}

/// Parameters that follow from the path, the method and what may be refused.
fn describe_parameters(path: &str, method: &str, codes: &BTreeSet<Code>, operation: &mut Operation) {
    let name = operation.operation_id.clone().unwrap_or_default();
    let parameters = operation.parameters.get_or_insert_default();
    let mut add = |name: &str, place: ParameterIn, schema: ObjectBuilder, about: &str| {
        let required = if place == ParameterIn::Path {
            Required::True
        } else {
            Required::False
        };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required);
        parameters.push(RefOr::T(
            parameter.description(Some(about)).schema(Some(schema)).build(),
        ));
    };
    let text = || ObjectBuilder::new().schema_type(Type::String);
    if path.contains("{id}") {
        add(
            "id",
            ParameterIn::Path,
            text().min_length(Some(1)).max_length(Some(128)),
            "Its id.",
        );
    }
    if method != "GET" {
        let key = text().min_length(Some(1)).max_length(Some(255));
        add(
            "Idempotency-Key",
            ParameterIn::Header,
            key,
            "Names one intent through all its retries, for 24 hours.",
        );
    }
    if codes.contains(&Code::PreconditionRequired) {
        let about = "Required: the ETag that was read, or * for whatever is there.";
        add("If-Match", ParameterIn::Header, text(), about);
    }
    if name.starts_with("list_") && name != "list_quarantine" {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX));
        add(
            "limit",
            ParameterIn::Query,
            limit,
            "How many items at most; 50 without.",
        );
    }
    if name.starts_with("list_") && method == "GET" && !name.contains("hot") && name != "list_quarantine" {
        add(
            "cursor",
            ParameterIn::Query,
            text(),
            "`nextCursor` of the page before.",
        );
    }
}

fn by_status(codes: &BTreeSet<Code>) -> BTreeMap<String, Vec<Code>> {
    let mut grouped: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes {
        grouped
            .entry(code.status().as_u16().to_string())
            .or_default()
            .push(*code);
    }
    grouped
}

fn problem_response(codes: &[Code]) -> Response {
    let lines: Vec<_> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
        .collect();
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .content(PROBLEM_JSON, content)
        .build()
}

/// From a created reservation to what can be done with it.
fn link_onward(operation: &mut Operation) {
    let Some(RefOr::T(created)) = operation.responses.responses.get_mut("201") else {
        return;
    };
    for (link, target) in [
        ("get", "get_reservation"),
        ("extend", "extend_reservation"),
        ("confirm", "confirm_reservation"),
        ("release", "release_reservation"),
    ] {
        let onward = Link::builder()
            .operation_id(target)
            .parameter("id", "$response.body#/id")
            .build();
        created.links.insert(link.to_owned(), RefOr::T(onward));
    }
}

fn problem_schema() -> Schema {
    let text = |about: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(about))
            .build()
    };
    let typed = |kind: Type, about: &str| {
        ObjectBuilder::new()
            .schema_type(kind)
            .description(Some(about))
            .build()
    };
    let members: [(&str, Object); 7] = [
        ("type", text("`/problems/<code>`, a page that explains it.")),
        ("title", text("One line for people.")),
        ("status", typed(Type::Integer, "The HTTP status.")),
        ("detail", text("What happened this time, for people.")),
        ("code", text("For programs; a promise.")),
        (
            "retryable",
            typed(Type::Boolean, "Whether the same request may succeed later."),
        ),
        ("requestId", text("As in X-Request-Id and in the logs.")),
    ];
    let about =
        "RFC 9457, with a code and the data that the code needs (`lines`, `available`, `member`, ...).";
    let mut schema = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Object))
        .description(Some(about));
    for (name, member) in members {
        schema = schema.property(name, member).required(name);
    }
    Schema::Object(schema.build())
}
