//! The one table: method, path, who may, what it takes, who handles it. What is not in it is not there; the
//! description of the API (`/openapi.json`) is made from it.

use super::auth::Access;
pub use super::endpoint::{BODY_MAX, Body, Route};
use super::fields::Field;
use super::request::{Context, HandlerResult};
use super::{batch, coupons, file, locks, look, money, system, tokens, wallet};
use crate::error::{Error, ErrorName};
use std::sync::LazyLock;

const fn get(
    path: &'static str,
    access: Access,
    query: &'static [Field],
    about: &'static str,
    handler: fn(&mut Context<'_>) -> HandlerResult,
) -> Route {
    Route { method: "GET", path, access, query, body: Body::None, status: 200, about, handler }
}

const fn change(
    method: &'static str,
    path: &'static str,
    access: Access,
    body: &'static [Field],
    about: &'static str,
    handler: fn(&mut Context<'_>) -> HandlerResult,
) -> Route {
    Route { method, path, access, query: &[], body: Body::Fields(body), status: 200, about, handler }
}

use Access::*;

/// Everything that can be asked. Of paths that both match, the first is meant.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    get("/wallet", See, wallet::WHOSE, "the caller's wallet", wallet::show),
    Route { query: wallet::WHOSE, ..change("POST", "/wallet", Move, wallet::MOVE, "recharge it", wallet::recharge) },
    Route { query: wallet::WHOSE, ..change("PUT", "/wallet", Move, wallet::MOVE, "withdraw from it", wallet::withdraw) },

    get("/v1/wallets", SeeAll, look::LIST, "all wallets", look::wallets),
    get("/v1/wallets/{user}", See, look::AS_OF, "one wallet", look::wallet),
    change("POST", "/v1/wallets/{user}/recharge", Move, money::RECHARGE, "money into a wallet; earns coupons", money::recharge),
    change("POST", "/v1/wallets/{user}/withdraw", Move, money::RECHARGE, "money out of a wallet", money::withdraw),
    change("POST", "/v1/wallets/{user}/pay", Move, money::PAY, "money for something bought", money::pay),
    change("POST", "/v1/wallets/{user}/transfer", Move, money::TRANSFER, "money to another wallet", money::transfer),
    get("/v1/wallets/{user}/entries", See, look::ENTRIES, "the entries of a wallet", look::entries_of_wallet),
    get("/v1/wallets/{user}/coupons", See, look::LIST, "the coupons of a user", coupons::of_user),
    change("POST", "/v1/wallets/{user}/coupons", Staff, coupons::GRANT, "grant a coupon", coupons::grant),

    get("/v1/entries", SeeAll, look::ENTRIES, "all entries", look::entries),
    get("/v1/entries/{id}", See, &[], "one entry", look::entry),
    change("POST", "/v1/entries/{id}/refund", Staff, money::REFUND, "an entry's money back", money::refund),

    get("/v1/coupons/{code}", See, &[], "one coupon", coupons::one),
    get("/v1/coupons/{code}/quote", See, coupons::QUOTE, "what a payment would cost with it", coupons::quote),
    get("/v1/tiers", SeeAll, &[], "the recharge tiers", coupons::tiers),
    change("PUT", "/v1/tiers", Admin, coupons::TIERS, "other recharge tiers", coupons::set_tiers),
    get("/v1/coupon-kinds", SeeAll, &[], "the coupon kinds", coupons::kinds),
    change("PUT", "/v1/coupon-kinds", Admin, coupons::KINDS, "other coupon kinds", coupons::set_kinds),

    Route { method: "POST", path: "/v1/batch", access: Move, query: batch::QUERY, body: Body::Batch, status: 200, about: "many money verbs at once", handler: batch::batch },

    get("/v1/locks", SeeAll, locks::LIST, "locks that are held", locks::list),
    Route { status: 201, ..change("POST", "/v1/locks", Staff, locks::ACQUIRE_SEVERAL, "acquire several locks, all or none", locks::acquire_several) },
    change("PATCH", "/v1/locks", Staff, locks::RENEW, "renew all that were acquired together", locks::renew_several),
    Route { status: 204, ..change("DELETE", "/v1/locks", Staff, &[], "release all that were acquired together", locks::release_several) },
    get("/v1/locks/{id...}/events", See, look::LIST, "what happened to a lock", locks::events),
    change("POST", "/v1/locks/{id...}/revoke", Admin, locks::REVOKE, "take a lock from its holder", locks::revoke),
    get("/v1/locks/{id...}", See, locks::WATCH, "one lock; with `fence` and `wait_ms`, when that lease has ended", locks::one),
    Route { status: 201, ..change("POST", "/v1/locks/{id...}", Move, locks::ACQUIRE, "acquire a lock", locks::acquire) },
    change("PATCH", "/v1/locks/{id...}", Move, locks::RENEW, "renew a lease", locks::renew),
    Route { status: 204, ..change("DELETE", "/v1/locks/{id...}", Move, &[], "release a lock", locks::release) },

    get("/v1/tokens", Admin, look::LIST, "access tokens, without their secrets", tokens::list),
    Route { status: 201, ..change("POST", "/v1/tokens", Admin, tokens::MINT, "mint an access token", tokens::mint) },
    change("DELETE", "/v1/tokens/{id}", Admin, &[], "revoke an access token", tokens::revoke),

    get("/v1/verify", Audit, file::VERIFY, "audit the file", file::verify),
    get("/v1/backup", Admin, &[], "one moment of the file, audited: a database", file::backup),
    get("/v1/export", Audit, file::EXPORT, "the ledger as records, or one table of it", file::export),
    get("/healthz", Anyone, &[], "alive, and how well", system::healthz),
    get("/metrics", Known, &[], "numbers for Prometheus", system::metrics),
    get("/openapi.json", Known, &[], "the description of all this", system::openapi),
];

/// The parts of each route's path, in the order of the routes.
static PATTERNS: LazyLock<Vec<Vec<&str>>> =
    LazyLock::new(|| ROUTES.iter().map(|route| route.path.split('/').skip(1).collect()).collect());

/// The route of a request, by its number, and what stood in the path's `{…}`.
pub fn find(method: &str, path: &str) -> Result<(usize, Vec<String>), Error> {
    let method = if method == "HEAD" { "GET" } else { method };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    // The first pattern that has the path's form is meant, whatever the method: `/revoke` is never a part of an id.
    let first = PATTERNS.iter().position(|pattern| fits(pattern, &segments)).ok_or_else(nothing)?;
    let params = params(&PATTERNS[first], &segments);
    if params.iter().any(String::is_empty) {
        return Err(nothing());
    }
    let meant = || ROUTES.iter().enumerate().filter(|(_, route)| route.path == ROUTES[first].path);
    let Some((number, _)) = meant().find(|(_, route)| route.method == method) else {
        return Err(not_allowed(meant().map(|(_, route)| route.method).collect()));
    };
    let params: Option<Vec<String>> = params.into_iter().map(decode).collect();
    Ok((number, params.ok_or_else(|| Error::invalid("the path is not UTF-8 under its percent signs"))?))
}

fn nothing() -> Error {
    Error::new(ErrorName::NotFound, "there is nothing at this path; GET /openapi.json describes what there is")
}

fn not_allowed(mut methods: Vec<&str>) -> Error {
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    let allow = methods.join(", ");
    Error::new(ErrorName::MethodNotAllowed, format!("this path takes {allow}")).with("allow", allow)
}

/// Whether the path has the pattern's form. The raw path is matched: `%2F` is no `/`.
fn fits(pattern: &[&str], segments: &[&str]) -> bool {
    let Some((part, behind)) = pattern.split_first() else { return segments.is_empty() };
    if part.ends_with("...}") {
        return segments.len() > behind.len() && fits(behind, &segments[segments.len() - behind.len()..]);
    }
    let is_part = |segment: &str| part.starts_with('{') || *part == segment;
    segments.split_first().is_some_and(|(segment, rest)| is_part(segment) && fits(behind, rest))
}

/// What stands in the `{…}` of the pattern that the path fits.
fn params(pattern: &[&str], segments: &[&str]) -> Vec<String> {
    let more = segments.len() - pattern.len();
    let mut rest = segments;
    let mut params = Vec::new();
    for part in pattern {
        let (own, behind) = rest.split_at(if part.ends_with("...}") { 1 + more } else { 1 });
        if part.starts_with('{') {
            params.push(own.join("/"));
        }
        rest = behind;
    }
    params
}

fn decode(param: String) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(&param).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: &str, path: &str) -> (&'static str, Vec<String>) {
        let (number, params) = find(method, path).unwrap();
        (ROUTES[number].path, params)
    }

    #[test]
    fn a_path_finds_its_route() {
        assert_eq!(at("POST", "/v1/wallets/alice/pay"), ("/v1/wallets/{user}/pay", vec!["alice".to_owned()]));
        assert_eq!(at("HEAD", "/healthz").0, "/healthz");
        assert_eq!(at("GET", "/v1/wallets/a%2Eb").1, ["a.b"]);
    }

    #[test]
    fn a_lock_id_may_have_slashes_and_end_in_a_verb_when_escaped() {
        assert_eq!(at("POST", "/v1/locks/wallet/alice").1, ["wallet/alice"]);
        assert_eq!(at("POST", "/v1/locks/a/b/revoke"), ("/v1/locks/{id...}/revoke", vec!["a/b".to_owned()]));
        assert_eq!(find("POST", "/v1/locks/a/events").unwrap_err().name, ErrorName::MethodNotAllowed);
        assert_eq!(find("DELETE", "/v1/locks/a/revoke").unwrap_err().name, ErrorName::MethodNotAllowed);
        assert_eq!(at("POST", "/v1/locks/a%2Frevoke"), ("/v1/locks/{id...}", vec!["a/revoke".to_owned()]));
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(find("GET", "/nothing").unwrap_err().name, ErrorName::NotFound);
        for nameless in ["/v1/wallets/", "/v1/locks/", "/v1/locks//events"] {
            assert_eq!(find("GET", nameless).unwrap_err().name, ErrorName::NotFound, "{nameless}");
        }
        let wrong = find("PATCH", "/wallet").unwrap_err();
        assert_eq!(wrong.name, ErrorName::MethodNotAllowed);
        assert!(wrong.detail.contains("GET, HEAD, POST, PUT"), "{}", wrong.detail);
    }
}
