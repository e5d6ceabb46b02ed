//! Tests of what only the modules of `lock run` can see.

use super::acquire::{LockWait, lock_wait};
use super::lease::LeaseTimes;
use super::protocol::{Deadlines, ForwardedSignal, GuardMessage, MessageReader, WrapperMessage, send};
use super::terminal::{ignored_signals, is_in_set};
use rustix::process::Signal;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn wait_is_a_time_or_forever() {
    assert_eq!(lock_wait("forever"), Ok(LockWait::Forever));
    assert_eq!(lock_wait("0s"), Ok(LockWait::For(Duration::ZERO)));
    assert!(lock_wait("for ever").is_err());
}

#[test]
fn messages_are_one_json_line_each() {
    let wrapper_messages = [
        (WrapperMessage::Lease(Deadlines { term_ms: 7, kill_ms: 9 }), r#"{"lease":{"term_ms":7,"kill_ms":9}}"#),
        (WrapperMessage::Signal(ForwardedSignal::Hup), r#"{"signal":"hup"}"#),
        (WrapperMessage::End(-3), r#"{"end":-3}"#),
        (
            WrapperMessage::Release { access_token: None, retry_failed: true },
            r#"{"release":{"access_token":null,"retry_failed":true}}"#,
        ),
        (WrapperMessage::Released, r#""released""#),
    ];
    for (message, line) in wrapper_messages {
        assert_eq!(serde_json::to_string(&message).unwrap(), line);
        assert_eq!(serde_json::from_str::<WrapperMessage>(line).unwrap(), message);
    }
    let reason = "no such file: x\ny".to_owned();
    let guard_messages = [
        (GuardMessage::Started(12), r#"{"started":12}"#),
        (
            GuardMessage::Failed { exit_code: 127, reason },
            r#"{"failed":{"exit_code":127,"reason":"no such file: x\ny"}}"#,
        ),
        (GuardMessage::TooLate, r#""too_late""#),
        (GuardMessage::Stopped, r#""stopped""#),
        (GuardMessage::WantsTerminal, r#""wants_terminal""#),
        (GuardMessage::Expired, r#""expired""#),
        (GuardMessage::exited_by(ForwardedSignal::Term), r#"{"exited":143}"#),
    ];
    for (message, line) in guard_messages {
        assert_eq!(serde_json::to_string(&message).unwrap(), line);
        assert_eq!(serde_json::from_str::<GuardMessage>(line).unwrap(), message);
    }
    for line in ["", "{}", r#"{"lease":{"term_ms":1}}"#, r#"{"signal":"kill"}"#, r#"{"end":"1"}"#, r#""started""#] {
        assert!(serde_json::from_str::<WrapperMessage>(line).is_err(), "{line}");
        assert!(serde_json::from_str::<GuardMessage>(line).is_err(), "{line}");
    }
    assert!(serde_json::from_str::<GuardMessage>(r#"{"exited":256}"#).is_err());
}

#[test]
fn reader_gives_whole_lines_and_keeps_half_ones() {
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut reader = MessageReader::<WrapperMessage>::new(&there).unwrap();
    assert_eq!(reader.received(), []);
    send(&here, &WrapperMessage::End(1));
    here.write_all(b"nonsense\n{\"end\":2}\n{\"en").unwrap();
    assert_eq!(reader.received(), [WrapperMessage::End(1), WrapperMessage::End(2)]);
    here.write_all(b"d\":3}\n").unwrap();
    drop(here);
    assert_eq!((reader.received(), reader.is_closed()), (vec![WrapperMessage::End(3)], true));
}

#[test]
fn command_is_killed_before_lease_and_grace_are_over() {
    for ttl_ms in [1, 2, 100, 249, 251, 10_000] {
        for grace_ms in [0, 1, 249, 250, 251, 5_000] {
            for kill_after_ms in [0, 1, 100, 60_000] {
                let times = LeaseTimes { ttl_ms, grace_ms, kill_after_ms };
                let Deadlines { term_ms, kill_ms } = times.deadlines(ttl_ms);
                assert!(0 <= term_ms && term_ms <= ttl_ms && term_ms <= kill_ms, "{times:?}");
                assert!(kill_ms - term_ms <= kill_after_ms, "{times:?}");
                assert!(kill_ms < ttl_ms + grace_ms || ttl_ms + grace_ms == 1, "{times:?}");
                assert_eq!(kill_ms - term_ms, times.term_to_kill_ms(), "{times:?}");
            }
        }
    }
    let usual = LeaseTimes { ttl_ms: 60_000, grace_ms: 5_000, kill_after_ms: 5_000 };
    assert_eq!(usual.deadlines(60_000), Deadlines { term_ms: 60_000, kill_ms: 64_750 });
    let without_grace = LeaseTimes { grace_ms: 0, ..usual };
    assert_eq!(without_grace.deadlines(60_000), Deadlines { term_ms: 59_750, kill_ms: 59_750 });
}

#[test]
fn ignored_signals_are_read_from_process_status() {
    let set = ignored_signals("Name:\tcashbox\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n");
    assert!(is_in_set(Signal::HUP, set) && is_in_set(Signal::PIPE, set) && !is_in_set(Signal::INT, set));
    assert_eq!(ignored_signals("SigIgn:\tnonsense"), 0);
}
