//! Lists: `limit`, and a cursor that says where to go on and keeps the filters it was made under.

use super::conn::Response;
use super::fields::Fields;
use super::reply::Reply;
use super::words::Language;
use crate::error::Error;
use crate::secret::hex;
use serde::Serialize;
use std::collections::BTreeMap;

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 1_000;

/// Where a list begins, and under which filters.
pub struct Page {
    /// How many rows at most.
    pub limit: usize,
    /// Behind which row it begins, in words of the list's own.
    pub after: Option<String>,
    kept: BTreeMap<String, String>,
}

/// Reads `limit` and `after`, and puts the filters that the cursor keeps (`of` names the list) among the query's.
pub fn page(query: &mut Fields, of: &str, filters: &[&'static str]) -> Result<Page, Error> {
    let limit = query.integer("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT) as usize;
    let cursor = query.text("after")?.map(|cursor| decode(&cursor).ok_or_else(not_a_cursor)).transpose()?;
    let mut after = None;
    if let Some(mut cursor) = cursor {
        if cursor.remove("of").as_deref() != Some(of) {
            return Err(not_a_cursor());
        }
        after = cursor.remove("after");
        for filter in filters {
            let kept = cursor.get(*filter);
            if query.has(filter) && query.peek(filter) != kept.map(String::as_str) {
                let detail = format!("the cursor was made under another {filter}; leave {filter} out, or start anew");
                return Err(Error::invalid(detail));
            }
            if let Some(kept) = kept {
                query.put_default(filter, kept);
            }
        }
    }
    let mut kept = BTreeMap::from([("of".to_owned(), of.to_owned())]);
    for filter in filters {
        if let Some(value) = query.peek(filter) {
            kept.insert((*filter).to_owned(), value.to_owned());
        }
    }
    Ok(Page { limit, after, kept })
}

impl Page {
    /// The cursor of a list that goes on behind `after`.
    pub fn next(&self, after: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&self.kept).append_pair("after", after);
        hex(form.finish().as_bytes())
    }

    /// The list as it is answered; `next` is the row to go on behind, if there is more.
    pub fn answer<T: Serialize>(&self, language: Language, data: Vec<T>, next: Option<String>) -> Response {
        let next = next.map(|after| self.next(&after));
        Reply::ok(language.pick("成功", "ok"), &Rows { data, next })
    }
}

#[derive(Serialize)]
struct Rows<T> {
    data: Vec<T>,
    next: Option<String>,
}

fn not_a_cursor() -> Error {
    Error::invalid("after is the `next` of an answer of this very list")
}

fn decode(cursor: &str) -> Option<BTreeMap<String, String>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = cursor.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    Some(form_urlencoded::parse(&bytes?).into_owned().collect())
}
