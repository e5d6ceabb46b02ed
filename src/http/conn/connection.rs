//! One connection from its first byte to its last, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::answer::{ResponseMode, deliver, must_close};
use super::head::{RequestHead, parse};
use super::input::Input;
use super::permits::{Permit, Phase};
use super::socket::{Lost, Socket};
use super::{Body, Fault, HttpRequest, Limits, Presence, Response, Service};

/// How a body's memory grows while it comes, in bytes: a length that was only announced takes none.
const BODY_STEP: usize = 64 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

pub(super) struct Connection {
    socket: Socket,
    input: Input,
    permit: Permit,
    limits: Arc<Limits>,
    service: Arc<dyn Service>,
}

/// Why no further request is read.
enum End {
    /// Nobody is there to be told anything.
    Silent,
    /// The last answer is sent. More from the client may be on its way, also from one who asked us to close.
    Answered,
    /// This has to be said first.
    Refused(Box<Response>, ResponseMode),
}

impl From<Lost> for End {
    fn from(_: Lost) -> End {
        End::Silent
    }
}

impl Connection {
    pub(super) fn new(permit: Permit, limits: Arc<Limits>, service: Arc<dyn Service>) -> Connection {
        let socket = Socket::new(Arc::clone(permit.stream()), Arc::clone(permit.writing()));
        Connection { socket, input: Input::new(limits.head_bytes), permit, limits, service }
    }

    /// Serves until the connection ends.
    pub(super) fn run(mut self) {
        let end = loop {
            if let Err(end) = self.one_request() {
                break end;
            }
        };
        let polite = match end {
            End::Silent => false,
            End::Answered => true,
            End::Refused(answer, mode) => deliver(&mut self.socket, *answer, mode, true, &self.limits).is_ok(),
        };
        if polite && self.permit.turn(Phase::Closing) {
            self.socket.say_goodbye(&self.limits);
        }
    }

    /// Reads a request, has it answered, and is idle again.
    fn one_request(&mut self) -> Result<(), End> {
        let head = self.read_head()?;
        let mode = ResponseMode::of(&head);
        let has_body = head.content_length > 0;
        let admission = match guarded(|| self.service.admit(&head)) {
            Some(Ok(admission)) => admission,
            Some(Err(refusal)) => return self.reply(refusal, mode, has_body),
            None => return self.reply(answer_fault(&*self.service, Fault::Panic, Some(&head)), mode, has_body),
        };
        if head.content_length > admission.body_max {
            return Err(self.refused(Fault::BodyTooLarge { limit: admission.body_max }, &head));
        }
        let body = self.read_body(&head)?;
        let presence = Presence::of(self.socket.stream());
        let answer = guarded(|| self.service.answer(HttpRequest { head, body, presence }))
            .unwrap_or_else(|| answer_fault(&*self.service, Fault::Panic, None));
        let replied = self.reply(answer, mode, false);
        drop(admission); // its place was kept until here
        replied
    }

    /// What is wrong with the body that is coming.
    fn refused(&self, fault: Fault, head: &RequestHead) -> End {
        End::Refused(Box::new(answer_fault(&*self.service, fault, Some(head))), ResponseMode::of(head))
    }

    /// Waits for a request and reads its head. From then on the connection is busy.
    fn read_head(&mut self) -> Result<RequestHead, End> {
        self.wait_for_first_byte()?;
        let mut deadline = None;
        let mut seen = 0;
        let mut look_at = 0;
        loop {
            // A look costs the whole head again, so there is one at its end, and else only when it has doubled: that
            // finds nonsense early and a byte at a time cheap.
            let bytes = self.input.unused();
            if has_end(bytes, seen) || bytes.len() >= look_at {
                if let Some((head, length)) = self.look()? {
                    self.input.consume(length);
                    return if self.permit.turn(Phase::Busy) { Ok(head) } else { Err(self.interrupted()) };
                }
                look_at = 2 * self.input.unused().len();
            }
            seen = self.input.unused().len();
            if seen >= self.limits.head_bytes {
                return Err(self.unreadable(Fault::HeadTooLarge("the head is too long")));
            }
            let deadline = match deadline {
                Some(deadline) => deadline,
                None if self.permit.turn(Phase::Head) => *deadline.insert(Instant::now() + self.limits.head_time),
                None => return Err(self.interrupted()),
            };
            match self.socket.read_by(self.input.room(), deadline) {
                Ok(count) => self.input.filled(count),
                Err(Lost::Late) => return Err(self.unreadable(Fault::HeadTimeout)),
                Err(Lost::Gone) => return Err(self.interrupted()),
            }
        }
    }

    fn wait_for_first_byte(&mut self) -> Result<(), End> {
        self.input.skip_empty_lines();
        self.input.rest();
        while self.input.is_empty() {
            let count = self.socket.read_within(self.input.room(), self.limits.idle)?;
            self.input.filled(count);
            self.input.skip_empty_lines();
        }
        Ok(())
    }

    fn look(&self) -> Result<Option<(RequestHead, usize)>, End> {
        match parse(self.input.unused(), &self.limits) {
            Ok(Some((_, length))) if length > self.limits.head_bytes => {
                Err(self.unreadable(Fault::HeadTooLarge("the head is too long")))
            }
            Ok(found) => Ok(found),
            Err(fault) => Err(self.unreadable(fault)),
        }
    }

    /// What is wrong with the head that is coming.
    fn unreadable(&self, fault: Fault) -> End {
        let answer = answer_fault(&*self.service, fault, None);
        End::Refused(Box::new(answer), ResponseMode::of_unread(self.input.unused()))
    }

    /// The head ended before its end: because the client left or gave way, or because the server stops.
    fn interrupted(&mut self) -> End {
        if self.permit.is_refused() { self.unreadable(Fault::ShuttingDown) } else { End::Silent }
    }

    /// Reads a body of admitted length.
    fn read_body(&mut self, head: &RequestHead) -> Result<Vec<u8>, End> {
        let length = usize::try_from(head.content_length)
            .map_err(|_| self.refused(Fault::BodyTooLarge { limit: usize::MAX as u64 }, head))?;
        let at_hand = self.input.unused().len().min(length);
        let mut body = self.input.unused()[..at_hand].to_vec();
        self.input.consume(at_hand);
        if at_hand == length {
            return Ok(body);
        }
        // Only what is whole is worth not giving way.
        if !self.permit.turn(Phase::Body) {
            return Err(End::Silent);
        }
        let deadline = Instant::now() + self.limits.body_time;
        // Who has begun to send the body does not wait for our word.
        if at_hand == 0 && head.expects_continue() {
            self.socket.write_all(CONTINUE, self.limits.write_time)?;
        }
        let mut end = at_hand;
        while end < length {
            if end == body.len() {
                body.resize(length.min(end + BODY_STEP), 0);
            }
            match self.socket.read_by(&mut body[end..], deadline) {
                Ok(count) => end += count,
                Err(Lost::Late) => return Err(self.refused(Fault::BodyTimeout, head)),
                Err(Lost::Gone) => return Err(End::Silent),
            }
        }
        if self.permit.turn(Phase::Busy) { Ok(body) } else { Err(End::Silent) }
    }

    /// Sends an answer; Ok if the connection stays.
    fn reply(&mut self, answer: Response, mode: ResponseMode, body_is_unread: bool) -> Result<(), End> {
        let closes = answer.close
            || body_is_unread
            || self.permit.permits().is_stopping()
            || !mode.stays
            || must_close(&answer.body, mode);
        deliver(&mut self.socket, answer, mode, closes, &self.limits)?;
        if closes {
            return Err(End::Answered);
        }
        // Stopping may have begun, and looked for the idle, while this answer was on its way.
        if !self.permit.turn(Phase::Idle) || self.permit.permits().is_stopping() {
            return Err(End::Answered);
        }
        Ok(())
    }
}

/// The program's answer to a fault; a bare one if it panics over that as well.
pub(super) fn answer_fault(service: &dyn Service, fault: Fault, head: Option<&RequestHead>) -> Response {
    guarded(|| service.fault(fault, head)).unwrap_or_else(|| Response {
        status: 500,
        headers: Vec::new(),
        body: Body::Bytes(Vec::new()),
        close: true,
        undelivered: None,
    })
}

/// What the service says, or None if it panicked. The service answers for its own state; nothing of ours is in it.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Whether a head can end in `bytes`, of which the first `seen` were looked at before. A bare LF counts: it is refused
/// sooner if it is looked at.
pub(super) fn has_end(bytes: &[u8], seen: usize) -> bool {
    let rest = &bytes[seen.saturating_sub(3)..];
    rest.windows(2).any(|pair| pair == b"\n\n") || rest.windows(3).any(|three| three == b"\n\r\n")
}
