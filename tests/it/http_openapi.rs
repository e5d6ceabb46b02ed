//! `/openapi.json` is true: to the table of routes, and to every answer that any test here has read.

use super::server::{Answer, Server, described_path, description, fields};
use crate::shell::Place;
use cashbox::internals::http::endpoint::RouteBody;
use cashbox::internals::http::routes::ROUTES;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

/// Headers that any answer may have: of the connection, of caches and of pages of other origins.
const HEADERS_OF_ALL: [&str; 8] =
    ["server", "content-type", "content-length", "transfer-encoding", "connection", "date", "cache-control", "vary"];

/// Fails if the description says nothing of such an answer, or something else.
#[track_caller]
pub fn hold_against_its_description(method: &str, target: &str, answer: &Answer) {
    let sent = || format!("{method} {target}: {} {}", answer.head, String::from_utf8_lossy(&answer.body));
    let Some(path) = described_path(method, target) else {
        let is_control = target.starts_with("/test/"); // of a server for tests; `test_mode` sees that no other has them
        assert!(
            method == "OPTIONS" || is_control || (400..600).contains(&answer.status),
            "not described, so refused: {}",
            sent()
        );
        return;
    };
    let operation = &description()["paths"][&path][method.to_lowercase().replace("head", "get")];
    let Some(response) = operation["responses"].get(answer.status.to_string()).map(resolved) else {
        panic!("the status is not described: {}", sent());
    };
    for (name, _) in answer.head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        let described = response["headers"].as_object().into_iter().flatten();
        let name = name.to_lowercase();
        let is_described = described.map(|(one, _)| one.to_lowercase()).any(|one| one == name);
        let is_common = HEADERS_OF_ALL.contains(&&*name) || name.starts_with("access-control-");
        assert!(is_described || is_common, "the header {name} is not described: {}", sent());
    }
    let Some(content) = response.get("content") else {
        assert!(answer.body.is_empty() && answer.header("content-type").is_none(), "there is no body: {}", sent());
        return;
    };
    let content_type = answer.header("content-type").unwrap_or_else(|| panic!("there is a type: {}", sent()));
    let content_type = content_type.split(';').next().unwrap();
    let content = content.get(content_type).unwrap_or_else(|| panic!("the type is not described: {}", sent()));
    if method != "HEAD" && content_type.ends_with("json") && !content_type.contains("ndjson") {
        let reference = content["schema"]["$ref"].as_str();
        if let Err(why) = reference.map_or(Ok(()), |reference| fits(&answer.json, reference)) {
            panic!("{why}: {}", sent());
        }
    }
}

/// The value, or the one that it refers to.
fn resolved(value: &Value) -> &Value {
    let pointer = value["$ref"].as_str().map(|reference| reference.strip_prefix('#').expect("it is in the document"));
    pointer.map_or(value, |pointer| description().pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not there")))
}

/// Returns whether the value is valid under the schema of that reference. Members that are not described are refused.
fn fits(value: &Value, reference: &str) -> Result<(), String> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let known = VALIDATORS.lock().unwrap().get(reference).cloned();
    let validator = known.unwrap_or_else(|| {
        let schema = json!({ "$ref": reference, "components": { "schemas": closed_schemas() } });
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let validator = Arc::new(options.build(&schema).unwrap_or_else(|error| panic!("{reference}: {error}")));
        VALIDATORS.lock().unwrap().insert(reference.to_owned(), Arc::clone(&validator));
        validator
    });
    validator.validate(value).map_err(|error| format!("{} of {reference}: {error}", error.instance_path()))
}

/// The schemas of the description, each closed to members that it does not name.
fn closed_schemas() -> &'static Value {
    fn close(schema: &mut Value) {
        if let Some(members) = schema.as_object_mut() {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        } else if let Some(items) = schema.as_array_mut() {
            items.iter_mut().for_each(close);
        }
    }
    static CLOSED: LazyLock<Value> = LazyLock::new(|| {
        let mut schemas = description()["components"]["schemas"].clone();
        schemas.as_object_mut().unwrap().values_mut().for_each(close);
        schemas
    });
    &CLOSED
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
            parameters
                .iter()
                .map(resolved)
                .filter(|one| one["in"] == place)
                .filter_map(|one| one["name"].as_str())
                .collect()
        };
        assert_eq!(named("path").len(), route.path.matches('{').count(), "{operation}");
        assert_eq!(named("query"), route.query.iter().map(|field| field.name).collect::<Vec<_>>());
        if let RouteBody::Fields(fields) = route.body {
            let schema = resolved(&operation["requestBody"]["content"]["application/json"]["schema"]);
            for field in fields {
                assert!(schema["properties"][field.name].is_object(), "{} in {operation}", field.name);
            }
        }
    }
}

#[test]
fn description_of_batch_items_is_complete() {
    let batch = &description()["paths"]["/v1/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let described: BTreeSet<&str> = fields(&resolved(&batch["items"])["properties"]).into_iter().collect();
    let taken = [
        "op",
        "user",
        "entry",
        "hold",
        "key",
        "amount",
        "to",
        "coupon",
        "expires_in_s",
        "final",
        "reference",
        "metadata",
    ];
    assert_eq!(described, BTreeSet::from(taken));
    assert_eq!(batch["maxItems"], 10_000);
}

#[test]
fn open_routes_alone_are_described_without_token() {
    for route in ROUTES {
        let operation = &description()["paths"][route.path.replace("...}", "}")][route.method.to_lowercase()];
        let open = operation["security"] == json!([]);
        assert_eq!(
            open,
            ["/healthz", "/problems/{name}", "/openapi.json"].contains(&route.path),
            "{} {}",
            route.method,
            route.path
        );
    }
}

#[test]
fn description_needs_no_access_token_and_no_server() {
    let server = Server::start();
    let document = server.anonymous().get("/openapi.json").is(200);
    assert!(document.text("openapi").starts_with("3.1"));
    assert_eq!(&document.json, description(), "it is the same on every server");
    let place = Place::new();
    let printed = place.run("openapi");
    assert_eq!(printed.out.as_bytes(), document.body, "the command prints the same");
    assert!(!place.db().exists(), "it opens no file");
    server.anonymous().get("/metrics").refuses(401, "unauthenticated");
    let metrics = server.user("alice").get("/metrics").is(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
}

/// Generators need names that are there, bodies without alternatives, amounts that are text.
#[test]
fn description_suits_generators() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(description(), &mut found);
    let is_there = |reference: &&str| description().pointer(reference.trim_start_matches('#')).is_some();
    assert!(found.len() > 500 && found.iter().all(is_there), "each reference leads somewhere");
    for (name, schema) in description()["components"]["schemas"].as_object().unwrap() {
        assert!(schema["type"].is_string(), "{name} has one type");
        if name.ends_with("Request") || name.starts_with("New") && name != "NewAccessToken" || name == "BatchItem" {
            assert!(schema.get("oneOf").is_none() && schema.get("anyOf").is_none(), "{name} has no alternatives");
            let amount = &schema["properties"]["amount"];
            assert!(amount.is_null() || amount["type"] == "string" && amount["pattern"].is_string(), "{name}");
        }
    }
    for (path, operations) in description()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().unwrap().iter().map(resolved) {
                assert!(parameter["description"].is_string(), "{method} {path} {parameter}");
                assert!(!parameter["example"].is_null(), "{method} {path} {parameter}");
            }
        }
    }
}

/// The examples come from a live run, so they are answers as well.
#[test]
fn examples_fit_their_schemas() {
    let mut count = 0;
    let mut check = |content: &Value| {
        for (_, described) in content.as_object().into_iter().flatten() {
            if let (Some(example), Some(reference)) = (described.get("example"), described["schema"]["$ref"].as_str()) {
                fits(example, reference).unwrap_or_else(|why| panic!("{why}: {example}"));
                count += 1;
            }
        }
    };
    for operations in description()["paths"].as_object().unwrap().values() {
        for (_, operation) in operations.as_object().unwrap() {
            check(&operation["requestBody"]["content"]);
            for (_, response) in operation["responses"].as_object().unwrap() {
                check(&response["content"]);
            }
        }
    }
    for response in description()["components"]["responses"].as_object().unwrap().values() {
        check(&response["content"]);
    }
    assert!(count > 60, "{count} examples");
}

#[test]
fn validator_of_these_tests_can_refuse() {
    let (token, problem) = ("#/components/schemas/CouponKindList", "#/components/schemas/InsufficientFunds");
    assert_eq!(fits(&json!({ "code": 200, "msg": "ok", "data": [], "next": null }), token), Ok(()));
    assert!(fits(&json!({ "code": "200", "msg": "ok", "data": [], "next": null }), token).is_err());
    assert!(fits(&json!({ "code": 200, "msg": "ok", "data": [] }), token).is_err());
    assert!(fits(&json!({ "code": 200, "msg": "ok", "data": [], "next": null, "more": 1 }), token).is_err());
    assert!(fits(&json!({ "code": 402 }), problem).is_err());
}
