//! The parts of `cashbox follow`, without a server.

use super::cursor_file::CursorFile;
use super::delivery::{Delivery, Receiver};
use super::follower::{EntryEvent, EventLines};
use super::webhook::{hmac_sha256, id, secret, signature};
use crate::cli::output::Exit;
use crate::secret::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

#[test]
fn event_reader_takes_whole_events_alone() {
    let text = ":\nid: a\n\nid: b\ndata: {\"id\":1}\n\n:\n\ndata: x\n\nid: c\ndata: {\"id\":2}\n\nid: d\ndata: {\"i";
    let mut events = EventLines::new(text.as_bytes());
    let event =
        |place: &str, entry: Option<&str>| EntryEvent { place: place.to_owned(), entry: entry.map(str::to_owned) };
    assert_eq!(events.next().unwrap(), Some(event("a", None)));
    assert_eq!(events.next().unwrap(), Some(event("b", Some("{\"id\":1}"))));
    assert_eq!(events.next().unwrap(), Some(event("c", Some("{\"id\":2}"))));
    assert!(events.next().is_err());
    assert_eq!(EventLines::new(&b""[..]).next().unwrap(), None);
}

#[test]
fn cursor_file_keeps_the_last_place_under_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cursor");
    let (mut cursor, place) = CursorFile::open(&path).unwrap();
    assert_eq!(place, None);
    fs::write(folder.path().join("cursor.new"), "left by a killed process").unwrap();
    for place in ["a1", "b2"] {
        cursor.write(place).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("cashbox-cursor-1 {place}\n"));
        assert_eq!(CursorFile::open(&path).unwrap_err().exit, Exit::Usage, "it is in use");
    }
    drop(cursor);
    // A process that another test starts holds the lock, too, until its program begins.
    let opened = (0..1_000).find_map(|_| {
        CursorFile::open(&path).ok().or_else(|| {
            std::thread::sleep(Duration::from_millis(10));
            None
        })
    });
    assert_eq!(opened.unwrap().1.as_deref(), Some("b2"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn file_that_is_not_a_cursor_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cursor");
    let long = format!("cashbox-cursor-1 {}", "a".repeat(64 * 1024));
    let wrong = ["\n", "hello\n", "cashbox-cursor-1 \n", "cashbox-cursor-1 a1", "cashbox-cursor-1 x\n", &long];
    for text in wrong {
        fs::write(&path, text).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap_err().exit, Exit::Usage, "{text:.40}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(CursorFile::open(&path).is_err());
    assert_eq!(CursorFile::open(folder.path()).unwrap_err().exit, Exit::Unreachable, "a folder");
    let nowhere = folder.path().join("no/such/folder");
    assert_eq!(CursorFile::open(&nowhere).unwrap_err().exit, Exit::Unreachable);
}

fn shell(script: &str, retries: bool, give_up: Option<Duration>) -> Delivery {
    let words = ["sh", "-c", script].map(OsString::from).to_vec();
    Delivery { receiver: Receiver::Command(words), retries, first_pause: Duration::from_millis(1), give_up }
}

#[test]
fn command_is_tried_until_it_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let script = format!("cat >> {0}; test $(wc -l < {0}) -ge 4", count.display());
    shell(&script, true, None).deliver("{\"id\":7}").unwrap();
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "{\"id\":7}\n".repeat(4));
}

#[test]
fn command_that_fails_ends_with_its_entry() {
    let ends = |delivery: Delivery| delivery.deliver("{\"id\":7}").unwrap_err();
    let error = ends(shell("exit 3", false, None));
    assert_eq!(error.exit, Exit::Refused);
    assert!(error.message.starts_with("entry 7: sh failed (exit status: 3) (--retry"), "{}", error.message);
    let error = ends(shell("exit 3", true, Some(Duration::from_millis(20))));
    assert!(error.message.contains("(and has for 0 s)"), "{}", error.message);
    let missing = vec![OsString::from("/no/such/command")];
    let missing = Delivery { receiver: Receiver::Command(missing), ..shell("", false, None) };
    assert!(ends(missing).message.contains("cannot run /no/such/command"));
}

#[test]
fn command_need_not_read_its_entry() {
    let long = format!("{{\"id\":7,\"reference\":\"{}\"}}", "x".repeat(300_000));
    shell("exit 0", false, None).deliver(&long).unwrap();
}

#[test]
fn hmac_is_that_of_rfc_4231() {
    let cases: [(&[u8], &[u8], &str); 3] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ];
    for (key, message, expected) in cases {
        assert_eq!(hex(&hmac_sha256(key, message)), expected);
    }
}

#[test]
fn signature_is_that_of_standard_webhooks() {
    let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "{\"test\": 2432232314}");
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn webhook_id_needs_the_hash() {
    let entry = json!({ "id": 7, "hash": "00112233445566778899aabbccddeeff" });
    assert_eq!(id(&entry).as_deref(), Some("entry-7-0011223344556677"));
    assert_eq!(id(&json!({ "id": 7, "hash": null })), None);
}

#[test]
fn secret_has_its_prefix_and_length() {
    let written = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    assert!(secret(&written(24)).is_some() && secret(&written(64)).is_some());
    for wrong in [written(23), written(65), "whsec_".to_owned(), "hello".to_owned(), written(32)[6..].to_owned()] {
        assert!(secret(&wrong).is_none(), "{wrong}");
    }
}
