//! TLS of the command line: the authorities that a server's certificate is checked against, and the reasons of a failed
//! check. A file of its own because it is there only with the feature `tls`.

use super::input::environment_text;
use rustls::{CertificateError, Error, InvalidMessage};
use std::io;
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The variable that names another file of authorities, as OpenSSL and curl have it.
const CERT_FILE: &str = "SSL_CERT_FILE";

/// The files in which systems keep the authorities that they trust.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // BSD, and Alpine without the package ca-certificates
];

/// TLS that trusts the authorities in the file of `SSL_CERT_FILE`, or else of this system.
pub(super) fn config() -> Result<TlsConfig, String> {
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&authorities()?))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn authorities() -> Result<Vec<Certificate<'static>>, String> {
    let failed = |why: String| format!("{why}; nothing was sent");
    let named = environment_text(CERT_FILE);
    let system = || SYSTEM_FILES.into_iter().find(|file| std::fs::exists(file).unwrap_or(false)).map(str::to_owned);
    let file = named.or_else(system).ok_or_else(|| {
        failed(format!(
            "this system has no file of authorities to check its certificate (install ca-certificates, or name one in {CERT_FILE})"
        ))
    })?;
    let pem = std::fs::read(&file).map_err(|error| failed(format!("cannot read {file}: {error}")))?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None, // the system's files have others beside, which are not for this
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if found.is_empty() {
        return Err(failed(format!("there is no certificate in {file}: name a PEM file in {CERT_FILE}")));
    }
    Ok(found)
}

/// The reason of a handshake that failed, if TLS is the reason.
pub(super) fn reason(error: &io::Error) -> Option<String> {
    use CertificateError::*;
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(UnknownIssuer) => format!(
            "its certificate is not from an authority that this machine trusts (if it should be, name the authority's PEM file in \
             {CERT_FILE}); nothing was sent"
        ),
        Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "its certificate is for another name; nothing was sent".to_owned()
        }
        Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "its certificate has expired (or the clock of this machine is wrong); nothing was sent".to_owned()
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS (is its URL http://?); nothing was sent".to_owned()
        }
        other => format!("{other}; nothing was sent"),
    })
}
