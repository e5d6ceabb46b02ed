//! What the machine has to give before anybody can be served: a listening socket and descriptors.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// Connections the kernel completes for us before we accept them; the standard library's own is 128.
const BACKLOG: i32 = 1024;

/// Binds a listening socket. A restart does not wait for old connections to be forgotten (`SO_REUSEADDR`).
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises this process's soft descriptor limit to the hard one and returns what holds now; `u64::MAX` is no limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Some systems refuse the hard limit they report; then the soft one stays and is what we return.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
