//! `--url https://`: a server behind a TLS proxy, and certificates that cannot be trusted.

use crate::shell::{CommandOutput, Place, Serving};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file in the folder of certificates: `ca` has signed `localhost`, and `expired` for the same name and key.
fn certificate(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/certificates", name].iter().collect()
}

/// A proxy that ends TLS in front of a server and sends each request on, as nginx would.
struct TlsProxy {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl TlsProxy {
    fn before(server: &Serving, chain: &str) -> TlsProxy {
        let chain = vec![CertificateDer::from_pem_file(certificate(chain)).unwrap()];
        let key = PrivateKeyDer::from_pem_file(certificate("localhost.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, requests) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (address, count) = (server.url.strip_prefix("http://").unwrap().to_owned(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), client.unwrap());
                let Some(request) = read_request(&mut client) else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let mut server = TcpStream::connect(&address).unwrap();
                server.write_all(&request).unwrap();
                server.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                server.read_to_end(&mut answer).unwrap();
                let _ = client.write_all(&answer); // a client may have gone
                client.conn.send_close_notify();
                let _ = client.flush();
            }
        });
        TlsProxy { port, requests }
    }

    /// Runs a command at the proxy, under that name, with that file of authorities.
    fn run(&self, place: &Place, line: &str, host: &str, authorities: PathBuf) -> CommandOutput {
        let mut command = place.command(&format!("{line} --url https://{host}:{} --token-file token", self.port));
        CommandOutput::from(command.env("SSL_CERT_FILE", authorities).output().unwrap())
    }
}

/// A request with its body; none if the handshake fails.
fn read_request(client: &mut impl Read) -> Option<Vec<u8>> {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = client.read(&mut chunk).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            return Some(request);
        }
    }
}

fn served() -> (Place, Serving) {
    let place = Place::new();
    std::fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    (place, server)
}

#[test]
fn request_over_tls_moves_money_once() {
    let (place, server) = served();
    let proxy = TlsProxy::before(&server, "localhost.pem");
    for _ in 0..2 {
        let paid = proxy.run(&place, "recharge alice 5 --key k", "localhost", certificate("ca.pem"));
        assert_eq!((paid.exit, &*paid.err), (0, ""), "{}", paid.out);
    }
    assert_eq!(place.json("wallet alice")["balance"], "5.00");
    let refused = proxy.run(&place, "withdraw alice 9", "localhost", certificate("ca.pem"));
    assert_eq!(refused.exit, 1, "{}", refused.err);
    assert_eq!(proxy.requests.load(Ordering::SeqCst), 3);
    server.stop();
}

#[test]
fn untrusted_certificate_is_sent_nothing() {
    let (place, server) = served();
    let (good, expired) = (TlsProxy::before(&server, "localhost.pem"), TlsProxy::before(&server, "expired.pem"));
    let plain = TlsProxy {
        port: server.url.rsplit(':').next().unwrap().parse().unwrap(),
        ..TlsProxy::before(&server, "localhost.pem")
    };
    for (proxy, host, authorities, why) in [
        (&good, "localhost", certificate("localhost.pem"), "is not from an authority that this machine trusts"),
        (&good, "127.0.0.1", certificate("ca.pem"), "its certificate is for another name"),
        (&expired, "localhost", certificate("ca.pem"), "its certificate has expired"),
        (&good, "localhost", place.path("missing"), "cannot read"),
        (&good, "localhost", place.path("token"), "there is no certificate in"),
        (&plain, "127.0.0.1", certificate("ca.pem"), "it does not speak TLS"),
    ] {
        let refused = proxy.run(&place, "recharge alice 5", host, authorities);
        assert_eq!(refused.exit, 3, "{why}: {}", refused.err);
        assert!(refused.err.starts_with("cannot reach https://"), "{}", refused.err);
        assert!(refused.err.contains(why) && refused.err.ends_with("nothing was sent\n"), "{why}: {}", refused.err);
        assert!(!refused.err.contains("may have been done"), "{}", refused.err);
        assert_eq!(proxy.requests.load(Ordering::SeqCst), 0, "{why}");
    }
    assert_eq!(place.run("wallets --json").out.matches("alice").count(), 0);
    server.stop();
}
