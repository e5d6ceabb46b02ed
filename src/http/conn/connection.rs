//! One connection from its first byte to its last, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body::{BodyError, BodyReader};
use super::later::{Handover, LaterState};
use super::parse::{has_end, parse_head};
use super::permits::{Permit, Phase};
use super::service::{Answer, Body, Fault, HttpRequest, Limits, Presence, RequestHead, Response, Service};
use super::socket::{ClientSocket, ReadBuffer, SocketError};
use super::write::{ResponseMode, must_close, send_response, send_rest};

/// The time between two looks of a connection's thread for a response that came back to it. While another thread has the
/// response it waits for the next request, because nearly always that comes next.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) struct HttpConnection {
    socket: ClientSocket,
    input: ReadBuffer,
    permit: Permit,
    limits: Arc<Limits>,
    service: Arc<dyn Service>,
    handover: Arc<Handover>,
    /// The mode of the response that another thread sends. None: there is none.
    later: Option<ResponseMode>,
}

/// Why no further request is read.
enum ConnectionEnd {
    /// No client is left to read a response.
    Disconnected,
    /// The last response is sent. More bytes may be on their way, also from a client that asked for `Connection: close`.
    Answered,
    /// This response must be sent first.
    Refused(Box<Response>, ResponseMode),
}

impl From<SocketError> for ConnectionEnd {
    fn from(_: SocketError) -> ConnectionEnd {
        ConnectionEnd::Disconnected
    }
}

impl HttpConnection {
    pub(super) fn new(permit: Permit, limits: Arc<Limits>, service: Arc<dyn Service>) -> HttpConnection {
        let socket = ClientSocket::new(Arc::clone(permit.stream()), Arc::clone(permit.stall()));
        let handover = Arc::new(Handover::new(permit.shared()));
        let input = ReadBuffer::new(limits.head_bytes);
        HttpConnection { socket, input, permit, limits, service, handover, later: None }
    }

    /// Serves until the connection ends. The thread that made it must call it.
    pub(super) fn run(mut self) {
        let mut end = loop {
            if let Err(end) = self.serve_one() {
                break end;
            }
        };
        if let Err(earlier) = self.finish_later() {
            end = earlier;
        }
        let client_reads = match end {
            ConnectionEnd::Disconnected => false,
            ConnectionEnd::Answered => true,
            ConnectionEnd::Refused(response, mode) => {
                send_response(&mut self.socket, *response, mode, true, &self.limits).is_ok()
            }
        };
        if client_reads && self.permit.enter(Phase::Closing) {
            self.socket.close_after_draining(&self.limits);
        }
    }

    /// Reads a request, answers it, and is idle again.
    fn serve_one(&mut self) -> Result<(), ConnectionEnd> {
        let head = self.read_head()?;
        let mode = ResponseMode::of(&head);
        let has_body = head.content_length > 0 || head.chunked;
        let mut admission = match catch_panic(|| self.service.admit(&head)) {
            Some(Ok(admission)) => admission,
            Some(Err(refusal)) => return self.reply(refusal, mode, has_body),
            None => return self.reply(answer_fault(&*self.service, Fault::Panic, Some(&head)), mode, has_body),
        };
        let reader = BodyReader::new(&mut self.socket, &mut self.input, &mut self.permit, &self.limits, &head);
        let body = match reader.read(&mut admission) {
            Ok(body) => body,
            Err(BodyError::Disconnected) => return Err(ConnectionEnd::Disconnected),
            Err(BodyError::Fault(fault)) => return Err(self.refuse_body(fault, &head)),
        };
        let presence = Presence::of(self.socket.stream());
        let may_be_later = mode.keep_alive && admission.reserved.is_none();
        let later = may_be_later.then(|| self.handover.sender(mode));
        let answer = catch_panic(|| self.service.answer(HttpRequest { head, body, presence, later }));
        let response = match answer {
            Some(Answer::Now(response)) => response,
            // Also after a panic, if another thread has the sender by now.
            Some(Answer::Later) => return self.wait_for_later(mode),
            Some(Answer::Dropped) => return Err(ConnectionEnd::Disconnected),
            None if may_be_later && self.handover.is_answered_later() => return self.wait_for_later(mode),
            None => answer_fault(&*self.service, Fault::Panic, None),
        };
        let replied = self.reply(response, mode, false);
        drop(admission); // its memory was reserved until here
        replied
    }

    fn wait_for_later(&mut self, mode: ResponseMode) -> Result<(), ConnectionEnd> {
        self.later = Some(mode);
        Ok(())
    }

    /// Waits until the response that another thread sends is sent, and sends what came back. Must be called before
    /// anything else is sent, and before the phase is changed.
    fn finish_later(&mut self) -> Result<(), ConnectionEnd> {
        let Some(mode) = self.later.take() else { return Ok(()) };
        match self.handover.wait() {
            LaterState::Sent => {
                self.permit.resume();
                Ok(())
            }
            LaterState::SentLast => Err(ConnectionEnd::Answered),
            LaterState::Unsent(response) => self.reply(*response, mode, false),
            LaterState::Part(rest) => {
                send_rest(&mut self.socket, *rest, &self.limits)?;
                self.be_idle()
            }
            LaterState::Dropped | LaterState::Pending(_) => {
                self.reply(answer_fault(&*self.service, Fault::Panic, None), mode, false)
            }
        }
    }

    /// Waits for a request and reads its head. From then on the connection is busy.
    fn read_head(&mut self) -> Result<RequestHead, ConnectionEnd> {
        self.wait_for_first_byte()?;
        let mut deadline = None;
        let mut searched = 0;
        let mut parse_at = 0;
        loop {
            // Parsing reads the whole head again, so it is done at its end, and else only when the head has doubled: an
            // invalid head is refused early, and one that comes byte by byte costs little.
            let bytes = self.input.unused();
            if has_end(bytes, searched) || bytes.len() >= parse_at {
                if let Some((head, length)) = self.parse()? {
                    self.input.consume(length);
                    self.finish_later()?;
                    return if self.permit.enter(Phase::Busy) { Ok(head) } else { Err(self.end_in_head()) };
                }
                parse_at = 2 * self.input.unused().len();
            }
            searched = self.input.unused().len();
            if searched >= self.limits.head_bytes {
                return Err(self.refuse_head(Fault::HeadTooLarge("the head is too long")));
            }
            self.finish_later()?;
            let deadline = match deadline {
                Some(deadline) => deadline,
                None if self.permit.enter(Phase::Head) => *deadline.insert(Instant::now() + self.limits.head_time),
                None => return Err(self.end_in_head()),
            };
            match self.socket.read_by(self.input.space(), deadline) {
                Ok(count) => self.input.filled(count),
                Err(SocketError::TimedOut) => return Err(self.refuse_head(Fault::HeadTimeout)),
                Err(SocketError::Closed) => return Err(self.end_in_head()),
            }
        }
    }

    fn wait_for_first_byte(&mut self) -> Result<(), ConnectionEnd> {
        self.input.skip_empty_lines();
        self.input.shrink();
        while self.input.is_empty() {
            let timeout = if self.later.is_some() { LOOK_EVERY } else { self.limits.idle };
            match self.socket.read_within(self.input.space(), timeout) {
                Ok(count) => self.input.filled(count),
                Err(SocketError::TimedOut) if self.later.is_some() => {
                    if !self.handover.is_pending() {
                        self.finish_later()?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            self.input.skip_empty_lines();
        }
        Ok(())
    }

    fn parse(&self) -> Result<Option<(RequestHead, usize)>, ConnectionEnd> {
        match parse_head(self.input.unused(), &self.limits) {
            Ok(Some((_, length))) if length > self.limits.head_bytes => {
                Err(self.refuse_head(Fault::HeadTooLarge("the head is too long")))
            }
            Ok(found) => Ok(found),
            Err(fault) => Err(self.refuse_head(fault)),
        }
    }

    fn refuse_head(&self, fault: Fault) -> ConnectionEnd {
        let response = answer_fault(&*self.service, fault, None);
        ConnectionEnd::Refused(Box::new(response), ResponseMode::of_unread(self.input.unused()))
    }

    fn refuse_body(&self, fault: Fault, head: &RequestHead) -> ConnectionEnd {
        let response = answer_fault(&*self.service, fault, Some(head));
        ConnectionEnd::Refused(Box::new(response), ResponseMode::of(head))
    }

    /// The head is incomplete: because the client disconnected, the connection was evicted, or the server stops.
    fn end_in_head(&mut self) -> ConnectionEnd {
        if self.permit.is_refused() { self.refuse_head(Fault::ShuttingDown) } else { ConnectionEnd::Disconnected }
    }

    /// Sends a response; Ok if the connection stays open.
    fn reply(&mut self, response: Response, mode: ResponseMode, body_is_unread: bool) -> Result<(), ConnectionEnd> {
        let closes = response.close
            || body_is_unread
            || self.permit.permits().is_stopping()
            || !mode.keep_alive
            || must_close(&response.body, mode);
        send_response(&mut self.socket, response, mode, closes, &self.limits)?;
        if closes { Err(ConnectionEnd::Answered) } else { self.be_idle() }
    }

    fn be_idle(&mut self) -> Result<(), ConnectionEnd> {
        // Stopping may have begun, and ended the idle connections, while this response was on its way.
        if !self.permit.enter(Phase::Idle) || self.permit.permits().is_stopping() {
            return Err(ConnectionEnd::Answered);
        }
        Ok(())
    }
}

/// The service's response to a fault; one without a body if it panics over that as well.
pub(super) fn answer_fault(service: &dyn Service, fault: Fault, head: Option<&RequestHead>) -> Response {
    catch_panic(|| service.fault(fault, head)).unwrap_or_else(|| Response {
        status: 500,
        headers: Vec::new(),
        body: Body::Bytes(Vec::new()),
        close: true,
        undelivered: None,
    })
}

/// The result of a call of the service, or None if it panicked. The call changes no state of the connection.
fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
