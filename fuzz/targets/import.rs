//! Records: imported whole and sound, or refused without a trace.
#![no_main]

use cashbox::store::import::{Wish, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("cashbox.db");
    let mut lines = text.lines().map(|line| Ok(line.to_owned()));
    let imported = import(&db, &mut lines, Wish::default(), &mut |_, _| {});
    assert_eq!(imported.is_ok(), db.exists());
    assert_eq!(imported.is_ok(), folder.path().read_dir().expect("a folder").next().is_some());
});
