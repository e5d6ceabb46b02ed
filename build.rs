//! Compresses the long texts that the program carries, which makes it smaller by their greater part.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cli")]
    {
        compressed::write("src/http/openapi/openapi.json", |text| text);
        println!("cargo::rerun-if-changed=src/console");
        for file in std::fs::read_dir("src/console").expect("the console has files").flatten() {
            let path = file.path();
            if path.extension().is_some_and(|ending| ending != "rs") {
                compressed::write(&path.to_string_lossy(), compressed::shortened);
            }
        }
    }
}

#[cfg(feature = "cli")]
mod compressed {
    use flate2::{Compression, GzBuilder};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    /// Writes the text in this file, changed and compressed, for `include_bytes!`: `OUT_DIR/NAME.gz`.
    pub(crate) fn write(path: &str, change: fn(String) -> String) {
        println!("cargo::rerun-if-changed={path}");
        let text = change(std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}")));
        // Without a name and a time: the same text is always the same bytes.
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).expect("a vector takes every write");
        let compressed = encoder.finish().expect("a vector takes every write");
        let name = Path::new(path).file_name().expect("a file has a name").to_string_lossy();
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo gives a build script its folder"));
        std::fs::write(out.join(format!("{name}.gz")), compressed).expect("cargo's folder can be written");
    }
    /// A script or a style sheet without the indentation and the comments that have lines of their own. The lines keep their
    /// numbers.
    pub(crate) fn shortened(text: String) -> String {
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
}
