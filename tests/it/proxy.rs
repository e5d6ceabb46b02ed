//! A bad network: it stands between a client and a server and decides the fate of each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It gets lost, without any sign.
    Swallowed,
    /// It arrives, and its answer never does.
    Unanswered,
    /// The connection breaks before it arrives.
    Broken,
    /// It arrives, and the connection breaks before its answer does.
    BrokenOff,
}

/// The way to a server. Takes one request from each connection.
pub struct Proxy {
    pub url: String,
}

impl Proxy {
    /// The way to the server at that URL; `fate` gets the request line.
    pub fn to(url: &str, fate: impl FnMut(&str) -> Fate + Send + 'static) -> Proxy {
        let server: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fate = Arc::new(Mutex::new(fate));
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let fate = Arc::clone(&fate);
                spawn(move || pass(client, server, |line| fate.lock().unwrap()(line)));
            }
        });
        Proxy { url }
    }
}

fn pass(client: TcpStream, server: SocketAddr, fate: impl FnOnce(&str) -> Fate) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut request, mut body_len) = (String::new(), 0);
    while !request.ends_with("\r\n\r\n") {
        let begun = request.len();
        reader.read_line(&mut request).ok().filter(|count| *count > 0)?;
        let line = request[begun..].to_ascii_lowercase();
        body_len = line.strip_prefix("content-length:").map_or(body_len, |len| len.trim().parse().unwrap());
    }
    let mut body = vec![0; body_len];
    reader.read_exact(&mut body).ok()?;
    let fate = fate(request.lines().next()?);
    if fate == Fate::Broken {
        return None;
    }
    let mut client = client;
    if fate != Fate::Swallowed {
        let mut server = TcpStream::connect(server).ok()?;
        server.write_all(request.as_bytes()).ok()?;
        server.write_all(&body).ok()?;
        match fate {
            Fate::Answered => {
                let back = server.try_clone().ok()?;
                spawn(move || {
                    let _ = reader.read(&mut [0]); // the client is gone
                    back.shutdown(Shutdown::Both)
                });
                let _ = std::io::copy(&mut server, &mut client);
                return None;
            }
            _ => server.read(&mut [0]).ok()?, // it is answered now
        };
    }
    if fate != Fate::BrokenOff {
        let _ = client.read(&mut [0]); // until the client has had enough
    }
    None
}
