//! What `lock run` and its guard say to each other, a line each, over a socket in a private folder. The end of the
//! socket says that the other one is gone, however it went.

use crate::secret;
use rustix::process::Signal;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

/// Deadlines when the command may run, in milliseconds of the machine's boot-time clock, which both processes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Then it is asked to end.
    pub term_ms: i64,
    /// Then it is ended.
    pub kill_ms: i64,
}

/// What the wrapper tells the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToGuard {
    /// The lease lasts so long.
    Until(Deadlines),
    /// Pass this on to the command.
    Signal(Signal),
    /// The lease is lost: end the command, and be done with it at that moment at the latest.
    End(i64),
}

/// What the guard tells the wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWrapper {
    /// The command runs, as the leader of the process group of that number.
    Started(i32),
    /// It could not be started: the exit code for that, and why.
    Failed(u8, String),
    /// The lease was over, or about to be lost, before it was started, so it was not.
    TooLate,
    /// It was stopped with Ctrl-Z.
    Stopped,
    /// It was stopped for using the terminal while it did not have it.
    WantsTerminal,
    /// The lease ran out under it.
    Late,
    /// It ended, and nothing of its group is left: its exit code.
    Exited(u8),
}

/// What a shell adds to the number of the signal that ended a command.
pub const SIGNALLED: i32 = 128;

/// The signals that are passed on.
pub const SIGNALS: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

impl ToGuard {
    fn line(self) -> String {
        match self {
            ToGuard::Until(until) => format!("until {} {}", until.term_ms, until.kill_ms),
            ToGuard::Signal(signal) => format!("signal {}", signal.as_raw()),
            ToGuard::End(kill_ms) => format!("end {kill_ms}"),
        }
    }

    /// The order a line gives.
    pub fn read(line: &str) -> Option<ToGuard> {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["until", term, kill] => {
                Some(ToGuard::Until(Deadlines { term_ms: term.parse().ok()?, kill_ms: kill.parse().ok()? }))
            }
            ["signal", number] => {
                let number: i32 = number.parse().ok()?;
                SIGNALS.into_iter().find(|signal| signal.as_raw() == number).map(ToGuard::Signal)
            }
            ["end", kill] => Some(ToGuard::End(kill.parse().ok()?)),
            _ => None,
        }
    }

    /// Tells the guard. One that is gone is noticed where it is listened to.
    pub fn tell(self, guard: &UnixStream) {
        let _ = say(guard, &self.line());
    }
}

impl ToWrapper {
    fn line(&self) -> String {
        match self {
            ToWrapper::Started(group) => format!("started {group}"),
            ToWrapper::Failed(code, why) => format!("failed {code} {}", why.replace('\n', " ")),
            ToWrapper::TooLate => "too-late".to_owned(),
            ToWrapper::Stopped => "stopped".to_owned(),
            ToWrapper::WantsTerminal => "wants-terminal".to_owned(),
            ToWrapper::Late => "late".to_owned(),
            ToWrapper::Exited(code) => format!("exited {code}"),
        }
    }

    /// The news in a line.
    pub fn read(line: &str) -> Option<ToWrapper> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("started", group) => group.parse().ok().map(ToWrapper::Started),
            ("failed", rest) => {
                let (code, why) = rest.split_once(' ')?;
                Some(ToWrapper::Failed(code.parse().ok()?, why.to_owned()))
            }
            ("too-late", _) => Some(ToWrapper::TooLate),
            ("stopped", _) => Some(ToWrapper::Stopped),
            ("wants-terminal", _) => Some(ToWrapper::WantsTerminal),
            ("late", _) => Some(ToWrapper::Late),
            ("exited", code) => code.parse().ok().map(ToWrapper::Exited),
            _ => None,
        }
    }

    /// What is told of a command that a signal ended before it began.
    pub fn signalled(signal: Signal) -> ToWrapper {
        ToWrapper::Exited((SIGNALLED + signal.as_raw()) as u8)
    }

    /// Tells the wrapper, if it is there.
    pub fn tell(&self, wrapper: &UnixStream) {
        let _ = say(wrapper, &self.line());
    }
}

fn say(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Sends on what comes, line by line, and None when the other side is gone. On a thread of its own.
pub fn listen<T: Send + 'static>(
    stream: &UnixStream,
    to: Sender<T>,
    heard: impl Fn(Option<String>) -> T + Send + 'static,
) -> io::Result<()> {
    let stream = BufReader::new(stream.try_clone()?);
    std::thread::spawn(move || {
        for line in stream.lines().map_while(Result::ok) {
            if to.send(heard(Some(line))).is_err() {
                return;
            }
        }
        let _ = to.send(heard(None));
    });
    Ok(())
}

/// What the other side has said, read without waiting for more.
pub struct LineReader {
    stream: UnixStream,
    bytes: Vec<u8>,
    over: bool,
}

impl LineReader {
    /// Hears what comes over that stream, which never waits from now on.
    pub fn new(stream: &UnixStream) -> io::Result<LineReader> {
        stream.set_nonblocking(true)?;
        Ok(LineReader { stream: stream.try_clone()?, bytes: Vec::new(), over: false })
    }

    /// Every whole line that has come by now and was not yet given.
    pub fn lines(&mut self) -> Vec<String> {
        let mut piece = [0; 4096];
        while !self.over {
            match self.stream.read(&mut piece) {
                Ok(count) => {
                    self.bytes.extend_from_slice(&piece[..count]);
                    self.over = count == 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.over = true,
            }
        }
        let whole = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let said: Vec<u8> = self.bytes.drain(..whole).collect();
        String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
    }

    /// Whether the other side is gone.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What to wait at.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

/// A folder that only its owner may enter. Wrapper and guard both remove it at their end, as one may be killed.
pub struct ControlFolder(PathBuf);

impl ControlFolder {
    /// A new one, among temporary files, and the socket in it.
    pub fn new() -> io::Result<(ControlFolder, UnixListener)> {
        let path = std::env::temp_dir().join(format!("cashbox-lock-{}", secret::random_hex::<8>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = ControlFolder(path);
        let listener = UnixListener::bind(ControlFolder::socket(folder.path()))?;
        Ok((folder, listener))
    }

    /// The one that the other side has made.
    pub fn shared(path: &Path) -> ControlFolder {
        ControlFolder(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The socket's place in such a folder.
    pub fn socket(folder: &Path) -> PathBuf {
        folder.join("control")
    }

    /// Writes the lock token for the command to read; where.
    pub fn write_token(&self, token: &str) -> io::Result<PathBuf> {
        let path = self.token();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{token}")?;
        Ok(path)
    }

    fn token(&self) -> PathBuf {
        self.0.join("token")
    }
}

impl Drop for ControlFolder {
    fn drop(&mut self) {
        // Nothing but what was put there: the other one may have removed it, and a folder that is not ours stays.
        let _ = fs::remove_file(self.token());
        let _ = fs::remove_file(ControlFolder::socket(&self.0));
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let until = Deadlines { term_ms: 7, kill_ms: 9 };
        for order in [ToGuard::Until(until), ToGuard::Signal(Signal::HUP), ToGuard::End(-3)] {
            assert_eq!(ToGuard::read(&order.line()), Some(order));
        }
        let failed = ToWrapper::Failed(127, "no such file: x y".to_owned());
        for news in [
            ToWrapper::Started(12),
            failed,
            ToWrapper::TooLate,
            ToWrapper::Stopped,
            ToWrapper::WantsTerminal,
            ToWrapper::Late,
            ToWrapper::signalled(Signal::TERM),
        ] {
            assert_eq!(ToWrapper::read(&news.line()), Some(news));
        }
        for nonsense in ["", "until 1", "until a b", "signal 9", "end", "started", "exited 256"] {
            assert_eq!((ToGuard::read(nonsense), ToWrapper::read(nonsense)), (None, None), "{nonsense}");
        }
    }

    #[test]
    fn what_has_come_is_heard_at_once_and_half_a_line_when_it_is_whole() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let mut heard = LineReader::new(&there).unwrap();
        assert_eq!(heard.lines(), Vec::<String>::new());
        here.write_all(b"end 1\nend 2\nen").unwrap();
        assert_eq!(heard.lines(), ["end 1", "end 2"]);
        here.write_all(b"d 3\n").unwrap();
        drop(here);
        assert_eq!((heard.lines(), heard.is_over()), (vec!["end 3".to_owned()], true));
    }
}
