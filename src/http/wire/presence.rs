//! Whether a client is still there, asked from any thread.

use std::net::TcpStream;
use std::sync::{Arc, Weak};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Tells whether the client of a request is still there.
///
/// It is gone when its socket reads end-of-file (it closed, or half of it) or an error, and when the connection has
/// ended here. Asking never blocks and consumes nothing. A client that sent more requests behind this one counts as
/// there until they are read, because the end-of-file stands behind them.
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
        let mut byte = [0u8; 1];
        match recv(&*stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, count)) => count > 0,
            Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }
}
