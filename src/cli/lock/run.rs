//! `cashbox lock run`: acquires, has a guard run the command, renews while it runs, releases when it is gone.
//!
//! The wrapper counts each lease from before it sent the request that won it, so it never takes a lease for longer than
//! the lock's keeper does. What the guard knows of the lease is what the wrapper last told it.

use super::acquire::{Patience, Terms, acquire};
use super::control::{Folder, News, Order, SIGNALLED, SIGNALS, listen};
use super::lease::{Lease, Renewed};
use super::pace::Pace;
use crate::cli::door::Door;
use crate::cli::exit::Trouble;
use crate::cli::{Common, input, show};
use crate::clock::Clock;
use crate::secret;
use clap::Args;
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// What `--help` says of exit codes.
pub const EXIT_CODES: &str = "Exit codes: the command's own · 128+n ended by signal n · 124 not acquired in time · \
    123 lost while it ran · 125 our own failure · 126 cannot be executed · 127 not found";

const NOT_ACQUIRED: u8 = 124;
const LOST: u8 = 123;
const FAILED: u8 = 125;

/// The longest label a lock takes.
const LABEL_CHARS_MAX: usize = 255;
/// How long the guard has to come up.
const GUARD_COMES: Duration = Duration::from_secs(10);

/// `cashbox lock run`
#[derive(Debug, Args)]
pub struct Run {
    /// The lock's name
    id: String,
    #[command(flatten)]
    terms: Terms,
    /// How long the command has between TERM and KILL; never longer than the grace
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::span)]
    kill_after: i64,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

enum Event {
    Guard(Option<String>),
    Signal(Signal),
    Renewed(i64),
    Lost(String),
}

impl Run {
    /// Runs the command under the lock.
    pub fn run(&self, common: &Common) -> ExitCode {
        let code = self.hold(common).unwrap_or_else(|trouble| {
            show::complain(&trouble.sentence);
            FAILED
        });
        ExitCode::from(code)
    }

    fn hold(&self, common: &Common) -> Result<u8, Trouble> {
        let (events, inbox) = mpsc::channel();
        let waiting = Arc::new(AtomicBool::new(true));
        pass_on_signals(events.clone(), Arc::clone(&waiting)).map_err(cannot("watch for signals"))?;
        let Some((lease, until_ms)) = self.acquire(common)? else { return Ok(NOT_ACQUIRED) };
        waiting.store(false, SeqCst);
        let lease = Arc::new(lease);
        let ended = if Clock::Machine.boot_ms() < self.pace().until(until_ms).term_ms {
            self.guarded(&lease, until_ms, events, &inbox)
        } else {
            Ok(Ended::too_late()) // we were stopped, and another may have the lock
        };
        lease.release();
        let ended = ended?;
        Ok(if ended.lost { LOST } else { ended.code })
    }

    /// A lease and until when it lasts, in boot time; none if somebody has the lock for longer than the wait.
    fn acquire(&self, common: &Common) -> Result<Option<(Lease, i64)>, Trouble> {
        let ids = [input::word(&self.id)?];
        let mut terms = self.terms.clone();
        terms.holder = terms.holder.or_else(|| Some(self.label()));
        let begun = Instant::now();
        loop {
            let mut sent = 0;
            let secret = secret::random_hex::<16>();
            let answer = acquire(&Door::new(common)?, &ids, &terms, &secret, || sent = Clock::Machine.boot_ms())?;
            if !answer.is_good() {
                show::complain(&show::problem(&answer.body));
                return if answer.refuses_as("locked") { Ok(None) } else { Err(Trouble::usage(not_had(&ids[0]))) };
            }
            let (token, fence) = (answer.body["token"].as_str(), answer.body["fence"].as_i64());
            let (Some(token), Some(fence)) = (token, fence) else { return Err(Trouble::usage(not_had(&ids[0]))) };
            let lease = Lease {
                door: Door::new(common)?,
                id: ids[0].clone(),
                token: token.to_owned(),
                fence,
                ttl_ms: terms.lease_ms(),
            };
            let until = sent + lease.ttl_ms;
            if Clock::Machine.boot_ms() - sent <= lease.ttl_ms / 10 {
                return Ok(Some((lease, until)));
            }
            // It waited, so nobody here knows when the lease began. One renewal tells.
            match lease.renew(until) {
                Renewed::Until(until) => return Ok(Some((lease, until))),
                Renewed::NoMore | Renewed::Unknown => return Ok(Some((lease, until))),
                Renewed::Lost(_) => {}
            }
            if let Some(Patience::For(wait)) = self.terms.wait {
                terms.wait = Some(Patience::For(wait.saturating_sub(begun.elapsed())));
            }
        }
    }

    fn label(&self) -> String {
        let program = self.command.first().map(|program| program.to_string_lossy().escape_debug().to_string());
        let label = format!("{} (process {})", program.unwrap_or_default(), std::process::id());
        label.chars().rev().take(LABEL_CHARS_MAX).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Has the guard run the command, and keeps the lease meanwhile.
    fn guarded(
        &self,
        lease: &Arc<Lease>,
        until_ms: i64,
        events: Sender<Event>,
        inbox: &Receiver<Event>,
    ) -> Result<Ended, Trouble> {
        let folder = Folder::new().map_err(cannot("make a temporary folder"))?;
        let mut guard = Guard::start(self, lease, &folder).map_err(cannot("start the guard"))?;
        listen(&guard.line, events.clone(), Event::Guard).map_err(cannot("hear the guard"))?;
        Order::Until(self.pace().until(until_ms)).tell(&guard.line);
        let (stop, stopped) = mpsc::channel();
        let (keeper, watcher) = (Arc::clone(lease), Arc::clone(lease));
        let (kept, watched) = (events.clone(), events);
        spawn(move || {
            keeper.keep(until_ms, &stopped, |renewed| {
                let _ = match renewed {
                    Renewed::Until(until_ms) => kept.send(Event::Renewed(until_ms)),
                    Renewed::Lost(why) => kept.send(Event::Lost(why)),
                    Renewed::NoMore | Renewed::Unknown => Ok(()),
                };
            });
        });
        spawn(move || watched.send(Event::Lost(watcher.watch())));
        let ended = guard.attend(inbox, &self.pace());
        drop(stop);
        let _ = guard.process.wait();
        ended
    }

    fn pace(&self) -> Pace {
        Pace { ttl_ms: self.terms.lease_ms(), grace_ms: self.terms.grace, kill_after_ms: self.kill_after }
    }
}

/// How the command ended.
struct Ended {
    code: u8,
    /// Whether the lease ended before it did.
    lost: bool,
}

impl Ended {
    fn too_late() -> Ended {
        show::complain("the lease ran out before the command could start, so it was not started");
        Ended { code: NOT_ACQUIRED, lost: false }
    }
}

/// The guard as the wrapper sees it.
struct Guard {
    process: Child,
    line: UnixStream,
    group: Option<Pid>,
}

impl Guard {
    fn start(run: &Run, lease: &Lease, folder: &Folder) -> io::Result<Guard> {
        let token_file = folder.write_token(&lease.token)?;
        let listener = UnixListener::bind(Folder::socket(folder.path()))?;
        listener.set_nonblocking(true)?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["lock", "guard"])
            .arg(folder.path())
            .arg("--")
            .args(&run.command)
            .process_group(0)
            .env("CASHBOX_LOCK_ID", &lease.id)
            .env("CASHBOX_LOCK_FENCE", lease.fence.to_string())
            .env("CASHBOX_LOCK_TOKEN_FILE", token_file)
            .env_remove("CASHBOX_TOKEN") // the command is not everything the caller is
            .env_remove("CASHBOX_LOCK_TOKEN")
            .spawn()?;
        let begun = Instant::now();
        loop {
            match listener.accept() {
                Ok((line, _)) => {
                    line.set_nonblocking(false)?;
                    return Ok(Guard { process, line, group: None });
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if process.try_wait()?.is_some() || begun.elapsed() > GUARD_COMES => {
                    let _ = process.kill();
                    return Err(io::Error::other("it ended before it began"));
                }
                Err(_) => sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Tells the guard what happens until the command has ended.
    fn attend(&mut self, inbox: &Receiver<Event>, pace: &Pace) -> Result<Ended, Trouble> {
        let mut lost = false;
        let mut terminal = Terminal::default();
        for event in inbox {
            match event {
                Event::Renewed(until_ms) => Order::Until(pace.until(until_ms)).tell(&self.line),
                Event::Signal(signal) => Order::Signal(signal).tell(&self.line),
                Event::Lost(why) => {
                    if !lost {
                        show::complain(&why);
                    }
                    lost = true;
                    Order::End(Clock::Machine.boot_ms() + pace.pause_ms()).tell(&self.line);
                }
                Event::Guard(line) => match line.as_deref().and_then(News::read) {
                    Some(News::Started(group)) => {
                        self.group = Pid::from_raw(group);
                        terminal.give(self.group);
                    }
                    Some(News::Failed(code, why)) => {
                        show::complain(&why);
                        return Ok(Ended { code, lost });
                    }
                    Some(News::TooLate) => return Ok(Ended::too_late()),
                    Some(News::Late) => {
                        lost = true;
                        show::complain("the lease ran out, so the command is ended");
                    }
                    Some(News::Exited(code)) => return Ok(Ended { code, lost }),
                    None => break, // the guard is gone
                },
            }
        }
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL); // nobody else would end it
        }
        Err(Trouble::usage("the guard was killed, so the command was, too"))
    }
}

/// The terminal, which the command has while it runs: so it may read it, and Ctrl-C reaches it.
#[derive(Default)]
struct Terminal {
    given: bool,
}

impl Terminal {
    fn give(&mut self, group: Option<Pid>) {
        let stdin = io::stdin();
        let ours = isatty(&stdin) && tcgetpgrp(&stdin).is_ok_and(|front| front == getpgrp());
        if let (true, Some(group)) = (ours, group) {
            self.given = tcsetpgrp(&stdin, group).is_ok();
            let _ = kill_process_group(group, Signal::CONT); // it may have been stopped for reading too early
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.given {
            // Who is not in front is stopped for taking the terminal, unless this signal is blocked.
            let mut blocked = SigSet::empty();
            blocked.add(nix::sys::signal::Signal::SIGTTOU);
            if blocked.thread_block().is_ok() {
                let _ = tcsetpgrp(io::stdin(), getpgrp());
            }
        }
    }
}

/// Signals for the command, or, while there is none yet, the end of the wait.
fn pass_on_signals(events: Sender<Event>, waiting: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new(SIGNALS.map(Signal::as_raw))?;
    spawn(move || {
        for number in signals.forever() {
            if waiting.load(SeqCst) {
                std::process::exit(SIGNALLED + number);
            }
            let signal = SIGNALS.into_iter().find(|signal| signal.as_raw() == number);
            let _ = signal.map(|signal| events.send(Event::Signal(signal)));
        }
    });
    Ok(())
}

fn not_had(id: &str) -> String {
    format!("the lock {id} cannot be had")
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> Trouble {
    move |error| Trouble::usage(format!("cannot {what}: {error}"))
}
