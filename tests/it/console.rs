//! The console: how it is served, and a walk through all of it in a real browser, where there is one
//! (`tests/console/walk.mjs`).

use crate::harness::{money, user_id, wallet_id};
use crate::server::{Answer, Server};
use crate::shell::Place;
use crate::source;
use cashbox::internals::clock::Clock;
use cashbox::internals::command::{Command, GrantCoupon};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::hold::PlaceHold;
use cashbox::internals::ledger::settings::SetWallet;
use cashbox::internals::ledger::verbs::{Pay, Recharge, Refund, Withdraw};
use cashbox::internals::store::{Envelope, Options, Outcome, Store};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The files of a first view as the server names them, and the one that a page in Chinese fetches as well.
const FIRST_VIEW: [&str; 3] = ["", "console.css", "console.js"];
const CHINESE: &str = "chinese.js";

/// Asks without a description to hold the answer against: the page is not a part of the API.
fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
    Answer::parse(&server.raw(request.as_bytes()), method == "HEAD")
}

fn page(server: &Server, name: &str, headers: &[(&str, &str)]) -> Answer {
    ask(server, "GET", &format!("/console/{name}"), headers)
}

#[test]
fn console_files_have_policy_tag_and_gzip() {
    let server = Server::start();
    let mut gzipped = 0;
    for name in FIRST_VIEW.into_iter().chain([CHINESE]) {
        let plain = page(&server, name, &[]);
        assert_eq!(plain.status, 200, "{name}");
        let tag = plain.header("ETag").unwrap().to_owned();
        for (header, value) in [
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
            ("Vary", "Accept-Encoding"),
        ] {
            assert_eq!(plain.header(header), Some(value), "{name}");
        }
        assert_eq!(plain.header("Content-Encoding"), None);
        assert_eq!(page(&server, name, &[("Accept-Encoding", "gzip;q=0, br")]).header("Content-Encoding"), None);

        let packed = page(&server, name, &[("Accept-Encoding", "br, gzip")]);
        assert_eq!(packed.header("Content-Encoding"), Some("gzip"));
        assert_eq!(packed.header("ETag"), Some(&*tag), "both forms have one tag");
        assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len());
        gzipped += packed.body.len();

        for known in [&*tag, tag.trim_start_matches("W/"), "\"other\", *"] {
            let unchanged = page(&server, name, &[("If-None-Match", known)]);
            assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{name} {known}");
            assert_eq!(unchanged.header("ETag"), Some(&*tag));
        }
        assert_eq!(page(&server, name, &[("If-None-Match", "\"other\"")]).status, 200);
    }
    assert!(gzipped > 10_000, "{gzipped} bytes");
    let head = ask(&server, "HEAD", "/console/", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(page(&server, "other.js", &[]).status, 404);
    assert_eq!(page(&server, "..%2Fmain.rs", &[]).status, 404);
    let refused = ask(&server, "POST", "/console/", &[]);
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(ask(&server, "OPTIONS", "/console/", &[]).status, 204);
}

#[test]
fn root_leads_a_browser_to_the_console() {
    let server = Server::start();
    let root = |accept: &str| ask(&server, "GET", "/", &[("Accept", accept)]);
    let answer = root("text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!(
        (answer.status, answer.header("Location"), answer.header("Vary")),
        (303, Some("/console/"), Some("Accept"))
    );
    assert_eq!(ask(&server, "GET", "/console", &[]).header("Location"), Some("/console/"));
    for accept in ["*/*", "application/json", "text/html;q=0"] {
        assert_eq!(root(accept).status, 404, "{accept}");
    }
    assert!(server.log().contains("console at http://127.0.0.1:"), "{}", server.log());
}

#[test]
fn serve_without_console_has_none_of_its_paths() {
    let server = Server::with(&["--no-console"]);
    for path in ["/", "/console", "/console/", "/console/console.js"] {
        assert_eq!(ask(&server, "GET", path, &[("Accept", "text/html")]).status, 404, "{path}");
    }
    assert!(!server.log().contains("console"), "{}", server.log());
}

#[test]
fn requests_for_the_console_are_counted() {
    let server = Server::start();
    page(&server, "", &[]);
    page(&server, "", &[("If-None-Match", "*")]);
    let metrics = server.admin().ask("GET", "/metrics").send();
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for status in ["200", "304"] {
        let line = format!("cashbox_requests_total{{method=\"GET\",route=\"/console/\",status=\"{status}\"}} 1\n");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn console_makes_no_markup_and_no_floats_of_amounts() {
    for (path, text) in source::files_in("src/console", &["js", "html"]) {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "parseFloat",
            "toFixed",
            "window.open",
            "postMessage",
            "console.log",
            "console.error",
            "console.warn",
            "localStorage.token",
        ] {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
        let is_amount = |line: &str| ["amount", "balance", "money", "cents("].iter().any(|word| line.contains(word));
        for line in text.lines().filter(|line| line.contains("Number(") && is_amount(line)) {
            // The one place where cents become pixels.
            assert!(line.contains("Number(part"), "{}: {line}", path.display());
        }
        assert!(!text.contains(" style=") && !text.contains("style:"), "{}: a style attribute", path.display());
    }
}

#[test]
fn served_script_names_each_module_and_keeps_its_functions() {
    let script = String::from_utf8(page(&Server::start(), "console.js", &[]).body).unwrap();
    for (path, text) in source::files_in("src/console", &["js"]) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(script.contains(&format!("//{name}\n")), name != CHINESE, "{name}");
        for function in text.lines().filter_map(|line| line.split_once("function ")?.1.split('(').next()) {
            assert!(script.contains(&format!("function {function}(")), "{name}: {function}");
        }
    }
    assert!(!script.contains("\nimport ") && !script.contains("\nexport ") && !script.contains("\n\n"), "{script}");
}

/// The page as a whole has a bound of lines, and all its files together one of bytes, the second language included.
#[test]
fn files_of_console_are_small() {
    let sources = source::files_in("src/console", &["js", "css", "html"]);
    let lines: usize = sources.iter().map(|(_, text)| text.lines().count()).sum();
    assert!(lines <= 2_000, "{lines} lines");

    let server = Server::start();
    let html = String::from_utf8(page(&server, "", &[]).body).unwrap();
    let named = html.split(['"', '=']).filter(|name| name.ends_with(".js") || name.ends_with(".css"));
    assert_eq!(std::iter::once("").chain(named).collect::<Vec<_>>(), FIRST_VIEW);
    let size = |names: &[&str], headers: &[(&str, &str)]| -> usize {
        names.iter().map(|name| page(&server, name, headers).body.len()).sum()
    };
    let gzip = [("Accept-Encoding", "gzip")];
    let first = (size(&FIRST_VIEW, &[]), size(&FIRST_VIEW, &gzip));
    let all = (first.0 + size(&[CHINESE], &[]), first.1 + size(&[CHINESE], &gzip));
    println!("bytes, and with gzip: a first view {first:?}, with the second language {all:?}");
    assert!(all.0 <= 100_000 && all.1 <= 35_000, "{all:?}");
}

/// The first program of these names on the path.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = |name: &&str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    names.iter().find_map(found)
}

/// The folder for the pictures of each view.
fn pictures() -> PathBuf {
    source::root().join("target/console")
}

#[test]
fn browser_walks_through_the_whole_console() {
    let browser = program(&["chromium", "chromium-browser", "google-chrome"]);
    let (Some(browser), Some(node)) = (browser, program(&["node", "nodejs"])) else {
        eprintln!("skipped: this needs Chromium and Node (apt-get install chromium nodejs)");
        return;
    };
    let place = Place::new();
    canteen(&place.db());
    std::fs::create_dir_all(pictures()).unwrap();
    std::fs::copy(place.db(), pictures().join("canteen.db")).unwrap(); // to walk again by hand
    let mut walk = std::process::Command::new(node);
    walk.arg(source::root().join("tests/console/walk.mjs")).arg(env!("CARGO_BIN_EXE_cashbox")).arg(browser);
    let first_view_ms = if cfg!(debug_assertions) { "2000" } else { "150" };
    walk.env("CONSOLE_FIRST_VIEW_MS", first_view_ms);
    walk.arg(place.db()).arg(pictures()).env_remove("CASHBOX_DB").env_remove("CASHBOX_URL").env_remove("CASHBOX_TOKEN");
    let output = walk.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{said}");
}

/// A file with a month of a canteen that ends now, and a day of 23 hours in Berlin, with a payment in each.
fn canteen(path: &Path) {
    const DAY_MS: i64 = 86_400_000;
    let clock = Clock::manual();
    let mut options = Options { clock: clock.clone(), min_free: Some(0), ..Options::default() };
    options.accept_clock = true;
    let start_of_short_day = cashbox::internals::clock::parse_rfc3339("2026-03-28T23:00:00Z").unwrap();
    clock.step_wall_ms(start_of_short_day - clock.wall_ms());
    let store = Store::open(path, &options).unwrap();
    let submit = |command: Command| -> Outcome { store.submit_all(vec![(Envelope::local(), command)]).remove(0) };
    let note = |reference: String| Note { reference: Some(reference), metadata: Some(r#"{"till":"2"}"#.to_owned()) };
    let recharge = |user: &str, amount: &str, reference: &str| {
        submit(Recharge { user: user_id(user), amount: money(amount), note: note(reference.to_owned()) }.into())
    };
    let pay = |user: &str, amount: &str, reference: String| {
        let (user, to, gross) = (user_id(user), wallet_id("@sales"), money(amount));
        submit(Pay { user, to, gross, coupon: None, note: note(reference) }.into())
    };
    recharge("spring", "50.00", "march");
    for hour in 0..23 {
        pay("spring", "1.01", format!("hour-{hour}"));
        clock.advance_ms(3_600_000);
    }

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    clock.step_wall_ms(now - 31 * DAY_MS - clock.wall_ms());
    let users = ["anton", "bela", "chen.wei", "dana", "finn", "jonas", "li.na", "mei.lin", "olga", "petra", "wen"];
    for (at, user) in users.iter().enumerate() {
        recharge(user, ["100.00", "320.00", "50.00", "500.00"][at % 4], "desk-1");
    }
    let prices = ["1.90", "2.80", "3.60", "4.20", "5.40", "7.80", "8.90"];
    let mut dice = 7u64;
    let mut throw = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    // Hours before now of each payment of a day: the walk chooses a time zone in which it is five in the afternoon.
    const HOURS: [i64; 22] = [10, 10, 10, 9, 9, 6, 6, 5, 5, 5, 5, 5, 5, 5, 5, 4, 4, 4, 3, 2, 1, 0];
    for day in (0..30).rev() {
        for (number, hours) in HOURS.into_iter().enumerate() {
            let at = now - day * DAY_MS - hours * 3_600_000 - (40 - number as i64) * 60_000;
            clock.advance_ms((at - clock.wall_ms()).max(1));
            let user = users[throw(11) as usize];
            let reference = format!("till-{}-{:05}", 1 + throw(3), day * 100 + number as i64);
            let paid = pay(user, prices[throw(7) as usize], reference.clone());
            if paid.result.is_err() || number == 17 {
                recharge(user, "40.00", "desk-2");
            }
            if number == 19 && day % 4 == 0 {
                let (user, amount) = (user_id("dana"), money("5.00"));
                submit(Withdraw { user, amount, note: note(format!("desk-{day}")) }.into());
                let entry = cashbox::internals::id::EntryId(60 + 23 * (29 - day));
                submit(Refund { entry, amount: None, note: note("cold".into()) }.into());
            }
        }
    }
    submit(GrantCoupon { user: user_id("finn"), kind: "1".to_owned() }.into());
    submit(GrantCoupon { user: user_id("finn"), kind: "3".to_owned() }.into());
    let name = |name: &str| Some(Some(name.to_owned()));
    let none = SetWallet {
        user: user_id("finn"),
        name: name("Finn Larsen"),
        status: None,
        metadata: None,
        limit_per_payment: None,
        limit_per_day: Some(Some(money("60.00"))),
    };
    submit(none.clone().into());
    submit(SetWallet { user: user_id("mei.lin"), name: name("林美"), limit_per_day: None, ..none }.into());
    let (user, to, gross, note) = (user_id("finn"), wallet_id("@sales"), money("12.00"), note("bike-7".into()));
    submit(PlaceHold { user, to, gross, expires_in_s: 86_400, coupon: None, note }.into());
    store.close();
}
