//! What the OpenAPI document says of the types that members have: the very limits by which they are read.
//!
//! JSON Schema counts characters where the reader counts bytes, so a text of many bytes a character may fit its schema and
//! still be refused; everything else that a schema allows is read. `tests/it/http_edge/limits.rs` goes over every bound.
use super::body;
use super::member::{
    ATTRIBUTE_NAME_MAX, ATTRIBUTE_VALUE_MAX, ATTRIBUTES_MAX, Attributes, CurrencyCode, Id, Instant, List,
    ReservationRef, Text, Whole,
};
use crate::domain::ids::{CartId, ID_BYTES_MAX, OrderId};
use utoipa::openapi::schema::{
    Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// No control characters, as `char::is_control` knows them.
pub const NO_CONTROLS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// Years that a moment may be written in: from the first that is counted from, to the last that lies whole within what
/// can be counted.
const YEARS: &str = r"^(19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-";

/// A text of 1 to `max` bytes without control characters.
pub fn text(max: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(max))
        .pattern(Some(NO_CONTROLS))
}

/// An id as a text: all that a path or a query can carry.
pub fn id_text() -> ObjectBuilder {
    text(ID_BYTES_MAX)
}

/// A whole number from `min` to `max`.
fn whole(min: i64, max: i64) -> Object {
    let small = i32::try_from(min).is_ok() && i32::try_from(max).is_ok();
    let format = if small {
        KnownFormat::Int32
    } else {
        KnownFormat::Int64
    };
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(format)))
        .minimum(Some(min))
        .maximum(Some(max))
        .build()
}

fn plain(object: impl Into<Object>) -> RefOr<Schema> {
    RefOr::T(Schema::Object(object.into()))
}

impl<const MIN: i64, const MAX: i64> PartialSchema for Whole<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        plain(whole(MIN, MAX))
    }
}

impl<const MIN: i64, const MAX: i64> ToSchema for Whole<MIN, MAX> {}

/// A text, or an integer that means its decimal text.
impl<T> PartialSchema for Id<T> {
    fn schema() -> RefOr<Schema> {
        let both = SchemaType::from_iter([Type::String, Type::Integer]);
        plain(
            id_text()
                .schema_type(both)
                .minimum(Some(0_u64))
                .maximum(Some(u64::MAX)),
        )
    }
}

impl<T> ToSchema for Id<T> {}

/// An id, or null, where those that are made here are refused: they begin with `prefix`.
fn foreign(prefix: &str) -> Object {
    let or_null = SchemaType::from_iter([Type::String, Type::Integer, Type::Null]);
    let own = NO_CONTROLS.strip_prefix('^').expect("it is about whole texts");
    id_text()
        .schema_type(or_null)
        .pattern(Some(format!("^(?!{prefix}){own}")))
        .minimum(Some(0_u64))
        .maximum(Some(u64::MAX))
        .build()
}

/// A cart of the shop's own, or none.
pub fn foreign_cart() -> Object {
    foreign(CartId::PREFIX)
}

/// An order of the shop's own, or none.
pub fn foreign_order() -> Object {
    foreign(OrderId::PREFIX)
}

/// `rsv_` and a UUIDv7 in lower-case digits.
impl PartialSchema for ReservationRef {
    fn schema() -> RefOr<Schema> {
        let form = "^rsv_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$";
        plain(ObjectBuilder::new().schema_type(Type::String).pattern(Some(form)))
    }
}

impl ToSchema for ReservationRef {}

impl<const MAX: usize> PartialSchema for Text<MAX> {
    fn schema() -> RefOr<Schema> {
        plain(text(MAX))
    }
}

impl<const MAX: usize> ToSchema for Text<MAX> {}

impl PartialSchema for CurrencyCode {
    fn schema() -> RefOr<Schema> {
        plain(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[A-Z]{3}$")),
        )
    }
}

impl ToSchema for CurrencyCode {}

/// A moment as a text.
pub fn moment() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .pattern(Some(YEARS))
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        plain(moment())
    }
}

impl ToSchema for Instant {}

impl<T: PartialSchema, const MIN: usize, const MAX: usize> PartialSchema for List<T, MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        RefOr::T(Schema::Array(list(T::schema(), MIN, MAX)))
    }
}

impl<T: ToSchema, const MIN: usize, const MAX: usize> ToSchema for List<T, MIN, MAX> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

fn list(element: RefOr<Schema>, min: usize, max: usize) -> Array {
    ArrayBuilder::new()
        .items(element)
        .min_items(Some(min))
        .max_items(Some(max))
        .build()
}

/// A struct is described once, under its name.
impl<T: ToSchema> PartialSchema for body::Object<T> {
    fn schema() -> RefOr<Schema> {
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }
}

impl<T: ToSchema> ToSchema for body::Object<T> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl PartialSchema for Attributes {
    fn schema() -> RefOr<Schema> {
        let pairs = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property_names(Some(text(ATTRIBUTE_NAME_MAX)))
            .additional_properties(Some(text(ATTRIBUTE_VALUE_MAX)))
            .max_properties(Some(ATTRIBUTES_MAX));
        plain(pairs)
    }
}

impl ToSchema for Attributes {}
