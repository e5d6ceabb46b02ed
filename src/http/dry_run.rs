//! Dry runs: the query `dry_run=true`, and their answers, in which all that would be newly made is null.

use super::conn::{Body, Response};
use super::fields::{Field, ValueKind};
use super::response;
use serde_json::Value;

/// The field of the query.
pub(crate) const DRY_RUN: Field =
    Field::optional("dry_run", ValueKind::Flag, "true: answer what would be answered now, and change nothing")
        .or("false");
/// The query of a change that can be tried.
pub(crate) const QUERY: &[Field] = &[DRY_RUN];

/// The answer to a dry run: marked, and without the ids, hashes and codes of what was taken back. A repeat is answered as it
/// was recorded, and only marked.
pub(crate) fn mark(response: Response, replayed: bool) -> Response {
    let Body::Bytes(bytes) = &response.body else { return response };
    let mut answer: Value = serde_json::from_slice(bytes).expect("the answer to a change is JSON");
    if !replayed {
        let results = answer.get_mut("results").and_then(Value::as_array_mut);
        results.into_iter().flatten().for_each(clear_made);
        clear_made(&mut answer);
    }
    answer["dry_run"] = true.into();
    Response { body: response::json(response.status, &answer).body, ..response }
}

/// Sets to null what this answer's change would make: its entries, the hold that an entry begins, the coupon that it grants.
fn clear_made(answer: &mut Value) {
    let entry = answer["entry"]["id"].clone();
    let code = answer["coupon"]["code"].clone();
    let made = [("/entry/hold", &entry), ("/hold/id", &entry), ("/entry/coupon", &code)];
    for (place, own) in made {
        if let Some(value) = answer.pointer_mut(place)
            && value == own
        {
            *value = Value::Null;
        }
    }
    for place in ["/entry/id", "/entry/hash", "/released/id", "/released/hash", "/coupon/code"] {
        answer.pointer_mut(place).into_iter().for_each(|value| *value = Value::Null);
    }
}
