//! The OpenAPI document as the tests read it: every operation, bodies made from their schemas, and where a schema draws a
//! line. A new route or member is tested because it is in the document.
use holdfast::http::router::document;
use serde_json::{Map, Value, json};

/// An operation, and the shapes of body it takes (one for each action; none if it takes no body).
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) spec: Value,
    pub(crate) bodies: Vec<Value>,
}

impl Operation {
    /// Whether its body is no object but a list, whose form the tests of imports are about.
    pub(crate) fn takes_a_list(&self) -> bool {
        self.spec["requestBody"]["content"]["text/csv"].is_object()
    }
}

/// A member of a body that has limits: where it is, and by what it is described.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) place: String,
    schema: Value,
}

pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn new() -> Self {
        Self(serde_json::to_value(document()).unwrap())
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        let mut found = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, spec) in item.as_object().unwrap() {
                let schema = &spec["requestBody"]["content"]["application/json"]["schema"];
                let bodies = match self.resolved(schema) {
                    Value::Null => Vec::new(),
                    schema if schema["oneOf"].is_array() => schema["oneOf"].as_array().unwrap().clone(),
                    schema => vec![schema],
                };
                found.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    spec: spec.clone(),
                    bodies,
                });
            }
        }
        found
    }

    /// The codes that an operation says it may answer with a status.
    pub(crate) fn codes(&self, method: &str, path: &str, status: u16) -> Vec<String> {
        let paths = self.0["paths"].as_object().unwrap();
        let plain = path.split('?').next().unwrap();
        // A path without parameters is meant where both fit.
        let template = paths
            .keys()
            .filter(|template| fits(template, plain))
            .min_by_key(|template| template.matches('{').count());
        let Some(template) = template else {
            return Vec::new();
        };
        let response = &paths[template][method.to_lowercase()]["responses"][status.to_string()];
        let schema = &response["content"]["application/problem+json"]["schema"];
        let words = &schema["allOf"][1]["properties"]["code"]["enum"];
        let words = words.as_array().cloned().unwrap_or_default();
        words
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    }

    /// What a reference leads to; the one that is not null of a choice.
    fn resolved(&self, schema: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.resolved(self.0.pointer(reference.trim_start_matches('#')).unwrap());
        }
        let choice = schema["oneOf"]
            .as_array()
            .map(|items| items.iter().filter(|item| item["type"] != "null"));
        match choice.map(Iterator::collect::<Vec<_>>).as_deref() {
            Some([one]) => self.resolved(one),
            _ => schema.clone(),
        }
    }

    /// The smallest body that a schema allows.
    pub(crate) fn sample(&self, schema: &Value) -> Value {
        let schema = self.resolved(schema);
        if let Some(words) = schema["enum"].as_array() {
            return words[0].clone();
        }
        match kind(&schema) {
            "object" => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let member = |name: &Value| {
                    let name = name.as_str().unwrap();
                    let schema = &schema["properties"][name];
                    // What other lengths must not exceed.
                    let value = if name == "maxTtlSeconds" {
                        schema["maximum"].clone()
                    } else {
                        self.sample(schema)
                    };
                    (name.to_owned(), value)
                };
                Value::Object(required.iter().map(member).collect())
            }
            "array" => {
                let length = schema["minItems"].as_u64().unwrap_or(0).max(1);
                Value::Array((0..length).map(|_| self.sample(&schema["items"])).collect())
            }
            "string" => match (schema["pattern"].as_str(), schema["format"].as_str()) {
                (_, Some("date-time")) => json!("2027-01-15T08:00:00Z"),
                (Some("^[A-Z]{3}$"), _) => json!("USD"),
                (Some(pattern), _) if pattern.starts_with("^rsv_") => {
                    json!("rsv_00000000000070008000000000000000")
                }
                _ => json!("x"),
            },
            "integer" => schema["minimum"].clone(),
            "boolean" => json!(true),
            other => panic!("no sample of {other}: {schema}"),
        }
    }

    /// Every member below a schema, nested ones too, with their places as problems name them.
    pub(crate) fn members(&self, schema: &Value) -> Vec<Member> {
        let mut found = Vec::new();
        self.collect(schema, "", &mut found);
        found
    }

    fn collect(&self, schema: &Value, place: &str, found: &mut Vec<Member>) {
        let schema = self.resolved(schema);
        if !place.is_empty() {
            found.push(Member {
                place: place.to_owned(),
                schema: schema.clone(),
            });
        }
        if let Some(members) = schema["properties"].as_object() {
            for (name, member) in members {
                let place = if place.is_empty() {
                    name.clone()
                } else {
                    format!("{place}.{name}")
                };
                self.collect(member, &place, found);
            }
        }
        if schema["items"].is_object() {
            self.collect(&schema["items"], &format!("{place}[0]"), found);
        }
    }

    /// A body with a member set; what is on the way to it is made.
    pub(crate) fn with(&self, body: &Value, whole: &Value, place: &str, value: Value) -> Value {
        let mut body = body.clone();
        let mut schema = self.resolved(whole);
        let mut at = &mut body;
        for step in place.replace('[', ".[").split('.') {
            schema = match step {
                "[0]" => self.resolved(&schema["items"]),
                name => self.resolved(&schema["properties"][name]),
            };
            if step == "[0]" {
                at = &mut at[0];
                continue;
            }
            let Value::Object(members) = at else {
                panic!("an object on the way to {place}")
            };
            at = members
                .entry(step.to_owned())
                .or_insert_with(|| match kind(&schema) {
                    "object" | "array" => self.sample(&schema),
                    _ => Value::Null,
                });
        }
        *at = value;
        body
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(one, other)| one.starts_with('{') || one == other)
}

/// The type, or the first of them.
fn kind(schema: &Value) -> &str {
    let kinds = &schema["type"];
    kinds
        .as_str()
        .or_else(|| kinds[0].as_str())
        .unwrap_or_else(|| panic!("a type in {schema}"))
}

fn is_of(schema: &Value, wanted: &str) -> bool {
    let kinds = &schema["type"];
    kinds == wanted
        || kinds
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == wanted))
}

/// Values on the two sides of every line that a member's schema draws: the last allowed ones, the first refused ones.
pub(crate) struct Lines {
    pub(crate) allowed: Vec<Value>,
    pub(crate) refused: Vec<Value>,
}

impl Member {
    pub(crate) fn lines(&self, document: &Document) -> Lines {
        let schema = &self.schema;
        let mut lines = Lines {
            allowed: Vec::new(),
            refused: Vec::new(),
        };
        if let Some(words) = schema["enum"].as_array() {
            lines.allowed.extend(words.iter().cloned());
            lines.refused.push(json!("no such word"));
            return lines;
        }
        if is_of(schema, "null") {
            lines.allowed.push(Value::Null);
        }
        if is_of(schema, "integer") {
            lines.integers(schema);
        }
        if is_of(schema, "string") {
            lines.texts(schema);
        }
        if is_of(schema, "array") {
            // Lines of an order name each variant once.
            let element = |place: u64| {
                let mut element = document.sample(&schema["items"]);
                if let Some(variant) = element.get_mut("variantId") {
                    *variant = json!(format!("x{place}"));
                }
                element
            };
            let length = |length: u64| Value::Array((0..length).map(element).collect());
            let (min, max) = (
                schema["minItems"].as_u64().unwrap_or(0),
                schema["maxItems"].as_u64().unwrap(),
            );
            lines.allowed.extend([length(min), length(max)]);
            lines.refused.push(length(max + 1));
            lines.refused.extend(min.checked_sub(1).map(length));
        }
        if is_of(schema, "object") && schema["maxProperties"].is_u64() {
            lines.pairs(schema);
        }
        if is_of(schema, "boolean") {
            lines.refused.extend([json!("true"), json!(0)]);
        }
        lines
    }
}

impl Lines {
    fn integers(&mut self, schema: &Value) {
        let (min, max) = (&schema["minimum"], &schema["maximum"]);
        self.allowed.extend([min.clone(), max.clone()]);
        self.refused.push(json!(min.as_i64().unwrap() - 1));
        // One beyond the largest of 64 bits cannot be said here; the reader's own tests do.
        self.refused
            .extend(max.as_u64().unwrap().checked_add(1).map(|beyond| json!(beyond)));
        self.refused.extend([json!(1.5), json!(true), json!([1])]);
        if !is_of(schema, "string") {
            self.refused.push(json!("2"));
        }
    }

    fn texts(&mut self, schema: &Value) {
        if schema["format"] == "date-time" {
            self.allowed
                .extend([json!("1970-01-01T00:00:00Z"), json!("9998-12-31T23:59:59.999Z")]);
            self.refused.extend([
                json!("1969-12-31T23:59:59Z"),
                json!("2027-01-15"),
                json!("9999-12-31T23:59:59Z"),
            ]);
            return;
        }
        if let Some(max) = schema["maxLength"].as_u64() {
            let long = |length: u64| json!("x".repeat(usize::try_from(length).unwrap()));
            self.allowed
                .extend([long(schema["minLength"].as_u64().unwrap()), long(max)]);
            self.refused.extend([
                json!(""),
                long(max + 1),
                json!("a\u{7}"),
                json!("a\u{85}"),
                json!("a\n"),
            ]);
        } else {
            let pattern = schema["pattern"]
                .as_str()
                .expect("a text has a length or a pattern");
            self.refused.extend([json!(""), json!(pattern), json!("usd")]);
        }
        self.refused.extend([json!(true), json!(["x"]), json!({})]);
    }

    fn pairs(&mut self, schema: &Value) {
        let most = schema["maxProperties"].as_u64().unwrap();
        let longest = |schema: &Value| schema["maxLength"].as_u64().unwrap();
        let (name, value) = (
            longest(&schema["propertyNames"]),
            longest(&schema["additionalProperties"]),
        );
        let pairs = |count: u64| (0..count).map(|index| (index.to_string(), json!("x")));
        let pair = |name: u64, value: u64| {
            let long = |length: u64| "x".repeat(usize::try_from(length).unwrap());
            Value::Object(Map::from_iter([(long(name), json!(long(value)))]))
        };
        self.allowed.extend([
            Value::Object(pairs(most).collect()),
            pair(name, 1),
            pair(1, value),
        ]);
        self.refused.extend([
            Value::Object(pairs(most + 1).collect()),
            pair(name + 1, 1),
            pair(1, value + 1),
            pair(0, 1),
            pair(1, 0),
            json!({"a": 1}),
        ]);
    }
}
