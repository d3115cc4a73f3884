//! Schemas made plain for readers and generators: a member is one schema instead of a composition that only adds a
//! description or null, and a body whose members depend on its action says which go together.
use crate::http::extract::bodies::Takes;
use std::collections::BTreeMap;
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};

/// Makes the members of a struct plain.
pub(super) fn plain(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else {
        return;
    };
    for member in object.properties.values_mut() {
        let made = match member {
            RefOr::T(Schema::AllOf(both)) => described(&both.items, both.description.as_ref()),
            RefOr::T(Schema::OneOf(either)) => nullable(&either.items, either.description.as_ref()),
            RefOr::Ref(_) | RefOr::T(_) => None,
        };
        if let Some(made) = made {
            *member = RefOr::T(made);
        }
    }
}

/// `allOf [schema, {description}]` is the schema with that description.
fn described(items: &[RefOr<Schema>], about: Option<&String>) -> Option<Schema> {
    let [RefOr::T(schema), RefOr::T(Schema::Object(words))] = items else {
        return None;
    };
    let about = words.description.as_ref().or(about);
    with(schema, about, false)
}

/// `oneOf [schema, null]` is the schema with one more type.
fn nullable(items: &[RefOr<Schema>], about: Option<&String>) -> Option<Schema> {
    let null = |item: &&RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
    let [one] = items.iter().filter(|item| !null(item)).collect::<Vec<_>>()[..] else {
        return None;
    };
    match one {
        RefOr::T(schema) => with(schema, about, true),
        RefOr::Ref(_) => None,
    }
}

fn with(schema: &Schema, about: Option<&String>, null: bool) -> Option<Schema> {
    let mut schema = schema.clone();
    let (kind, description) = if let Schema::Object(object) = &mut schema {
        (&mut object.schema_type, &mut object.description)
    } else if let Schema::Array(array) = &mut schema {
        (&mut array.schema_type, &mut array.description)
    } else {
        return None;
    };
    if let Some(about) = about {
        *description = Some(about.clone());
    }
    if null {
        *kind = match kind {
            SchemaType::Type(one) => SchemaType::from_iter([one.clone(), Type::Null]),
            SchemaType::Array(some) => some.iter().cloned().chain([Type::Null]).collect(),
            SchemaType::AnyValue => SchemaType::AnyValue,
        };
    }
    Some(schema)
}

/// Replaces the schema of a body by one for each of its actions, with the members that this action takes.
pub(super) fn by_action(schemas: &mut BTreeMap<String, RefOr<Schema>>, name: &str, actions: &[Takes]) {
    let Some(RefOr::T(Schema::Object(whole))) = schemas.get(name) else {
        return;
    };
    let elsewhere = |member: &str| actions.iter().any(|takes| takes.members.contains(&member));
    let mut either = OneOfBuilder::new()
        .description(whole.description.clone())
        .examples(whole.example.clone());
    for takes in actions {
        let mut one: Object = whole.clone();
        (one.description, one.example) = (None, None);
        one.title = Some(takes.action.to_owned());
        one.properties
            .retain(|member, _| takes.members.contains(&member.as_str()) || !elsewhere(member));
        let word = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some([takes.action]));
        one.properties.insert("action".to_owned(), word.into());
        for needed in takes.needs {
            if let Some(member) = one.properties.get_mut(*needed) {
                never_null(member);
                one.required.push((*needed).to_owned());
            }
        }
        either = either.item(one);
    }
    let words = whole.properties.get("action").and_then(reference);
    schemas.insert(name.to_owned(), either.into());
    if let Some(words) = words {
        schemas.remove(&words);
    }
}

fn never_null(member: &mut RefOr<Schema>) {
    let kind = match member {
        RefOr::T(Schema::Object(object)) => &mut object.schema_type,
        RefOr::T(Schema::Array(array)) => &mut array.schema_type,
        RefOr::Ref(_) | RefOr::T(_) => return,
    };
    if let SchemaType::Array(some) = kind {
        some.retain(|one| *one != Type::Null);
        if let [one] = &some[..] {
            *kind = SchemaType::Type(one.clone());
        }
    }
}

/// The name that a schema refers to, alone or with a description.
fn reference(schema: &RefOr<Schema>) -> Option<String> {
    let name = |of: &Ref| of.ref_location.rsplit('/').next().map(str::to_owned);
    match schema {
        RefOr::Ref(of) => name(of),
        RefOr::T(Schema::AllOf(both)) => both.items.iter().find_map(reference),
        RefOr::T(_) => None,
    }
}
