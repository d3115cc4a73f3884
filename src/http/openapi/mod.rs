//! The OpenAPI document: paths come from the handlers, members and their limits from the types that read them, and what
//! every route has in common is added here.
//!
//! | file | what it says |
//! |---|---|
//! | [`refusals`] | which problems each operation can answer |
//! | [`parameters`] | path, query and header parameters |
//! | [`shapes`] | schemas made plain: a member is one schema, an action takes its own members |
//!
//! `holdfast openapi` prints it; `tests/golden/openapi.json` is the reviewed copy.
mod parameters;
mod refusals;
mod shapes;

use super::extract::bodies::{BODIES, BodyKind, BulkBody, ReservationActionBody};
use super::problem::{Code, PROBLEM_JSON};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOfBuilder, Object, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, Header, InfoBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Required,
    Response, ResponseBuilder,
};

/// The name of the bearer scheme in the document.
const BEARER: &str = "adminKey";

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
    components.schemas.values_mut().for_each(shapes::plain);
    shapes::by_action(
        &mut components.schemas,
        "ReservationActionBody",
        ReservationActionBody::ACTIONS,
    );
    shapes::by_action(&mut components.schemas, "BulkBody", BulkBody::ACTIONS);
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
        "carts",
        "What a shopper means to buy, held line by line. A guest acts on its cart with the `Cart-Token` that came with it.",
    ),
    (
        "orders",
        "From checkout through payment to shipping, cancellation and return.",
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
    let takes = body_of(operation);
    let codes = refusals::of(path, method, &name, takes);
    parameters::describe(path, method, &codes, takes, operation);
    for (status, codes) in by_status(&codes) {
        operation
            .responses
            .responses
            .insert(status, RefOr::T(problem_response(&codes)));
    }
    if let (Some(RefOr::T(body)), Some(BodyKind { optional: true, .. })) =
        (operation.request_body.as_mut(), takes)
    {
        body.required = Some(Required::False);
    }
    if let Some(onward) = LINKS.iter().find(|(from, _, _)| *from == name) {
        link_onward(operation, onward);
    }
}

/// What is known of the body that an operation takes, by the name of its schema.
fn body_of(operation: &Operation) -> Option<BodyKind> {
    let Some(RefOr::T(body)) = &operation.request_body else {
        return None;
    };
    let schema = body.content.values().find_map(|content| match content {
        RefOr::T(content) => content.schema.as_ref(),
        RefOr::Ref(_) => None,
    });
    let Some(RefOr::Ref(schema)) = schema else {
        return None;
    };
    let name = schema.ref_location.rsplit('/').next()?;
    BODIES.iter().find(|kind| kind.name == name).copied()
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
    let words = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().map(|code| code.as_str())));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", words));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response = ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .content(PROBLEM_JSON, content);
    if codes.iter().any(|code| code.retry_after().is_some()) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let mut header = Header::new(seconds);
        header.description = Some("Seconds to wait, where waiting helps.".to_owned());
        response = response.header("Retry-After", header);
    }
    response.build()
}

/// What an operation's answer leads to: the operation, the status of the answer, and its links.
type Onward = (&'static str, &'static str, &'static [Onto]);
/// A link: its name, its target, and what that is told, as parameters and where in the answer they are.
type Onto = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// The entity that was answered.
const ITS_ID: &[(&str, &str)] = &[("id", "$response.body#/id")];
/// The first line of the cart that was answered.
const ITS_LINE: &[(&str, &str)] = &[
    ("id", "$response.body#/id"),
    ("lineId", "$response.body#/items/0/id"),
];
/// The first refund of the order that was answered.
const ITS_REFUND: &[(&str, &str)] = &[
    ("id", "$response.body#/id"),
    ("paymentReference", "$response.body#/refunds/0/paymentReference"),
];
/// The page behind the one that was answered.
const NEXT_PAGE: &[(&str, &str)] = &[("cursor", "$response.body#/nextCursor")];
/// The same of a list that belongs to one entity.
const ITS_NEXT_PAGE: &[(&str, &str)] = &[
    ("id", "$request.path.id"),
    ("cursor", "$response.body#/nextCursor"),
];

/// From what an operation answered to what can be done with it.
const LINKS: &[Onward] = &[
    (
        "create_variant",
        "201",
        &[
            ("get", "get_variant", ITS_ID),
            ("availability", "get_availability", ITS_ID),
            ("stock", "set_stock", ITS_ID),
            ("adjust", "adjust_stock", ITS_ID),
            ("pause", "pause_variant", ITS_ID),
            ("resume", "resume_variant", ITS_ID),
            ("drain", "drain_variant", ITS_ID),
            ("ledger", "list_ledger", ITS_ID),
            ("history", "list_history", ITS_ID),
            ("change", "change_variant", ITS_ID),
            ("delete", "delete_variant", ITS_ID),
        ],
    ),
    (
        "reserve",
        "201",
        &[
            ("get", "get_reservation", ITS_ID),
            ("resize", "resize_reservation", ITS_ID),
            ("extend", "extend_reservation", ITS_ID),
            ("confirm", "confirm_reservation", ITS_ID),
            ("release", "release_reservation", ITS_ID),
        ],
    ),
    (
        "sell",
        "201",
        &[
            ("get", "get_reservation", ITS_ID),
            ("fulfil", "fulfil_reservation", ITS_ID),
            ("cancel", "cancel_reservation", ITS_ID),
        ],
    ),
    (
        "confirm_reservation",
        "200",
        &[
            ("fulfil", "fulfil_reservation", ITS_ID),
            ("cancel", "cancel_reservation", ITS_ID),
        ],
    ),
    (
        "fulfil_reservation",
        "200",
        &[("return", "return_reservation", ITS_ID)],
    ),
    (
        "create_cart",
        "201",
        &[
            ("get", "get_cart", ITS_ID),
            ("add", "add_item_to_cart", ITS_ID),
            ("merge", "merge_carts", ITS_ID),
            ("delete", "delete_cart", ITS_ID),
        ],
    ),
    ("add_item", "201", ON_FROM_A_LINE),
    ("add_item_to_cart", "201", ON_FROM_A_LINE),
    (
        "check_out_cart",
        "201",
        &[
            ("get", "get_order", ITS_ID),
            ("confirm", "confirm_order", ITS_ID),
            ("fail", "fail_order", ITS_ID),
            ("cancel", "cancel_order", ITS_ID),
        ],
    ),
    (
        "confirm_order",
        "200",
        &[
            ("fulfil", "fulfil_order", ITS_ID),
            ("cancel", "cancel_order", ITS_ID),
            ("refunded", "close_refund", ITS_REFUND),
        ],
    ),
    ("cancel_order", "200", &[("refunded", "close_refund", ITS_REFUND)]),
    ("fulfil_order", "200", &[("return", "return_order", ITS_ID)]),
    (
        "create_snapshot",
        "201",
        &[
            ("get", "get_snapshot", ITS_ID),
            ("verify", "verify_snapshot", ITS_ID),
            ("delete", "delete_snapshot", ITS_ID),
        ],
    ),
    ("restore", "202", &[("operation", "get_operation", ITS_ID)]),
    ("list_variants", "200", &[("next", "list_variants", NEXT_PAGE)]),
    (
        "list_reservations",
        "200",
        &[("next", "list_reservations", NEXT_PAGE)],
    ),
    ("list_orders", "200", &[("next", "list_orders", NEXT_PAGE)]),
    ("list_ledger", "200", &[("next", "list_ledger", ITS_NEXT_PAGE)]),
    ("list_history", "200", &[("next", "list_history", ITS_NEXT_PAGE)]),
];

const ON_FROM_A_LINE: &[Onto] = &[
    ("get", "get_cart", ITS_ID),
    ("add", "add_item_to_cart", ITS_ID),
    ("change", "change_item", ITS_LINE),
    ("remove", "remove_item", ITS_LINE),
    ("extend", "extend_cart", ITS_ID),
    ("checkout", "check_out_cart", ITS_ID),
];

/// From what was answered to what can be done with it.
fn link_onward(operation: &mut Operation, (_, status, onward): &Onward) {
    let Some(RefOr::T(answer)) = operation.responses.responses.get_mut(*status) else {
        return;
    };
    for (link, target, parameters) in *onward {
        let mut onward = Link::builder().operation_id(*target);
        for (parameter, place) in *parameters {
            onward = onward.parameter(*parameter, *place);
        }
        answer.links.insert((*link).to_owned(), RefOr::T(onward.build()));
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
