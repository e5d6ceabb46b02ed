//! Which requests a fault or a pause is for.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// The facts of a request that has arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArrivedRequest {
    /// The method.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The query as it was sent.
    pub query: Option<String>,
    /// The user of its path, or else of its access token.
    pub user: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
    /// The body, if it is a short text.
    pub body: Option<String>,
}

/// A choice of requests. What is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestMatch {
    /// The method. Not given: all but `OPTIONS`, which browsers send by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path; with `*` at its end all paths that begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The user of the path, or else of the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The number of the request among those that match: 1 is the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
}

impl RequestMatch {
    /// Reads a JSON object.
    pub(crate) fn from_json(text: &str) -> Result<RequestMatch, Error> {
        let wrong = |why: String| Error::invalid(format!("match: {why}")).with("field", "match");
        if !text.trim_start().starts_with('{') {
            return Err(wrong(
                "write an object such as {\"method\": \"POST\", \"path\": \"/v1/wallets/*\"}".to_owned(),
            ));
        }
        let one: RequestMatch = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if one.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(wrong("a path begins with /".to_owned()));
        }
        if one.path.as_ref().is_some_and(|path| is_beside(path)) {
            return Err(wrong("requests of /test/ and /healthz are never matched".to_owned()));
        }
        if one.nth == Some(0) {
            return Err(wrong("nth is 1 for the next request".to_owned()));
        }
        Ok(one)
    }

    /// True if the request is one of these, whatever its number among them is.
    pub(crate) fn includes(&self, request: &ArrivedRequest) -> bool {
        let is_path = |path: &String| match path.strip_suffix('*') {
            Some(beginning) => request.path.starts_with(beginning),
            None => request.path == *path,
        };
        // The preflight of a browser is none of its program's requests.
        let is_method = |method: &String| method.eq_ignore_ascii_case(&request.method);
        self.method.as_ref().map_or(request.method != "OPTIONS", is_method)
            && self.path.as_ref().is_none_or(is_path)
            && self.user.as_ref().is_none_or(|user| request.user.as_ref() == Some(user))
            && self.key.as_ref().is_none_or(|key| request.key.as_ref() == Some(key))
    }

    /// The number that a request must have among those that match.
    pub(crate) fn first(&self) -> u32 {
        self.nth.unwrap_or(1)
    }
}

/// True for the paths of the controls and of the health, which are neither logged nor matched.
pub(crate) fn is_beside(path: &str) -> bool {
    path == "/test" || path.starts_with("/test/") || path == "/healthz"
}
