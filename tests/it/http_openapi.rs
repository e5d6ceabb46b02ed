//! `/openapi.json` is true: to the table of routes, and to every answer that any test here has read.

use super::server::{Answer, Server, described_path, description, fields};
use cashbox::internals::http::endpoint::RouteBody;
use cashbox::internals::http::routes::ROUTES;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Fails if the description says nothing of such an answer, or something else.
#[track_caller]
pub fn hold_against_its_description(method: &str, target: &str, answer: &Answer) {
    let sent = format!("{method} {target}: {} {}", answer.head, String::from_utf8_lossy(&answer.body));
    let Some(path) = described_path(method, target) else {
        assert!(method == "OPTIONS" || (400..600).contains(&answer.status), "what is not described is refused: {sent}");
        return;
    };
    let operation = &description()["paths"][&path][method.to_lowercase().replace("head", "get")];
    let range = format!("{}XX", answer.status / 100);
    let responses = &operation["responses"];
    let response = responses.get(answer.status.to_string()).or_else(|| responses.get(range));
    let response = response.unwrap_or_else(|| panic!("the status is not described: {sent}"));
    let Some(content) = response.get("content") else {
        assert!(answer.body.is_empty() && answer.header("content-type").is_none(), "there is no body: {sent}");
        return;
    };
    let content_type = answer.header("content-type").unwrap_or_else(|| panic!("there is a type: {sent}"));
    let content_type = content_type.split(';').next().unwrap();
    let content = content.get(content_type).unwrap_or_else(|| panic!("the type is not described: {sent}"));
    if method != "HEAD"
        && content_type.ends_with("json")
        && !content_type.contains("ndjson")
        && let Err(why) = fits(&answer.json, &content["schema"])
    {
        panic!("{why}: {sent}");
    }
}

/// As much of JSON Schema as the description uses.
fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').ok_or(format!("{reference} points elsewhere"))?;
        return fits(value, description().pointer(pointer).ok_or(format!("{reference} is not there"))?);
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Err(format!("{value} is not one of {values:?}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one],
        _ => Vec::new(),
    };
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    };
    if !types.is_empty() && !types.into_iter().any(is) {
        return Err(format!("{value} is not of type {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        value.get(name).ok_or_else(|| format!("{name} is missing"))?;
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        value.get(name).map_or(Ok(()), |value| fits(value, schema).map_err(|why| format!("{name}: {why}")))?;
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
        fits(item, &schema["items"])?;
    }
    Ok(())
}

#[test]
fn description_has_every_route_and_no_other() {
    let routes: BTreeSet<String> =
        ROUTES.iter().map(|route| format!("{} {}", route.method, route.path.replace("...}", "}"))).collect();
    let mut described = BTreeSet::new();
    for (path, operations) in description()["paths"].as_object().unwrap() {
        for method in fields(operations) {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(described, routes);
}

#[test]
fn described_operations_have_unique_names_and_inputs() {
    let mut names = BTreeSet::new();
    for route in ROUTES {
        let operation = &description()["paths"][route.path.replace("...}", "}")][route.method.to_lowercase()];
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{operation}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
        let parameters = operation["parameters"].as_array().unwrap();
        let named = |place: &str| -> Vec<&str> {
            parameters.iter().filter(|one| one["in"] == place).filter_map(|one| one["name"].as_str()).collect()
        };
        assert_eq!(named("path").len(), route.path.matches('{').count(), "{operation}");
        assert_eq!(named("query"), route.query.iter().map(|field| field.name).collect::<Vec<_>>());
        if let RouteBody::Fields(fields) = route.body {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            for field in fields {
                assert!(schema["properties"][field.name].is_object(), "{} in {operation}", field.name);
            }
        }
    }
}

#[test]
fn description_of_batch_items_is_complete() {
    let batch = &description()["paths"]["/v1/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let described: BTreeSet<&str> = fields(&batch["items"]["properties"]).into_iter().collect();
    let taken = ["op", "user", "entry", "key", "amount", "money", "to", "coupon", "reference", "metadata"];
    assert_eq!(described, BTreeSet::from(taken));
    assert_eq!(batch["maxItems"], 10_000);
}

#[test]
fn health_and_problems_alone_are_described_without_token() {
    for route in ROUTES {
        let operation = &description()["paths"][route.path.replace("...}", "}")][route.method.to_lowercase()];
        let open = operation["security"] == json!([]);
        assert_eq!(open, ["/healthz", "/problems/{name}"].contains(&route.path), "{} {}", route.method, route.path);
    }
}

#[test]
fn description_needs_any_access_token() {
    let server = Server::start();
    server.anonymous().get("/openapi.json").refuses(401, "unauthenticated");
    let document = server.user("alice").get("/openapi.json").is(200);
    assert!(document.text("openapi").starts_with("3.1"));
    assert_eq!(&document.json, description(), "it is the same on every server");
    server.anonymous().get("/metrics").refuses(401, "unauthenticated");
    let metrics = server.user("alice").get("/metrics").is(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
}

#[test]
fn validator_of_these_tests_can_refuse() {
    assert!(fits(&json!({ "code": 200, "msg": "ok" }), &json!({ "$ref": "#/components/schemas/Answer" })).is_ok());
    assert!(fits(&json!({ "code": "200", "msg": "ok" }), &json!({ "$ref": "#/components/schemas/Answer" })).is_err());
    assert!(fits(&json!({ "code": 402 }), &json!({ "$ref": "#/components/schemas/Problem" })).is_err());
    assert!(fits(&json!({ "a": 1 }), &json!({ "$ref": "#/components/schemas/Nothing" })).is_err());
}
