//! Webhooks by the Standard Webhooks specification: a POST of the entry, with an id that is the same at each try and a
//! signature that only the holder of the secret can make.

use crate::cli::http_agent::{HttpPost, post};
use crate::cli::input;
use crate::cli::output::CliError;
use crate::clock::Clock;
use crate::secret::sha256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// The beginning of a secret as it is written.
const SECRET_PREFIX: &str = "whsec_";
/// The bytes of a secret.
const SECRET_BYTES: RangeInclusive<usize> = 24..=64;
/// The most secrets that sign one request, while they are changed.
const SECRETS_MAX: usize = 4;
/// Characters of an entry's hash in the id of its webhook.
const HASH_DIGITS: usize = 16;
/// The status of a receiver that wants no more.
const GONE: u16 = 410;

/// A receiver, and the secrets that it knows.
pub(crate) struct Webhook {
    url: String,
    secrets: Vec<Vec<u8>>,
    timeout: Duration,
}

/// The reason why a try failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// In a few words.
    pub why: String,
    /// True if another try is useless.
    pub is_final: bool,
}

impl Failure {
    /// A failure that may pass.
    pub(super) fn new(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), is_final: false }
    }
}

impl Webhook {
    /// Reads the secrets: one a line, so that a new one can be introduced beside the old one.
    pub(crate) fn new(url: &str, secret_file: &Path, timeout: Duration) -> Result<Webhook, CliError> {
        let text = input::read_file(secret_file)?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let secrets: Option<Vec<Vec<u8>>> = lines.iter().map(|line| secret(line)).collect();
        match secrets {
            Some(secrets) if (1..=SECRETS_MAX).contains(&secrets.len()) => {
                Ok(Webhook { url: url.to_owned(), secrets, timeout })
            }
            _ => Err(CliError::usage(format!(
                "{} is not a secret for webhooks: it is whsec_ and 24 to 64 bytes in base64, at most {SECRETS_MAX} of them, one a \
                 line; make one with: echo whsec_$(openssl rand -base64 32)",
                secret_file.display()
            ))),
        }
    }

    /// Sends an entry once. Success is any status of 2xx.
    pub(super) fn post(&self, text: &str, entry: &Value) -> Result<(), Failure> {
        let id = id(entry).ok_or_else(|| Failure {
            why: "its hash is not shown to this access token, and the id of a webhook is made of it: use one of the role auditor, \
                  teller or admin"
                .to_owned(),
            is_final: true,
        })?;
        let timestamp = (Clock::Machine.wall_ms() / 1_000).to_string();
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| signature(secret, &id, &timestamp, text)).collect();
        let headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", concat!("cashbox/", env!("CARGO_PKG_VERSION"))),
            ("webhook-id", &id),
            ("webhook-timestamp", &timestamp),
            ("webhook-signature", &signatures.join(" ")),
        ];
        let sent = post(&HttpPost { url: &self.url, headers: &headers, body: text.as_bytes(), timeout: self.timeout });
        match sent {
            Ok(200..=299) => Ok(()),
            Ok(status @ 300..=399) => Err(Failure::new(format!(
                "{} answers {status}, and a redirect is not followed: give the URL it leads to",
                self.url
            ))),
            Ok(GONE) => Err(Failure { why: format!("{} answers {GONE}: it takes no more", self.url), is_final: true }),
            Ok(status) => Err(Failure::new(format!("{} answers {status}", self.url))),
            Err(why) => Err(Failure::new(format!("{}: {why}", self.url))),
        }
    }
}

/// The id of an entry's webhook: its number, and a part of its hash, so that it is another after an older copy of the
/// file was restored.
pub(super) fn id(entry: &Value) -> Option<String> {
    Some(format!("entry-{}-{}", entry["id"].as_i64()?, entry["hash"].as_str()?.get(..HASH_DIGITS)?))
}

pub(super) fn secret(line: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(line.strip_prefix(SECRET_PREFIX)?).ok()?;
    SECRET_BYTES.contains(&bytes.len()).then_some(bytes)
}

pub(super) fn signature(secret: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    let signed = format!("{id}.{timestamp}.{body}");
    format!("v1,{}", STANDARD.encode(hmac_sha256(secret, signed.as_bytes())))
}

/// HMAC-SHA-256 (RFC 2104) for keys of at most one block.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|key| key ^ byte).to_vec();
    let inner = sha256(&[&pad(0x36), message].concat());
    sha256(&[&pad(0x5c), inner.as_slice()].concat())
}
