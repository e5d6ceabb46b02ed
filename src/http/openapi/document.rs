//! The document: operations with their parameters, bodies and answers, and the named schemas they share.

use super::super::auth::Access;
use super::super::endpoint::{Handler, Route, RouteBody};
use super::super::fields::{CODE_PATTERN, Field, LABEL_PATTERN, USER_PATTERN, ValueKind, WALLET_PATTERN};
use super::super::files::TABLE_TYPES;
use super::super::routes::ROUTES;
use super::super::schemas::NAMED;
use super::super::{batch, wallets};
use super::examples::Examples;
use super::operations::{Operation, operations};
use super::refusals::{Refusals, any_problem, pascal, request_headers, takes};
use crate::error::ErrorName;
use crate::id::EntryId;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An amount as a client writes it: from 0.01 to 1000000000000.00.
const AMOUNT_PATTERN: &str = "^([1-9][0-9]{0,11}([.][0-9]{1,2})?|0[.](0[1-9]|[1-9][0-9]?)|1000000000000([.]0{1,2})?)$";

/// The fields of an item of a batch beside those of its verb.
const ITEM: &[Field] = &[
    Field::required("op", ValueKind::Text, "the verb")
        .one_of(&["recharge", "withdraw", "pay", "transfer", "refund", "hold", "capture", "void"]),
    Field::optional("user", ValueKind::Text, "the user whose wallet it is about").like(USER_PATTERN),
    Field::optional("entry", ValueKind::Integer, "the number of the entry to refund").within(0, EntryId::MAX),
    Field::optional("hold", ValueKind::Integer, "the number of the hold to capture or void").within(0, EntryId::MAX),
    Field::optional("expires_in_s", ValueKind::Integer, "seconds until a hold expires").within(1, 31_536_000),
    Field::optional("final", ValueKind::Flag, "false keeps the rest of a captured hold reserved"),
    Field::optional("key", ValueKind::Text, "an idempotency key of its own")
        .like("^[!-~]{1,255}$")
        .such_as("\"order-1001\""),
];

/// The groups of operations, each with the beginning of its paths and its meaning.
const TAGS: &[(&str, &str, &str)] = &[
    ("/wallet", "own wallet", "The wallet of the caller."),
    ("/v1/wallets", "wallets", "Wallets, and money into, out of and between them."),
    ("/v1/entries", "entries", "Every movement of money, and refunds."),
    ("/v1/report", "report", "Counts and sums for periods."),
    ("/v1/events", "entries", ""),
    ("/v1/holds", "holds", "Money that is reserved for a receiver, its captures and its release."),
    ("/v1/coupons", "coupons", "Coupons, their kinds, and the recharges that earn them."),
    ("/v1/tiers", "coupons", ""),
    ("/v1/coupon-kinds", "coupons", ""),
    ("/v1/batch", "batch", "Many money verbs in one request."),
    ("/v1/lock-events", "locks", ""),
    ("/v1/locks", "locks", "Locks with leases, fences and takeover."),
    ("/v1/journal", "journal", "Every change that is not a movement of money."),
    ("/v1/tokens", "access tokens", "The credentials of clients."),
    ("/v1/me", "access tokens", ""),
    ("/", "server", "The file as a whole, and the state of the server."),
];

/// The whole document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let examples = Examples::run();
    let mut refusals = Refusals::default();
    let mut schemas: Map<String, Value> = Map::new();
    let mut paths: Map<String, Value> = Map::new();
    let operations = operations();
    let described: Vec<_> = operations.iter().map(|operation| operation.route.to_owned()).collect();
    let routes: Vec<_> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(described, routes, "each route has a row in openapi/operations.rs, in the same order");
    let is_operation = |id: &str| operations.iter().any(|operation| operation.id == id);
    NOTES.iter().for_each(|(id, _)| assert!(is_operation(id), "{id} has a note, and is not an operation"));
    for (route, operation) in ROUTES.iter().zip(&operations) {
        let path = paths.entry(route.path.replace("...}", "}")).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] =
            describe(route, operation, &examples, &mut generator, &mut schemas, &mut refusals);
    }
    let parameters = share_parameters(&mut paths);
    generator.subschema_for::<ErrorName>();
    schemas.extend(generator.take_definitions(true));
    schemas.insert("Problem".to_owned(), any_problem());
    schemas.extend(refusals.schemas);
    let mut schemas: Vec<(String, Value)> = schemas.into_iter().collect();
    schemas.sort_by(|one, other| one.0.cmp(&other.0));
    for (_, schema) in &mut schemas {
        plain(schema);
    }
    let mut tags: Vec<Value> = Vec::new();
    for (_, name, about) in TAGS.iter().filter(|(_, _, about)| !about.is_empty()) {
        tags.push(json!({ "name": name, "description": about }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "cashbox",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Wallets, coupons and locks in one file",
            "description": "Amounts are text with two decimals. Every answer has `code` and `msg`, in the language of `Accept-Language` (`zh` or `en`); \
                            errors are application/problem+json with a stable `error`. Bodies may also be sent as \
                            application/x-www-form-urlencoded with the same fields. Every answer has `X-Request-Id`: the request's own, if it \
                            has one. Lists are also CSV and NDJSON: a typed client that takes JSON alone names `application/json` and \
                            `application/problem+json` as its media types. Later versions may add members to answers, and words to lists of words.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:8866", "description": "cashbox serve" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "accessToken": { "type": "http", "scheme": "bearer", "description": "an access token: `cashbox token create`, or the one that `cashbox serve` prints" },
            },
            "headers": response_headers(),
            "parameters": parameters,
            "responses": refusals.responses,
            "schemas": schemas.into_iter().collect::<Map<_, _>>(),
        },
    })
}

fn describe(
    route: &Route,
    operation: &Operation,
    examples: &Examples,
    generator: &mut SchemaGenerator,
    schemas: &mut Map<String, Value>,
    refusals: &mut Refusals,
) -> Value {
    let mut parameters = path_parameters(route);
    parameters.extend(route.query.iter().map(query_parameter));
    parameters.extend(request_headers(route));
    let tag = TAGS.iter().find(|(prefix, ..)| is_under(route.path, prefix)).expect("the last one is of any path").1;
    let mut described = json!({
        "operationId": operation.id,
        "tags": [tag],
        "summary": route.about,
        "description": format!("{}For the {}.", note(operation.id), roles(route)),
        "parameters": parameters.into_iter().map(with_described_schema).collect::<Value>(),
    });
    let example = examples.request(operation.route);
    match route.body {
        RouteBody::Empty => {}
        RouteBody::Fields([]) => {}
        RouteBody::Fields(fields) => {
            let name = format!("{}Request", pascal(operation.id));
            let body = object_schema(fields, schemas);
            schemas.insert(name.clone(), body);
            described["requestBody"] = request_body(&json!({ "$ref": format!("{NAMED}{name}") }), example);
            described["requestBody"]["required"] = json!(fields.iter().any(|field| !field.optional));
        }
        RouteBody::Batch => {
            let item = batch_item_schema(schemas);
            schemas.insert("BatchItem".to_owned(), item);
            let items = json!({ "type": "array", "items": { "$ref": format!("{NAMED}BatchItem") }, "maxItems": batch::ITEMS_MAX });
            described["requestBody"] = request_body(&items, example);
            described["requestBody"]["description"] = json!("Also as application/x-ndjson: an item on each line.");
        }
    }
    let mut responses = good_responses(route, operation, examples, generator, schemas);
    refusals.add(route, operation, &mut responses, &examples.refusals);
    described["responses"] = Value::Object(responses);
    described["security"] = if route.access == Access::Anyone { json!([]) } else { json!([{ "accessToken": [] }]) };
    described["x-roles"] = route.access.roles().iter().map(|role| role.as_str()).collect();
    described
}

/// Notes about operations, for what their fields do not say.
const NOTES: &[(&str, &str)] = &[
    ("recharge", "The first one creates the wallet."),
    ("placeHold", "The amount is out of `balance` and in `held` until the hold is captured, voided or expires."),
    ("captureHold", "The rest goes back to the wallet in the same commit, unless `final` is false."),
    (
        "listEntries",
        "To follow, send `order=asc` and `wait_ms`, and go on from `cursor`, which an ascending list has also at its end.",
    ),
    (
        "streamEntries",
        "Each event has an `id`, which is a cursor, and an `Entry` as its `data`; a comment line comes every 15 s. A client that \
         reads an answer as a whole takes `listEntries` with `order=asc` and `wait_ms` instead.",
    ),
    ("getReport", "`since` and `until` are widened to whole periods. Either these, or `bounds`."),
    ("setTiers", "The list replaces all tiers."),
    ("setCouponKinds", "The list replaces all kinds. Coupons that were given keep their terms."),
    ("batch", "Each item has its own answer in `results`. With `atomic=true` all of them are carried out, or none."),
];

/// The note about the operation, with a space behind it.
fn note(id: &str) -> String {
    let note = NOTES.iter().find(|(operation, _)| *operation == id);
    note.map_or(String::new(), |(_, note)| format!("{note} "))
}

/// The parameter with its description in its schema as well, where generators of Python look for it.
fn with_described_schema(mut parameter: Value) -> Value {
    let about = parameter["description"].clone();
    if let Some(schema) = parameter["schema"].as_object_mut().filter(|schema| !schema.contains_key("$ref")) {
        schema.insert("description".to_owned(), about);
    }
    parameter
}

/// True if the path is the prefix, or goes on behind it with a slash.
fn is_under(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn roles(route: &Route) -> String {
    let names: Vec<_> = route.access.roles().iter().map(|role| format!("`{}`", role.as_str())).collect();
    match (route.access, names.as_slice()) {
        (Access::Anyone, _) => "client without an access token, too".to_owned(),
        (_, [one]) => format!("role {one}"),
        (_, [first @ .., last]) => format!("roles {} and {last}", first.join(", ")),
        (_, []) => unreachable!("a route has roles"),
    }
}

fn path_parameters(route: &Route) -> Vec<Value> {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| path_parameter(route, name.trim_end_matches('.'))).collect()
}

fn path_parameter(route: &Route, name: &str) -> Value {
    let (about, schema, example) = match (name, route.path) {
        ("user", path) if route.method == "GET" && (path.ends_with("{user}") || path.ends_with("/entries")) => (
            "a user, or the name of a system wallet",
            json!({ "type": "string", "pattern": WALLET_PATTERN }),
            json!("alice"),
        ),
        ("user", _) => ("a user", json!({ "type": "string", "pattern": USER_PATTERN }), json!("alice")),
        ("code", _) => {
            ("the code of a coupon, in any case", json!({ "type": "string", "pattern": CODE_PATTERN }), json!("7K2Q"))
        }
        ("name", _) => {
            ("the name of an error", json!({ "$ref": format!("{NAMED}ErrorName") }), json!("insufficient_funds"))
        }
        (_, path) if path.starts_with("/v1/entries") => (
            "the number of an entry",
            json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": EntryId::MAX }),
            json!(4),
        ),
        (_, path) if path.starts_with("/v1/holds") => (
            "the number of a hold",
            json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": EntryId::MAX }),
            json!(8),
        ),
        (_, path) if path.starts_with("/v1/tokens") => {
            ("the id of an access token", json!({ "type": "string", "minLength": 1 }), json!("tok:3f8a51c09be27d64"))
        }
        (_, path) if path.starts_with("/v1/locks") => {
            let pattern = LABEL_PATTERN.replace("{0,255}", "{1,255}");
            (
                "the id of a lock, at most 255 bytes",
                json!({ "type": "string", "pattern": pattern }),
                json!("nightly-report"),
            )
        }
        other => panic!("the parameter {other:?} is not described"),
    };
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": schema, "example": example })
}

/// Moves the parameters that several operations take to a place of their own, and leaves references to them.
fn share_parameters(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    each_parameter(paths, |_, parameter| *uses.entry(parameter.to_string()).or_default() += 1);
    let mut shared: Map<String, Value> = Map::new();
    each_parameter(paths, |operation, parameter| {
        if uses[&parameter.to_string()] < 2 {
            return;
        }
        let known = shared.iter().find(|(_, one)| *one == parameter).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| match parameter["name"].as_str().expect("a parameter has a name") {
            taken if shared.contains_key(taken) => format!("{taken}-{operation}"), // the first operation that takes it
            free => free.to_owned(),
        });
        let reference = json!({ "$ref": format!("#/components/parameters/{name}") });
        shared.insert(name, std::mem::replace(parameter, reference));
    });
    shared
}

/// Calls `visit` with the id of each operation and each of its parameters.
fn each_parameter(paths: &mut Map<String, Value>, mut visit: impl FnMut(&str, &mut Value)) {
    for operation in
        paths.values_mut().flat_map(|path| path.as_object_mut().expect("a path has operations").values_mut())
    {
        let id = operation["operationId"].as_str().expect("an operation has an id").to_owned();
        for parameter in operation["parameters"].as_array_mut().expect("an operation has parameters") {
            visit(&id, parameter);
        }
    }
}

fn query_parameter(field: &Field) -> Value {
    let mut schema = value_schema(field, &mut Map::new());
    let example = schema.as_object_mut().and_then(|schema| schema.shift_remove("examples"));
    let mut parameter = json!({
        "name": field.name, "in": "query", "required": !field.optional, "description": field.about, "schema": schema,
    });
    if let Some(Value::Array(mut examples)) = example {
        parameter["example"] = examples.remove(0);
    }
    if field.kind == ValueKind::Object {
        parameter["style"] = json!("deepObject"); // metadata[NAME]=VALUE
        parameter["explode"] = json!(true);
    }
    parameter
}

fn request_body(schema: &Value, example: Option<&Value>) -> Value {
    let mut content = json!({ "schema": schema });
    if let Some(example) = example {
        content["example"] = example.clone();
    }
    json!({ "required": true, "content": { "application/json": content } })
}

/// An object with these fields and no others. Rows of lists are named schemas.
fn object_schema(fields: &[Field], schemas: &mut Map<String, Value>) -> Value {
    let mut properties: Map<String, Value> = Map::new();
    for field in fields {
        let mut schema = value_schema(field, schemas);
        // In the description, because a generator of TypeScript requires each member that has a `default`.
        let default = schema.as_object_mut().and_then(|schema| schema.shift_remove("default"));
        if let Some(default) = default.filter(|_| !field.about.contains("if left out")) {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            schema["description"] = json!(format!("{}; {default} if left out", field.about));
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<_> = fields.iter().filter(|field| !field.optional).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A field's value, with its bounds, default and example.
fn value_schema(field: &Field, schemas: &mut Map<String, Value>) -> Value {
    let bounds = field.bounds;
    let (mut schema, least, most, example) = match field.kind {
        ValueKind::Amount => (json!({ "type": "string", "pattern": AMOUNT_PATTERN }), "", "", json!("30.00")),
        ValueKind::Text => {
            let example = if bounds.example.is_some() { Value::Null } else { text_example(field) };
            (json!({ "type": "string" }), "minLength", "maxLength", example)
        }
        ValueKind::Integer => {
            let example = bounds.default.map_or_else(
                || json!(bounds.range.map_or(1_000, |(min, max)| 1_000.clamp(min, max))),
                |default| serde_json::from_str(default).expect("a default is JSON"),
            );
            (json!({ "type": "integer", "format": "int64" }), "minimum", "maximum", example)
        }
        ValueKind::Flag => (json!({ "type": "boolean" }), "", "", json!(false)),
        ValueKind::Time => (json!({ "type": "string", "format": "date-time" }), "", "", json!("2026-01-31T12:00:00Z")),
        ValueKind::Object => {
            let schema = json!({
                "type": "object", "maxProperties": 20, "propertyNames": { "minLength": 1, "maxLength": 40 },
                "additionalProperties": { "type": "string", "maxLength": 500 },
            });
            (schema, "minProperties", "maxProperties", json!({ "shop": "north" }))
        }
        ValueKind::Texts => {
            let items = json!({ "type": "string", "pattern": LABEL_PATTERN.replace("{0,255}", "{1,255}") });
            (json!({ "type": "array", "items": items }), "minItems", "maxItems", json!(["wallet/alice", "wallet/bob"]))
        }
        ValueKind::Objects(fields) => {
            let name = format!("New{}", pascal(field.name.trim_end_matches('s')));
            let row = object_schema(fields, schemas);
            schemas.insert(name.clone(), row);
            let list = json!({ "type": "array", "items": { "$ref": format!("{NAMED}{name}") } });
            (list, "minItems", "maxItems", Value::Null)
        }
    };
    schema["description"] = json!(field.about);
    if let Some((min, max)) = bounds.range {
        if min > 0 || field.kind == ValueKind::Integer {
            schema[least] = json!(min);
        }
        schema[most] = json!(max);
    }
    if !bounds.words.is_empty() {
        schema["enum"] = json!(bounds.words);
    }
    if let Some(pattern) = bounds.pattern {
        schema["pattern"] = json!(pattern);
    }
    if bounds.is_cleared_by_null {
        assert!(bounds.words.is_empty(), "a generator makes three types of words and null");
        schema["type"] = json!([schema["type"], "null"]);
    }
    if let Some(default) = bounds.default {
        schema["default"] = serde_json::from_str(default).expect("a default is JSON");
    }
    let example = bounds.example.map_or(example, |example| serde_json::from_str(example).expect("an example is JSON"));
    if !example.is_null() {
        schema["examples"] = json!([example]);
    }
    schema
}

/// An example of text, by the name of its field.
fn text_example(field: &Field) -> Value {
    match field.name {
        _ if !field.bounds.words.is_empty() => json!(field.bounds.words[0]),
        "reference" => json!("order-1001"),
        "after" => json!("6f663d656e74726965732661667465723d34"),
        "to" => json!("bob"),
        "coupon" => json!("7K2Q"),
        "user" | "by" => json!("alice"),
        "kind" | "coupon_kind" => json!("1"),
        "holder" => json!("worker-1"),
        "secret" => json!("0123456789abcdef"),
        "reason" => json!("worker-1 hangs"),
        "note" => json!("app"),
        "prefix" => json!("nightly"),
        "since" => json!("3f8a51c09be27d6413f0a8c5e9b2d7460f1c3a5e7b9d0e2f4a6c8b0d1e3f5a79"),
        "earned_zh" => json!("同时您获取了一张优惠券"),
        "earned_en" => json!("and you have earned a coupon"),
        other => panic!("the field {other} needs an example: such_as"),
    }
}

fn batch_item_schema(schemas: &mut Map<String, Value>) -> Value {
    let fields = [ITEM, wallets::PAY].concat();
    let fields: Vec<Field> = fields.into_iter().map(|field| Field { optional: field.name != "op", ..field }).collect();
    let mut schema = object_schema(&fields, schemas);
    schema["description"] = json!(
        "One money verb. It takes the fields of the single request, and `user`; a refund takes `entry`, a capture and a void `hold`."
    );
    schema
}

/// The answers that are not refusals, by status.
fn good_responses(
    route: &Route,
    operation: &Operation,
    examples: &Examples,
    generator: &mut SchemaGenerator,
    schemas: &mut Map<String, Value>,
) -> Map<String, Value> {
    let mut content: Map<String, Value> = Map::new();
    if let Some((name, schema)) = &operation.answer {
        let described = with_code_and_msg(schema(generator).to_value());
        schemas.insert(name.clone(), described);
        content.insert("application/json".to_owned(), json!({ "schema": { "$ref": format!("{NAMED}{name}") } }));
    }
    for file in operation.files {
        let schema = match *file {
            "application/json" => json!({ "type": "object", "additionalProperties": true }),
            "application/vnd.sqlite3" => json!({ "type": "string", "format": "binary", "contentEncoding": "binary" }),
            _ => json!({ "type": "string" }),
        };
        content.insert((*file).to_owned(), json!({ "schema": schema }));
    }
    let statuses =
        if route.status == 201 && route.path.starts_with("/v1/locks") { vec![200, 201] } else { vec![route.status] };
    let response = |status: u16| {
        let mut content = content.clone();
        for (content_type, described) in &mut content {
            if let Some(example) = examples.answer(operation.route, status, content_type) {
                described["example"] = example.clone();
            }
        }
        let about = if statuses.len() > 1 && status == 200 { "the same grant again" } else { route.about };
        let mut response = json!({ "description": about, "headers": good_headers(route, status) });
        if !content.is_empty() {
            response["content"] = Value::Object(content);
        }
        (status.to_string(), response)
    };
    statuses.iter().map(|status| response(*status)).collect()
}

/// The object with the members that every answer has.
fn with_code_and_msg(mut schema: Value) -> Value {
    let mut properties = json!({
        "code": { "type": "integer", "description": "The HTTP status." },
        "msg": { "type": "string", "description": "One sentence for people, in the language of `Accept-Language`." },
    });
    let object = schema.as_object_mut().expect("an answer is an object");
    object.shift_remove("title");
    if let (Some(all), Some(own)) = (properties.as_object_mut(), object.get_mut("properties")) {
        all.append(own.as_object_mut().expect("properties are an object"));
    }
    let mut required = vec![json!("code"), json!("msg")];
    required.extend(object.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    object.insert("properties".to_owned(), properties);
    object.insert("required".to_owned(), json!(required));
    schema
}

/// Leaves out what generators stumble over: formats of unsigned numbers, titles.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                members.insert("format".to_owned(), json!("int64"));
            }
            members.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn good_headers(route: &Route, status: u16) -> Value {
    let mut headers = json!({});
    let mut add = |name: &str| headers[name] = json!({ "$ref": format!("#/components/headers/{name}") });
    add("X-Request-Id");
    let of_locks = route.path.starts_with("/v1/locks");
    if takes(route, "Idempotency-Key") {
        add("Idempotency-Replayed");
    }
    if status == 201 {
        add("Location");
    }
    if route.method == "POST" && matches!(route.handler, Handler::Submits(_)) && of_locks {
        add("Lock-Token");
    }
    if route.types == TABLE_TYPES {
        add("Link");
    }
    if matches!(route.path, "/v1/tiers" | "/v1/coupon-kinds") {
        add("ETag");
    }
    if route.path == "/v1/backup" {
        add("Content-Disposition");
    }
    headers
}

fn response_headers() -> Value {
    let header = |about: &str, example: &str| json!({ "description": about, "schema": { "type": "string" }, "example": example });
    json!({
        "X-Request-Id": header("the id of the request: its own, or else one of the server's", "5c1f09ab00000017"),
        "Idempotency-Replayed": header("`true` if the answer was given before, under the same idempotency key", "true"),
        "Location": header("the path of the thing that was made", "/v1/tokens/tok:3f8a51c09be27d64"),
        "Lock-Token": header("the lock token of the grant", "lk1.0123456789abcdef.17.3f8a51c09be27d6413f0a8c5e9b2d746"),
        "Link": header("the next page of a list that was read as a file with `limit`", "</v1/entries?after=6f66&limit=2>; rel=\"next\""),
        "ETag": header("the tag of these rows, for `If-Match`", "\"3f8a51c09be27d6413f0a8c5e9b2d746\""),
        "Retry-After": header("seconds after which to try again", "1"),
        "WWW-Authenticate": header("the way to authenticate", "Bearer"),
        "Content-Disposition": header("a name for the file", "attachment; filename=\"cashbox.db\""),
    })
}
