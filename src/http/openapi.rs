//! `GET /openapi.json`: OpenAPI 3.1, made from the route table, so that it is true to the routes.

use super::auth::Access;
use super::endpoint::{Route, RouteBody};
use super::fields::{Field, ValueKind};
use super::wallets;
use crate::error::ErrorName;
use serde_json::{Map, Value, json};

/// The whole document.
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = route.path.replace("...}", "}");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "cashbox",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Wallets, coupons and locks in one file. Amounts are text with two decimals. Every answer has `code` and `msg`; \
                            errors are application/problem+json with a stable `error`.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "accessToken": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Answer": answer_schema(), "Problem": problem_schema() },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = path_parameters(route.path);
    parameters.extend(route.query.iter().map(|field| parameter("query", field)));
    if matches!(route.body, RouteBody::Fields(_) | RouteBody::Batch) {
        parameters.extend(headers(route));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.about,
        "parameters": parameters,
        "responses": responses(route),
        "security": if route.access == Access::Anyone { json!([]) } else { json!([{ "accessToken": [] }]) },
        "x-roles": route.access.roles().iter().map(|role| role.as_str()).collect::<Vec<_>>(),
    });
    match route.body {
        RouteBody::Empty => {}
        RouteBody::Fields(fields) => operation["requestBody"] = body(fields),
        RouteBody::Batch => operation["requestBody"] = batch_body(),
    }
    operation
}

/// `post_v1_wallets_user_recharge`: unique, because method and path are.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(route.method.to_ascii_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| json!({ "name": name.trim_end_matches('.'), "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
}

fn parameter(place: &str, field: &Field) -> Value {
    let mut parameter = json!({
        "name": field.name, "in": place, "required": !field.optional, "description": field.about, "schema": schema(field.kind),
    });
    if field.kind == ValueKind::Object {
        parameter["style"] = json!("deepObject"); // metadata[NAME]=VALUE
        parameter["explode"] = json!(true);
    }
    parameter
}

/// The headers that a change takes.
fn headers(route: &Route) -> Vec<Value> {
    let header = |name: &str, required: bool, about: &str| json!({ "name": name, "in": "header", "required": required, "description": about, "schema": { "type": "string" } });
    let key = "1 to 255 visible characters: the same key and request get the same answer, and one effect";
    let tokens = "the lock tokens that prove the caller's locks, separated by commas";
    let prefer = "wait=SECONDS: how long to wait for a lock that another client holds; 10 if left out, at most 30";
    let is_of_locks = route.path.starts_with("/v1/locks");
    match route.method {
        "PATCH" | "DELETE" if is_of_locks => vec![header("Lock-Token", true, "the token of the lease")],
        "POST" if route.path.ends_with("/revoke") => vec![header("Idempotency-Key", false, key)],
        "POST" if is_of_locks || route.path == "/v1/tokens" => Vec::new(), // their answers hold secrets, and are not stored
        _ => vec![
            header("Idempotency-Key", false, key),
            header("Lock-Token", false, tokens),
            header("Prefer", false, prefer),
        ],
    }
}

fn schema(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Amount => json!({ "type": ["string", "number"], "pattern": "^[0-9]{1,13}([.][0-9]{1,2})?$" }),
        ValueKind::Text => json!({ "type": "string" }),
        ValueKind::Integer => json!({ "type": "integer" }),
        ValueKind::Flag => json!({ "type": "boolean" }),
        ValueKind::Time => json!({ "type": "string", "format": "date-time" }),
        ValueKind::Object => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        ValueKind::List => json!({ "type": "array" }),
    }
}

fn body(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = schema(field.kind);
            schema["description"] = json!(field.about);
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> = fields.iter().filter(|field| !field.optional).map(|field| field.name).collect();
    let mut schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    if fields.iter().any(|field| field.name == "amount") {
        schema["properties"]["money"] = old_amount();
        schema["required"] = required.iter().filter(|name| **name != "amount").copied().collect();
        if required.contains(&"amount") {
            schema["oneOf"] = json!([{ "required": ["amount"] }, { "required": ["money"] }]);
        }
    }
    json!({
        "required": !required.is_empty(),
        "content": {
            "application/json": { "schema": schema },
            "application/x-www-form-urlencoded": { "schema": schema },
        },
    })
}

fn old_amount() -> Value {
    let mut money = schema(ValueKind::Amount);
    money["description"] = json!("the old name of amount");
    money["deprecated"] = json!(true);
    money
}

fn batch_body() -> Value {
    let mut properties: Map<String, Value> = Map::new();
    for field in [wallets::PAY, wallets::TRANSFER].concat() {
        properties.insert(field.name.to_owned(), schema(field.kind));
    }
    let more = json!({
        "op": { "enum": ["recharge", "withdraw", "pay", "transfer", "refund"] },
        "user": { "type": "string" },
        "entry": { "type": "integer" },
        "key": { "type": "string" },
    });
    properties.extend(more.as_object().cloned().unwrap_or_default());
    properties.insert("money".to_owned(), old_amount());
    let item = json!({ "type": "object", "properties": properties, "required": ["op"], "additionalProperties": false });
    json!({
        "required": true,
        "content": {
            "application/json": { "schema": { "type": "array", "items": item, "maxItems": 10_000 } },
            "application/x-ndjson": { "schema": { "type": "string" } },
        },
    })
}

/// The good response, and the errors that any request may get; a rule may give others.
fn responses(route: &Route) -> Value {
    let content = |schema: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } });
    let file = json!({ "schema": { "type": "string" } });
    let good = match route.status {
        204 => json!({ "description": "done" }),
        _ if route.path == "/metrics" => {
            json!({ "description": "ok", "content": { "text/plain": file } })
        }
        _ if route.path == "/problems/{name}" => {
            json!({ "description": "ok", "content": { "application/json": content("Answer"), "text/plain": file } })
        }
        _ if route.path == "/openapi.json" => {
            json!({ "description": "ok", "content": { "application/json": { "schema": { "type": "object" } } } })
        }
        _ if route.path == "/v1/backup" => {
            let database = json!({ "schema": { "type": "string", "format": "binary" } });
            json!({ "description": "an SQLite database", "content": { "application/vnd.sqlite3": database } })
        }
        _ if route.path == "/v1/export" => {
            json!({ "description": "records, or a table", "content": { "application/x-ndjson": file, "text/csv": file } })
        }
        _ if route.path.ends_with("/entries") => {
            json!({ "description": "a page; or a file of all entries", "content": {
                "application/json": content("Answer"), "text/csv": file, "application/x-ndjson": file,
            } })
        }
        _ => json!({ "description": "ok", "content": { "application/json": content("Answer") } }),
    };
    let problem = json!({ "description": "a problem", "content": { "application/problem+json": content("Problem") } });
    let mut responses = json!({ route.status.to_string(): good, "4XX": problem, "5XX": problem });
    if route.status == 201 && route.path.starts_with("/v1/locks") {
        let same =
            json!({ "description": "the same grant again", "content": { "application/json": content("Answer") } });
        responses["200"] = same;
    }
    responses
}

fn answer_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "code": { "type": "integer" }, "msg": { "type": "string" } },
        "required": ["code", "msg"],
    })
}

fn problem_schema() -> Value {
    let names: Vec<_> = ErrorName::ALL.iter().map(|name| name.as_str()).collect();
    let mut statuses: Vec<_> = ErrorName::ALL.iter().map(|name| name.status()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "enum": statuses },
            "detail": { "type": "string" },
            "error": { "enum": names },
            "code": { "enum": statuses },
            "msg": { "type": "string" },
        },
        "required": ["type", "title", "status", "detail", "error", "code", "msg"],
    })
}
