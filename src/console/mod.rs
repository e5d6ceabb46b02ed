//! The console: the page in the binary, as files that a server sends. It uses the public API only, and this module knows
//! nothing of HTTP but the names of headers.
//!
//! Nothing comes from elsewhere. The build script joins the modules to one script (`build/join.rs`), leaves out comments and
//! spaces, and compresses the files.
//!
//! | module | has |
//! |---|---|
//! | words, chinese | each word in both languages; the second one is a file of its own, fetched when it is chosen |
//! | tools | nodes, amounts in whole cents, times |
//! | requests | the one place that asks the server |
//! | parts, charts | what several views show |
//! | dialogs, money | the three steps of a change, and the changes |
//! | today, wallets, entries, coupons, locks, tokens, health | a view each |
//! | main | the frame: address, signing in, keys |

use crate::secret::hex;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// A file of the page.
pub(crate) struct ConsoleFile {
    /// Its name in `/console/`; empty for the page itself.
    pub(crate) name: &'static str,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its text, compressed by gzip.
    pub(crate) gzipped: &'static [u8],
    /// The value of `ETag`, of the text: weak, since both forms have it.
    pub(crate) etag: String,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Names in `/console/`, media types, and the files that the build script wrote.
macro_rules! files {
    ($(($name:literal, $media_type:expr, $file:literal),)*) => {
        &[$(($name, $media_type, include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".gz")))),*]
    };
}

const FILES: &[(&str, &str, &[u8])] = files![
    ("", HTML, "index.html"),
    ("console.css", CSS, "console.css"),
    ("console.js", JS, "console.js"),
    ("chinese.js", JS, "chinese.js"),
];

static TAGGED: LazyLock<Vec<ConsoleFile>> = LazyLock::new(|| {
    let tagged = |&(name, media_type, gzipped): &(&'static str, &'static str, &'static [u8])| {
        let etag = format!("W/\"{}\"", hex(&Sha256::digest(unpacked(gzipped))));
        ConsoleFile { name, media_type, gzipped, etag }
    };
    FILES.iter().map(tagged).collect()
});

/// The file of that name.
pub(crate) fn file(name: &str) -> Option<&'static ConsoleFile> {
    TAGGED.iter().find(|file| file.name == name)
}

/// The text of a file.
pub(crate) fn unpacked(gzipped: &[u8]) -> String {
    std::io::read_to_string(GzDecoder::new(gzipped)).expect("the build script compressed a text")
}

/// The policy that every file is sent with: nothing but the page's own files and requests to its own server.
pub(crate) const CONTENT_SECURITY_POLICY: &str = concat!(
    "default-src 'none'; ",
    "script-src 'self'; ",
    "style-src 'self'; ",
    "connect-src 'self'; ",
    "img-src 'self' data:; ",
    "base-uri 'none'; ",
    "form-action 'none'; ",
    "frame-ancestors 'none'; ",
    "require-trusted-types-for 'script'",
);
