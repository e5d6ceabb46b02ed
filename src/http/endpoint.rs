//! What a route is: method, path, access, fields, handler.

use super::auth::Access;
use super::fields::Field;
use super::request::{Context, HandlerResult};

/// One thing that can be asked.
pub struct Route {
    /// The method; HEAD works wherever GET does.
    pub method: &'static str,
    /// The path. `{name}` is one segment, `{name...}` one or more.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// What the query takes.
    pub query: &'static [Field],
    /// What the body takes.
    pub body: Body,
    /// The status of a good answer.
    pub status: u16,
    /// What it does, in a few words.
    pub about: &'static str,
    /// Who handles it.
    pub handler: fn(&mut Context<'_>) -> HandlerResult,
}

/// What a route's body may be.
pub enum Body {
    /// Nothing.
    None,
    /// These fields, as JSON or as a form.
    Fields(&'static [Field]),
    /// A batch, read by its handler.
    Batch,
}

/// The largest body of fields, in bytes.
pub const BODY_MAX: u64 = 64 * 1024;

/// The largest body of a batch, in bytes.
pub const BATCH_BODY_MAX: u64 = 8 * 1024 * 1024;

impl Route {
    /// The largest body it takes, in bytes. Any body is read where none is taken, and then refused for its fields.
    pub fn body_max(&self) -> u64 {
        match self.body {
            Body::None | Body::Fields(_) => BODY_MAX,
            Body::Batch => BATCH_BODY_MAX,
        }
    }
}
