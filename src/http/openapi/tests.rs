//! `openapi.json` is the document of today.

use super::document::document;
use serde_json::Value;
use std::path::Path;

/// The document as text: one line for each operation and each named thing, so that a change is a line in a diff.
fn lines(document: &Value) -> String {
    /// `depth`: the levels whose members get a line each.
    fn put(out: &mut String, value: &Value, depth: usize) {
        match value {
            Value::Object(members) if depth > 0 && !members.is_empty() => {
                out.push('{');
                for (place, (name, member)) in members.iter().enumerate() {
                    *out += if place == 0 { "" } else { ",\n" };
                    *out += &format!("{}:", Value::String(name.clone()));
                    let is_large = ["paths", "components"].contains(&name.as_str());
                    put(out, member, if is_large { 2 } else { depth - 1 });
                }
                *out += "\n}";
            }
            other => *out += &other.to_string(),
        }
    }
    let mut out = String::new();
    put(&mut out, document, 1);
    out + "\n"
}

#[test]
fn kept_document_is_current() {
    let now = lines(&document());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/openapi/openapi.json");
    if std::env::var("CASHBOX_GOLDEN").is_ok_and(|value| value == "write") {
        return std::fs::write(path, now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let differs = now.lines().find(|line| !kept.lines().any(|one| one == *line));
    assert!(
        kept == now,
        "openapi.json differs; if on purpose: CASHBOX_GOLDEN=write cargo test --lib openapi\n{}",
        differs.unwrap_or_default()
    );
}
