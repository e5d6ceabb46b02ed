//! The console: the page in the binary, as files that a server sends. It uses the public API only, and this module knows
//! nothing of HTTP but the names of headers.
//!
//! The files are scripts and styles as they are written: there is nothing to build, and nothing comes from elsewhere.

use crate::secret::hex;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::sync::LazyLock;

/// A file of the page.
pub(crate) struct ConsoleFile {
    /// Its name in `/console/`; empty for the page itself.
    pub(crate) name: &'static str,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its text.
    pub(crate) text: String,
    /// The text, compressed by gzip.
    pub(crate) gzipped: Vec<u8>,
    /// The value of `ETag`, of the text: weak, since both forms have it.
    pub(crate) etag: String,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The names, media types and texts.
const TEXTS: &[(&str, &str, &str)] = &[
    ("", HTML, include_str!("index.html")),
    ("console.css", CSS, include_str!("console.css")),
    ("main.js", JS, include_str!("main.js")),
    ("words.js", JS, include_str!("words.js")),
    ("tools.js", JS, include_str!("tools.js")),
    ("requests.js", JS, include_str!("requests.js")),
    ("parts.js", JS, include_str!("parts.js")),
    ("charts.js", JS, include_str!("charts.js")),
    ("dialogs.js", JS, include_str!("dialogs.js")),
    ("money.js", JS, include_str!("money.js")),
    ("today.js", JS, include_str!("today.js")),
    ("wallets.js", JS, include_str!("wallets.js")),
    ("entries.js", JS, include_str!("entries.js")),
    ("coupons.js", JS, include_str!("coupons.js")),
    ("locks.js", JS, include_str!("locks.js")),
    ("tokens.js", JS, include_str!("tokens.js")),
    ("health.js", JS, include_str!("health.js")),
];

static FILES: LazyLock<Vec<ConsoleFile>> = LazyLock::new(|| {
    let file = |&(name, media_type, text): &(&'static str, &'static str, &'static str)| {
        let text = shortened(text);
        let (gzipped, etag) = (gzip(&text), format!("W/\"{}\"", hex(&Sha256::digest(&text))));
        ConsoleFile { name, media_type, text, gzipped, etag }
    };
    TEXTS.iter().map(file).collect()
});

/// The file of that name. The first call compresses all of them.
pub(crate) fn file(name: &str) -> Option<&'static ConsoleFile> {
    FILES.iter().find(|file| file.name == name)
}

/// The text without the indentation and the comments that have lines of their own. The lines keep their numbers.
fn shortened(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        in_comment |= line.starts_with("/*");
        if !in_comment && !line.starts_with("//") {
            short.push_str(line);
        }
        in_comment &= !line.ends_with("*/");
        short.push('\n');
    }
    short
}

fn gzip(text: &str) -> Vec<u8> {
    // Without a name and a time: the same text is always the same bytes.
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).expect("a vector takes every write");
    encoder.finish().expect("a vector takes every write")
}

/// The policy that every file is sent with: nothing but the page's own files and requests to its own server.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";
