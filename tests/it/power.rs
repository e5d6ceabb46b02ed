//! The power goes: what was written and not synced is there or is not, down to the byte. The log of a real file is cut at
//! random places, or spoilt from there on; whatever was answered before that place was written is still there.

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::store::Store;
use std::fs;
use std::path::{Path, PathBuf};

const REQUESTS: usize = 60;
/// Power cuts, unless `CASHBOX_TORTURE_ROUNDS` gives their number.
const CUTS: usize = 24;

fn log_of(file: &Path) -> PathBuf {
    file.with_file_name(format!("{}-wal", file.file_name().unwrap().to_str().unwrap()))
}

/// The `n`th request: money in, out, and about, a coupon now and then.
fn request(n: usize) -> cashbox::internals::command::Command {
    match n % 4 {
        0 => recharge("alice", "150"),
        1 => recharge("bob", "1.11"),
        2 => transfer("alice", "bob", "2.22"),
        _ => pay("alice", "3.33", None),
    }
}

/// The file as it is before all that is in its log from that byte on. What was moved from the log into the file had been
/// on disk before: no power cut takes it away.
fn before(book: &Book) -> (Vec<u8>, usize) {
    loop {
        let (file, log) = (fs::read(book.path()).unwrap(), fs::metadata(log_of(&book.path())).unwrap().len() as usize);
        if fs::read(book.path()).unwrap() == file {
            let nothing_was_moved = file.len() <= 4_096;
            return (file, if nothing_was_moved { 0 } else { log });
        }
    }
}

/// The file that a power cut at that byte of the log leaves.
fn cut(book: &Book, before: &[u8], at: usize, dice: &mut Dice) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("cashbox.db");
    fs::write(&copy, before).unwrap();
    let mut log = fs::read(log_of(&book.path())).unwrap();
    match dice.below(3) {
        0 => log.truncate(at),
        1 => log[at..].fill(0),
        _ => log[at..].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
    }
    fs::write(log_of(&copy), log).unwrap();
    folder
}

#[test]
fn power_loss_keeps_every_answered_change() {
    for mut dice in Dice::runs(0..1) {
        let book = book();
        let reader = book.raw(); // reads all the time, so that the log does not start anew
        reader.execute_batch("BEGIN; SELECT count(*) FROM wallet").unwrap();
        let (before, from) = before(&book);
        let mut written = Vec::new();
        for n in 0..REQUESTS {
            book.submit(keyed(&format!("k{n}")), request(n)).result.unwrap();
            written.push(fs::metadata(log_of(&book.path())).unwrap().len() as usize);
        }
        let end = *written.last().unwrap();
        assert!(written.is_sorted() && end > 100_000, "the log grew: {end}");
        for _ in 0..crate::crash::rounds(CUTS) {
            let at = from + dice.below(end - from + 1);
            let folder = cut(&book, &before, at, &mut dice);
            let file = folder.path().join("cashbox.db");
            let answered = written.iter().filter(|length| **length <= at).count();
            let store = Store::open(&file, &book.options).unwrap_or_else(|why| panic!("cut at {at}: {why}"));
            let audit = || cashbox::internals::store::audit::audit(&file, None, &mut |_, _| {}).unwrap();
            let (entries, findings) = (audit().entries, audit().findings);
            assert_eq!(findings, [], "cut at {at}");
            assert!(entries >= answered as i64, "cut at {at}: {entries} entries, and {answered} were answered");
            for n in 0..REQUESTS {
                let again = store.submit(keyed(&format!("k{n}")), request(n));
                assert_eq!(again.replayed, (n as i64) < entries, "cut at {at}: request {n} again");
                assert_eq!(moved(again.result.unwrap()).entry.id.0, n as i64 + 1);
            }
            assert_eq!((audit().entries, audit().findings), (REQUESTS as i64, vec![]), "cut at {at}");
        }
    }
}
