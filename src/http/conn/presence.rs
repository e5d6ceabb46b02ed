//! Whether a client is still there, asked from any thread.

use std::net::TcpStream;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Tells whether the client of a request is still there.
///
/// It is gone when its socket has seen the end of what it sends (it closed, or half of it) or an error, and when the
/// connection has ended here; whatever it sent before that and nobody has read changes nothing. Asking never blocks and
/// consumes nothing.
///
/// It holds no descriptor: keeping one does not keep a connection open.
#[derive(Clone)]
pub struct Presence(Option<Weak<TcpStream>>);

impl Presence {
    /// For a request that came from no socket.
    pub fn always() -> Presence {
        Presence(None)
    }

    pub(super) fn of(stream: &Arc<TcpStream>) -> Presence {
        Presence(Some(Arc::downgrade(stream)))
    }

    /// Looks at the socket, one system call.
    pub fn is_here(&self) -> bool {
        let Some(stream) = &self.0 else { return true };
        let Some(stream) = stream.upgrade() else { return false };
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let mut socket = [PollFd::new(&*stream, PollFlags::RDHUP)];
        match poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => !socket[0].revents().intersects(ended),
            Err(error) => error == Errno::INTR,
        }
    }
}
