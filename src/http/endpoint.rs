//! A route: method, path, access, fields, handler; and whether a path is one of its own.

use super::auth::Access;
use super::fields::Field;
use super::request::{Context, HandlerResult, JSON, Submission};
use super::state::BODY_MAX;
use crate::error::Error;

/// One request that clients can make.
#[derive(Clone, Copy)]
pub struct Route {
    /// The method; HEAD works wherever GET does.
    pub method: &'static str,
    /// The path. `{name}` is one segment, `{name...}` one or more.
    pub path: &'static str,
    /// The roles that may.
    pub access: Access,
    /// The fields of the query.
    pub query: &'static [Field],
    /// The body.
    pub body: RouteBody,
    /// The status of a good answer.
    pub status: u16,
    /// The media types of a good answer; the first is the one for `*/*`.
    pub types: &'static [&'static str],
    /// Its effect, in a few words.
    pub about: &'static str,
    /// The function that answers.
    pub handler: Handler,
}

/// Answers a request of a route.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Makes the whole response, on the connection's thread.
    Responds(fn(&mut Context<'_>) -> HandlerResult),
    /// Makes a command. The response is made when that is carried out, on another thread.
    Submits(fn(&mut Context<'_>) -> Result<Submission, Error>),
}

/// The body that a route takes.
#[derive(Clone, Copy)]
pub enum RouteBody {
    /// None.
    Empty,
    /// These fields, as JSON or as a form.
    Fields(&'static [Field]),
    /// A batch, read by its handler.
    Batch,
}

/// The largest body of a batch, in bytes.
const BATCH_BODY_MAX: u64 = 8 * 1024 * 1024;

impl Route {
    /// A question.
    pub const fn get(
        path: &'static str,
        access: Access,
        query: &'static [Field],
        about: &'static str,
        handler: fn(&mut Context<'_>) -> HandlerResult,
    ) -> Route {
        let route = Route::new("GET", path, access, RouteBody::Empty, about, Handler::Responds(handler));
        route.with_query(query)
    }

    /// A change.
    pub const fn change(
        method: &'static str,
        path: &'static str,
        access: Access,
        body: &'static [Field],
        about: &'static str,
        handler: fn(&mut Context<'_>) -> HandlerResult,
    ) -> Route {
        Route::new(method, path, access, RouteBody::Fields(body), about, Handler::Responds(handler))
    }

    /// A change by a single command, of which many come at once.
    pub const fn command(
        method: &'static str,
        path: &'static str,
        access: Access,
        body: &'static [Field],
        about: &'static str,
        handler: fn(&mut Context<'_>) -> Result<Submission, Error>,
    ) -> Route {
        Route::new(method, path, access, RouteBody::Fields(body), about, Handler::Submits(handler))
    }

    /// A change by many commands.
    pub(crate) const fn batch(
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: fn(&mut Context<'_>) -> HandlerResult,
    ) -> Route {
        Route::new("POST", path, access, RouteBody::Batch, about, Handler::Responds(handler))
    }

    const fn new(
        method: &'static str,
        path: &'static str,
        access: Access,
        body: RouteBody,
        about: &'static str,
        handler: Handler,
    ) -> Route {
        Route { method, path, access, query: &[], body, status: 200, types: &[JSON], about, handler }
    }

    /// The same route with another status of a good answer.
    pub const fn with_status(self, status: u16) -> Route {
        Route { status, ..self }
    }

    /// The same route with other media types of a good answer.
    pub const fn with_types(self, types: &'static [&'static str]) -> Route {
        Route { types, ..self }
    }

    /// The same route with fields of the query.
    pub const fn with_query(self, query: &'static [Field]) -> Route {
        Route { query, ..self }
    }

    /// The largest body it takes, in bytes. A body is read also where none is taken, and then refused for its fields.
    pub fn body_max(&self) -> u64 {
        match self.body {
            RouteBody::Empty | RouteBody::Fields(_) => BODY_MAX,
            RouteBody::Batch => BATCH_BODY_MAX,
        }
    }

    /// The fields its body takes, or None if the handler reads the body.
    pub fn fields(&self) -> Option<&'static [Field]> {
        match self.body {
            RouteBody::Empty => Some(&[]),
            RouteBody::Fields(fields) => Some(fields),
            RouteBody::Batch => None,
        }
    }
}

/// True if the segments have the pattern's form. They are not decoded: `%2F` is not a `/`.
pub(crate) fn matches(pattern: &[&str], segments: &[&str]) -> bool {
    let Some((part, behind)) = pattern.split_first() else { return segments.is_empty() };
    if part.ends_with("...}") {
        return segments.len() > behind.len() && matches(behind, &segments[segments.len() - behind.len()..]);
    }
    let is_part = |segment: &str| part.starts_with('{') || *part == segment;
    segments.split_first().is_some_and(|(segment, rest)| is_part(segment) && matches(behind, rest))
}

/// The values of the pattern's `{…}` in segments that match it, as they were sent.
pub(crate) fn raw_params(pattern: &[&str], segments: &[&str]) -> Vec<String> {
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
