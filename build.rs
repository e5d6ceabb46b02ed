//! Compresses the long texts that the program carries, which makes it smaller by their greater part. The modules of the
//! console become one script before.

#[cfg(feature = "cli")]
#[path = "build/join.rs"]
mod join;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cli")]
    {
        use join::{joined, short_page, short_script, short_style};
        println!("cargo::rerun-if-changed=build");
        println!("cargo::rerun-if-changed=src/console");
        compressed::write("openapi.json", &compressed::read("src/http/openapi/openapi.json"));
        let console = |name: &str| compressed::read(&format!("src/console/{name}"));
        compressed::write("index.html", &short_page(&console("index.html")));
        compressed::write("console.css", &short_style(&console("console.css")));
        compressed::write("chinese.js", &short_script(&console("chinese.js")));
        compressed::write("console.js", &joined(std::path::Path::new("src/console"), "main.js"));
    }
}

#[cfg(feature = "cli")]
mod compressed {
    use flate2::{Compression, GzBuilder};
    use std::io::Write;
    use std::path::PathBuf;

    pub(crate) fn read(path: &str) -> String {
        println!("cargo::rerun-if-changed={path}");
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Writes the text compressed, for `include_bytes!`: `OUT_DIR/NAME.gz`.
    pub(crate) fn write(name: &str, text: &str) {
        // Without a name and a time: the same text is always the same bytes.
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).expect("a vector takes every write");
        let compressed = encoder.finish().expect("a vector takes every write");
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo gives a build script its folder"));
        std::fs::write(out.join(format!("{name}.gz")), compressed).expect("cargo's folder can be written");
    }
}
