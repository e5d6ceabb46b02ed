//! The frames of a log that SQLite has written, whole and cut.

use super::log_frames::LogFrames;
use crate::store::disk::with_ending;
use rusqlite::Connection;
use std::fs::{File, OpenOptions};

#[test]
fn commit_is_found_behind_each_frame_before_its_last() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("cashbox.db");
    let conn = Connection::open(&db).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
    let pages =
        |conn: &Connection| -> u64 { conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap() };
    let log = with_ending(&db, "-wal");
    let frames = LogFrames::of(File::open(&log).unwrap());
    let before = pages(&conn);
    assert!(!frames.has_commit_behind(before).unwrap());
    conn.execute_batch("INSERT INTO t VALUES (zeroblob(20000))").unwrap();
    let after = pages(&conn);
    assert!(after > before + 1, "several pages");
    for frame in before..after {
        assert!(frames.is_whole(frame) && frames.has_commit_behind(frame).unwrap());
    }
    assert!(frames.is_whole(after) && !frames.has_commit_behind(after).unwrap());

    let writable = OpenOptions::new().write(true).open(&log).unwrap();
    writable.set_len(writable.metadata().unwrap().len() - 1).unwrap();
    assert!(!frames.is_whole(after), "its last byte is missing");
    assert!(!frames.has_commit_behind(before).unwrap(), "pages without their commit");
    assert!(frames.salts().unwrap().is_some());
    writable.set_len(0).unwrap();
    assert_eq!((frames.salts().unwrap(), frames.has_commit_behind(0).unwrap()), (None, false));
}
