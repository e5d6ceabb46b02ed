//! Records or a table: imported completely, or refused with no file left behind.
#![no_main]

use cashbox::internals::store::file::transfer::{Source, ImportOptions, import};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

fuzz_target!(|text: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("cashbox.db");
    let Ok(source) = Source::open("fuzz", Box::new(Cursor::new(text.to_vec()))) else { return };
    let imported = import(&db, vec![source], ImportOptions::default(), &mut |_, _| {});
    assert_eq!(imported.is_ok(), db.exists());
    assert_eq!(imported.is_ok(), folder.path().read_dir().expect("a folder").next().is_some());
});
