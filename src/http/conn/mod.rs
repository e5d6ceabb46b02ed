//! HTTP/1.1 and HTTP/1.0 connections: requests in, responses out. Nothing of wallets, routes or error formats.
//!
//! Every connection has a thread and a permit. It reads one request at a time, whole and within limits, passes it to a
//! [`Service`], and writes the response; or the service has another thread send it ([`ResponseSender`]), which does not
//! wait for the client, while the connection's thread waits for the next request.
//!
//! - A request that reaches [`Service::answer`] is unambiguous: one length or chunks, one host, no control
//!   characters, lines that end in CRLF (a bare LF is refused). Everything else is a [`Fault`] and closes.
//! - Every wait has an end. Deadlines are total: one byte a second extends none of them.
//! - A refused client reads the refusal, not a reset: the response is sent, the sending side shut down, what still comes
//!   is drained within bounds, and only then is the socket closed.
//! - When permits run short, a connection is evicted: first the longest idle, then the oldest unfinished head, then the
//!   oldest unfinished body, then a client that has not read its response for a second; after these, one that connected
//!   or began to send within the last second. A request that is being answered is never cut off.
//! - A panic of the service costs one request.
//!
//! An ordinary request costs one read and one write. `httparse` reads request heads; `tiny_http` knows reason
//! phrases and dates. The clock is used for deadlines only.

mod acceptor;
mod body;
mod connection;
mod later;
mod parse;
mod permits;
mod service;
mod socket;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use acceptor::reachable;
pub use acceptor::{Server, listen, raise_descriptor_limit};
pub use parse::{has_end, parse_head};
pub(crate) use service::BodyMemory;
pub use service::{
    Admission, Answer, Body, Fault, HttpRequest, Limits, Presence, RequestHead, Response, ResponseSender, Service,
};
