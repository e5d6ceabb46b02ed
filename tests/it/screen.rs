//! Commands at a terminal: notes on what they wait for, tables that fit, colour.

use crate::server::until;
use crate::shell::{Place, Running};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command whose output and errors go to a terminal of its own.
struct Screen {
    child: Child,
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Screen {
    fn of(mut command: Command, columns: u16) -> Screen {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let end = || File::options().read(true).write(true).open(&name).unwrap();
        command.env_remove("COLUMNS").env_remove("NO_COLOR").env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        let child = command.stdin(Stdio::null()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(command); // its end of the terminal would keep the screen open
        let text = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, shown) = (File::from(terminal), Arc::clone(&text));
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut chunk) {
                shown.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Screen { child, text, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).replace("\r\n", "\n")
    }

    /// Its exit code and all it showed.
    fn finish(mut self) -> (i32, String) {
        let exit = self.child.wait().unwrap().code().unwrap_or(-1);
        let text = Arc::clone(&self.text);
        self.reader.join().unwrap(); // the last bytes are read
        let text = String::from_utf8_lossy(&text.lock().unwrap()).replace("\r\n", "\n");
        (exit, text)
    }
}

fn at(place: &Place, columns: u16, line: &str) -> Screen {
    Screen::of(place.command(line), columns)
}

#[test]
fn wait_for_lock_names_lock_and_holder() {
    let place = Place::new();
    let token = place.run("lock acquire z --holder sleeper").out;
    let screen = at(&place, 80, "lock acquire z --wait 20s");
    until(|| screen.text().contains("waiting for z, held by sleeper\n"));
    assert_eq!(place.run(&format!("lock release z --lock-token {token}")).exit, 0);
    assert_eq!(screen.finish().0, 0);
}

#[test]
fn wait_for_lock_at_server_names_lock_and_holder() {
    let place = Place::new();
    let server = place.serve("");
    place.run("recharge alice 5");
    let token = place.run("lock acquire wallet/alice --holder till").out;
    let money = at(&place, 80, "withdraw alice 1 --wait 20s");
    until(|| money.text().contains("waiting for wallet/alice, held by till\n"));
    let lock = at(&place, 80, "lock acquire wallet/alice --wait 20s"); // second in the queue
    until(|| lock.text().contains("waiting for wallet/alice, held by till\n"));
    let quiet = at(&place, 80, "withdraw alice 1 --wait 2s --quiet");
    assert_eq!(
        quiet.finish(),
        (1, "\u{1b}[31manother client holds the lock: till has the lock wallet/alice\u{1b}[0m\n".to_owned())
    );
    assert_eq!(place.run(&format!("lock release wallet/alice --lock-token {token}")).exit, 0);
    assert_eq!((money.finish().0, lock.finish().0), (0, 0));
    server.stop();
}

#[test]
fn hung_server_ends_command_with_its_key() {
    let place = Place::new();
    std::fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    let id = server.child.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    signal("-STOP");
    let begun = Instant::now();
    let local = at(&place, 200, "recharge alice 5 --wait 0");
    let there = at(&place, 200, &format!("recharge alice 5 --wait 0 --url {} --token-file token", server.url));
    until(|| {
        there.text().contains("yet; waiting for at most 10 seconds; it may have been done: ask again with --key cli-")
    });
    until(|| local.text().contains("yet; waiting for at most 10 seconds\n"));
    assert!(begun.elapsed() < Duration::from_secs(6));
    let ((exit, text), (local_exit, local_text)) = (there.finish(), local.finish());
    assert_eq!((exit, local_exit), (3, 3), "{text}{local_text}");
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    assert!(
        local_text.contains(&format!("process {id} does not answer (is it stopped?); nothing was sent")),
        "{local_text}"
    );
    let key = text.rsplit("in 10 seconds; it may have been done: ask again with --key ").next().unwrap();
    let key: String = key.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    signal("-CONT");
    let again = format!("recharge alice 5 --key {key} --url {} --token-file token", server.url);
    assert_eq!(place.json(&again)["balance"], "5.00");
    assert_eq!(place.json("wallet alice")["balance"], "5.00", "once");
    server.stop();
}

#[test]
fn refusal_is_red_where_colours_are_shown() {
    let place = Place::new();
    place.run("recharge alice 5");
    let red = |line: &str| at(&place, 80, line).finish().1.contains("\u{1b}[31m");
    assert!(red("withdraw alice 9"));
    assert!(!red("withdraw alice 9 --color never"));
    assert!(place.run("withdraw alice 9 --color always").err.starts_with("\u{1b}[31m"));
    assert!(!place.run("withdraw alice 9").err.contains('\u{1b}'));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = Command::new("env");
        command.args([&format!("{name}={value}"), env!("CARGO_BIN_EXE_cashbox"), "withdraw", "alice", "9"]);
        command.env("CASHBOX_DB", place.db());
        assert!(!Screen::of(command, 80).finish().1.contains('\u{1b}'), "{name}");
    }
}

#[test]
fn signal_for_command_is_passed_on() {
    let place = Place::new();
    let script = "trap 'echo usr1 >> got' USR1; trap 'echo usr2 >> got' USR2; trap 'echo alrm >> got' ALRM; \
                  trap 'echo winch >> got' WINCH; trap 'exit 9' TERM; echo in > in; while :; do sleep 0.05; done";
    let running: Running = place.start(&["lock", "run", "a", "--", "sh", "-c", script]);
    place.line_of("in");
    let got = || std::fs::read_to_string(place.path("got")).unwrap_or_default();
    for (signal, name) in
        [(Signal::USR1, "usr1"), (Signal::USR2, "usr2"), (Signal::ALARM, "alrm"), (Signal::WINCH, "winch")]
    {
        running.signal(signal);
        until(|| got().contains(name));
    }
    running.signal(Signal::TERM);
    assert_eq!(running.finish().exit, 9);
}

#[test]
fn resized_terminal_does_not_end_wait() {
    let place = Place::new();
    let token = place.run("lock acquire a").out;
    let waiting = at(&place, 80, "lock run a --wait forever -- true");
    until(|| waiting.text().contains("waiting for a"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&waiting.child), Signal::WINCH).unwrap();
    place.run(&format!("lock release a --lock-token {token}"));
    assert_eq!(waiting.finish().0, 0);
}

#[test]
fn script_without_interpreter_line_is_run_by_sh() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let executable = |name: &str, text: &[u8]| {
        std::fs::write(place.path(name), text).unwrap();
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o700)).unwrap();
    };
    executable("script", b"echo \"$1 and $2\" > out; exit 3\n");
    executable("broken", b"\x7fELF\0\0\0\0 not a program");
    assert_eq!(place.run("lock run a -- ./script one two").exit, 3);
    assert_eq!(place.line_of("out"), "one and two");
    assert_eq!(place.run("lock run a -- ./broken").exit, 126);
    let path = std::env::join_paths([place.0.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
    assert_eq!(place.command("lock run a -- script 1 2").env("PATH", path).status().unwrap().code(), Some(3));
}

#[test]
fn lock_command_makes_no_file_that_is_not_named() {
    let place = Place::new();
    let run = |line: &str| {
        let output = place.command(line).env_remove("CASHBOX_DB").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (exit, err) = run("lock run a -- true");
    assert_eq!(exit, 125);
    assert!(err.starts_with("there is no cashbox.db in this folder: name the file with --db or CASHBOX_DB"), "{err}");
    assert_eq!(run("lock acquire a").0, 3);
    assert!(std::fs::read_dir(place.0.path()).unwrap().next().is_none(), "nothing is made");
    let (exit, err) = run("recharge alice 1");
    assert_eq!((exit, err), (0, format!("made a new wallet file: {}\n", place.db().canonicalize().unwrap().display())));
    assert_eq!(run("lock acquire a").0, 0, "there is a file now");
    assert_eq!(run("recharge alice 1 --db other.db --quiet"), (0, String::new()));
    assert_eq!(run("lock run a --db third.db -- true").0, 0);
}

#[test]
fn history_fits_terminal() {
    let place = Place::new();
    for number in 0..3 {
        place.json(&format!(
            "recharge alice {number}99 --reference a-reference-that-is-longer-than-the-terminal-is-wide-by-far"
        ));
    }
    place.json("refund 1 5");
    for columns in [40, 60, 80, 100] {
        for line in ["history alice", "history", "wallets", "coupons alice", "token list", "coupon-kinds"] {
            let (exit, text) = at(&place, columns, line).finish();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert_eq!(exit, 0);
            assert!(widest <= columns.into() || line == "coupon-kinds", "{line} at {columns}: {widest}\n{text}");
        }
    }
    let (_, text) = at(&place, 100, "history alice").finish();
    assert!(text.contains('…') && !text.contains(".000Z") && !text.contains('T') | text.contains("TIME"), "{text}");
    let piped = place.run("history alice").out;
    assert!(piped.contains("wide-by-far") && piped.contains('Z'), "a pipe gets all of it: {piped}");
}

#[test]
fn lab_and_bench_fit_terminal() {
    let place = Place::new();
    for (columns, line) in [
        (40, "lab --only none,plain --clients 2 --requests 4 --no-stall"),
        (80, "lab --only none,thread-two-processes --clients 2 --requests 4 --no-stall"),
        (40, "bench --duration 200ms --warm-up 0 --connections 2"),
    ] {
        let (exit, text) = at(&place, columns, line).finish();
        assert!(exit == 0 || line.contains("none"), "{line}: {text}");
        let is_row = |line: &&str| {
            ["STRATEGY", "none ", "plain ", "thread", "  p", "  to "].iter().any(|begin| line.starts_with(begin))
        };
        let rows: Vec<_> =
            text.lines().filter(is_row).map(|row| row.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "")).collect();
        assert!(rows.len() > 2, "{text}");
        for row in rows {
            assert!(row.chars().count() <= columns.into(), "{line}: {row}");
        }
    }
}

/// A note that comes while a bar is drawn takes the place of the bar, which is drawn again below it.
#[test]
fn note_above_bar_leaves_nothing_behind() {
    let place = Place::new();
    let lines = "{\"op\":\"recharge\",\"user\":\"alice\",\"amount\":\"0.01\"}\n".repeat(10_500);
    std::fs::write(place.path("many"), lines).unwrap();
    let (exit, text) = at(&place, 60, "batch many").finish();
    assert_eq!(exit, 0);
    let (before, _) = text.split_once("made a new wallet file").unwrap();
    assert!(before.is_empty() || before.ends_with(['\r', '\n', 'K', 'J', 'A']), "the bar is cleared: {before:?}");
}

#[test]
fn progress_is_drawn_only_where_it_can_be() {
    let place = Place::new();
    let lines = "{\"op\":\"recharge\",\"user\":\"alice\",\"amount\":\"0.01\"}\n".repeat(12_000);
    std::fs::write(place.path("many"), lines).unwrap();
    let server = place.serve("");
    let screen = at(&place, 40, "batch many");
    until(|| screen.text().contains("% of 12,000 items"));
    let (exit, text) = screen.finish();
    assert_eq!(exit, 0);
    assert!(text.ends_with("12,000 done\n"), "{text:?}");
    for (name, value, plain) in [("TERM", "dumb", true), ("LC_ALL", "C", false)] {
        let mut command = Command::new("env");
        command.args([&format!("{name}={value}"), env!("CARGO_BIN_EXE_cashbox"), "batch", "many"]);
        command.current_dir(place.0.path());
        let (exit, text) = Screen::of(command, 40).finish();
        assert_eq!((exit, text.is_ascii()), (0, true), "{text:?}");
        assert_eq!(text == "12,000 done\n", plain, "{text:?}");
    }
    server.stop();
}

#[test]
fn export_at_terminal_shows_hidden_characters_by_number() {
    let place = Place::new();
    let reference = "--reference=\u{1b}[2J\u{9b}1m\u{202e}é";
    assert_eq!(place.start(&["recharge", "alice", "1", reference]).finish().exit, 0);
    for line in ["export --csv entries", "export"] {
        let (exit, text) = at(&place, 80, line).finish();
        assert_eq!(exit, 0, "{text}");
        assert!(text.contains("[2J\\u{9b}1m\\u{202e}é"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text}");
        assert!(place.run(line).out.contains("\u{9b}1m\u{202e}é"), "a file gets the bytes themselves");
    }
}
