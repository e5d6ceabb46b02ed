//! Compresses the long texts that the program carries, which makes it smaller by their greater part.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cli")]
    compressed::write("src/http/openapi/openapi.json");
}

#[cfg(feature = "cli")]
mod compressed {
    use flate2::{Compression, GzBuilder};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    /// Writes the text in this file, compressed, for `include_bytes!`: `OUT_DIR/NAME.gz`.
    pub(crate) fn write(path: &str) {
        println!("cargo::rerun-if-changed={path}");
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // Without a name and a time: the same text is always the same bytes.
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
        encoder.write_all(&text).expect("a vector takes every write");
        let compressed = encoder.finish().expect("a vector takes every write");
        let name = Path::new(path).file_name().expect("a file has a name").to_string_lossy();
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo gives a build script its folder"));
        std::fs::write(out.join(format!("{name}.gz")), compressed).expect("cargo's folder can be written");
    }
}
