//! The way of a request at a server for tests: it is noted, meets its fault and its pauses, and is answered as by any server.

use super::conn::{Answer, Body, HttpRequest, RequestHead};
use super::routes::App;
use crate::error::Error;
use crate::id::IdempotencyKey;
use crate::store::test_control::contents_replaced;
use crate::test_mode::{ArrivedRequest, FaultAction, PausePoint, TestMode, short_text};
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use std::time::Duration;

impl App {
    /// Answers a request that is neither one of the controls nor one for the health. Its response is always sent by its
    /// connection's own thread, which may stand still.
    pub(super) fn answer_tested(&self, test: &Arc<TestMode>, mut request: HttpRequest) -> Answer {
        request.later = None;
        let arrival = Arc::new(test.arrive(&self.arrived(&request)));
        test.stop_at(&arrival, PausePoint::Arrival);
        match arrival.fault() {
            Some(FaultAction::Delay(ms)) => {
                test.note_done(&arrival);
                test.delay(&arrival, Duration::from_millis(ms));
            }
            Some(FaultAction::Status(name)) => {
                test.note_done(&arrival);
                let error = Error::new(name, "a fault that was asked for; nothing was done");
                let response = self.refused(error, Some(&request.head));
                test.note_answer(&arrival, Some((response.status, bytes_of(&response.body))));
                return response.into();
            }
            Some(FaultAction::DropBefore) => {
                test.note_done(&arrival);
                test.note_answer(&arrival, None);
                return Answer::Dropped;
            }
            _ => {}
        }
        if !test.is_current_for(&arrival) {
            return self.refused(contents_replaced(), Some(&request.head)).into();
        }
        let Answer::Now(response) = self.answer_request(request, test.hook(&arrival)) else {
            unreachable!("a request without a sender is answered at once");
        };
        test.stop_at(&arrival, PausePoint::AfterCommit);
        if arrival.fault() == Some(FaultAction::DropAfter) {
            test.note_done(&arrival);
            test.note_answer(&arrival, None);
            return Answer::Dropped;
        }
        test.note_answer(&arrival, Some((response.status, bytes_of(&response.body))));
        response.into()
    }

    fn arrived(&self, request: &HttpRequest) -> ArrivedRequest {
        let head = &request.head;
        let of_token = || self.authenticate(head).ok()?.user.as_ref().map(|user| user.as_str().to_owned());
        ArrivedRequest {
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            user: user_of_path(&head.path).or_else(of_token),
            key: key_of(head),
            body: short_text(&request.body),
        }
    }
}

/// The user of `/v1/wallets/{user}` and the paths below it.
fn user_of_path(path: &str) -> Option<String> {
    let user = path.strip_prefix("/v1/wallets/")?.split('/').next()?;
    Some(percent_decode_str(user).decode_utf8().ok()?.into_owned())
}

/// The idempotency key, without its quotes.
fn key_of(head: &RequestHead) -> Option<String> {
    let key = IdempotencyKey::parse(head.header("idempotency-key")?).ok()?;
    Some(key.as_str().to_owned())
}

fn bytes_of(body: &Body) -> Option<&[u8]> {
    match body {
        Body::Bytes(bytes) => Some(bytes),
        Body::Stream(_) => None,
    }
}
