//! The protocol between the wrapper of `lock run` and its guard: one JSON message per line, over a socket in a private
//! folder. The end of the stream means that the other process has ended, by whatever cause.

use crate::secret;
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

/// Added to the number of the signal that ended a command, for the exit code, as shells do.
pub(crate) const SIGNAL_EXIT_BASE: i32 = 128;

/// Deadlines of the command, in milliseconds of the machine's boot-time clock, which both processes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadlines {
    /// SIGTERM is sent at this time.
    pub term_ms: i64,
    /// SIGKILL is sent at this time.
    pub kill_ms: i64,
}

/// A message of the wrapper to the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WrapperMessage {
    /// The lease was acquired or renewed: these deadlines replace the earlier ones.
    Lease(Deadlines),
    /// Pass this signal on to the command.
    Signal(ForwardedSignal),
    /// The lease is lost: end the command now, and kill it at this boot time at the latest, in milliseconds.
    End(i64),
    /// The guard's way to release the lock of a command that has ended, if the wrapper is killed before it has done that.
    Release {
        /// The access token for it, which the command does not get.
        access_token: Option<String>,
        /// True if a command that fails does not count.
        retry_failed: bool,
    },
    /// The wrapper has released the lock.
    Released,
}

/// A message of the guard to the wrapper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuardMessage {
    /// The command runs and leads the process group of this number.
    Started(i32),
    /// The command could not be started.
    Failed {
        /// The exit code, as a shell gives it.
        exit_code: u8,
        /// The reason, for people.
        reason: String,
    },
    /// The lease was over before the command was started, so it was not started.
    TooLate,
    /// The command was stopped with Ctrl-Z.
    Stopped,
    /// The command was stopped for using the terminal while another process group had it.
    WantsTerminal,
    /// The lease ran out while the command ran.
    Expired,
    /// The command ended with this exit code, and its process group is empty.
    Exited(u8),
}

impl GuardMessage {
    /// The exit of a command that a signal ended, perhaps before it was started.
    pub(crate) fn exited_by(signal: ForwardedSignal) -> GuardMessage {
        GuardMessage::Exited((SIGNAL_EXIT_BASE + signal.number()) as u8)
    }
}

/// A signal that `lock run` passes on to its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForwardedSignal {
    /// SIGINT
    Int,
    /// SIGTERM
    Term,
    /// SIGHUP
    Hup,
    /// SIGQUIT
    Quit,
    /// SIGUSR1
    Usr1,
    /// SIGUSR2
    Usr2,
    /// SIGALRM
    Alrm,
    /// SIGWINCH
    Winch,
}

impl ForwardedSignal {
    /// All of them.
    #[rustfmt::skip] // two lines instead of ten
    pub(crate) const ALL: [ForwardedSignal; 8] = [
        ForwardedSignal::Int, ForwardedSignal::Term, ForwardedSignal::Hup, ForwardedSignal::Quit,
        ForwardedSignal::Usr1, ForwardedSignal::Usr2, ForwardedSignal::Alrm, ForwardedSignal::Winch,
    ];

    /// The signal of that number, if it is passed on.
    pub(crate) fn from_number(number: i32) -> Option<ForwardedSignal> {
        ForwardedSignal::ALL.into_iter().find(|signal| signal.number() == number)
    }

    /// Its number.
    pub(crate) fn number(self) -> i32 {
        self.signal().as_raw()
    }

    /// The signal as the system has it.
    pub(crate) fn signal(self) -> Signal {
        match self {
            ForwardedSignal::Int => Signal::INT,
            ForwardedSignal::Term => Signal::TERM,
            ForwardedSignal::Hup => Signal::HUP,
            ForwardedSignal::Quit => Signal::QUIT,
            ForwardedSignal::Usr1 => Signal::USR1,
            ForwardedSignal::Usr2 => Signal::USR2,
            ForwardedSignal::Alrm => Signal::ALARM,
            ForwardedSignal::Winch => Signal::WINCH,
        }
    }

    /// True if it ends a process that does not handle it.
    pub(crate) fn ends_by_default(self) -> bool {
        self != ForwardedSignal::Winch
    }

    /// True if it asks the command to end. A stopped command is continued for that, and for no other signal.
    pub(crate) fn asks_to_end(self) -> bool {
        use ForwardedSignal::*;
        matches!(self, Int | Term | Hup | Quit)
    }
}

/// Sends one message. A failure is ignored: the end of the other process is noticed where its messages are read.
pub(crate) fn send(mut stream: &UnixStream, message: &impl Serialize) {
    let mut line = serde_json::to_string(message).expect("messages have no maps, so they are always valid JSON");
    line.push('\n');
    let _ = stream.write_all(line.as_bytes());
}

/// Reads messages on a thread of its own and sends each on as an event; then `None`, when the other process has ended. A
/// line that is not a valid message is skipped.
pub(crate) fn forward_messages<M: DeserializeOwned, T: Send + 'static>(
    stream: &UnixStream,
    events: Sender<T>,
    event: impl Fn(Option<M>) -> T + Send + 'static,
) -> io::Result<()> {
    let stream = BufReader::new(stream.try_clone()?);
    std::thread::spawn(move || {
        let lines = stream.lines().map_while(Result::ok);
        for message in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if events.send(event(Some(message))).is_err() {
                return;
            }
        }
        let _ = events.send(event(None));
    });
    Ok(())
}

/// A reader of messages that never waits.
pub(crate) struct MessageReader<M> {
    stream: UnixStream,
    buffer: Vec<u8>,
    is_closed: bool,
    messages: PhantomData<M>,
}

impl<M: DeserializeOwned> MessageReader<M> {
    /// A reader of that stream, which is non-blocking from now on.
    pub(crate) fn new(stream: &UnixStream) -> io::Result<MessageReader<M>> {
        stream.set_nonblocking(true)?;
        Ok(MessageReader { stream: stream.try_clone()?, buffer: Vec::new(), is_closed: false, messages: PhantomData })
    }

    /// The messages that arrived since the last call. A line that is not a valid message is skipped.
    pub(crate) fn received(&mut self) -> Vec<M> {
        let mut chunk = [0; 4096];
        while !self.is_closed {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    self.is_closed = count == 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.is_closed = true,
            }
        }
        let complete = self.buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.buffer.drain(..complete).collect();
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// True if the other process has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The stream, to be polled.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

/// The folder of the socket and of the lock token, which only its owner may enter. Wrapper and guard both remove it when
/// they end, because either may be killed.
pub(crate) struct ControlFolder(PathBuf);

impl ControlFolder {
    /// Makes one among temporary files, with the socket in it.
    pub(crate) fn new() -> io::Result<(ControlFolder, UnixListener)> {
        let path = std::env::temp_dir().join(format!("cashbox-lock-{}", secret::random_hex::<8>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = ControlFolder(path);
        let listener = UnixListener::bind(ControlFolder::socket(&folder.0))?;
        Ok((folder, listener))
    }

    /// The folder that the wrapper has made.
    pub(crate) fn shared(path: &Path) -> ControlFolder {
        ControlFolder(path.to_owned())
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of the socket in such a folder.
    pub(crate) fn socket(folder: &Path) -> PathBuf {
        folder.join("control")
    }

    /// Writes the lock token for the command to read; the path of that file.
    pub(crate) fn write_token(&self, token: &str) -> io::Result<PathBuf> {
        let path = self.token();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{token}")?;
        Ok(path)
    }

    /// The path of that file.
    pub(crate) fn token(&self) -> PathBuf {
        self.0.join("token")
    }
}

impl Drop for ControlFolder {
    fn drop(&mut self) {
        // Only the known files: the other process may have removed them, and a folder with anything else in it stays.
        let _ = fs::remove_file(self.token());
        let _ = fs::remove_file(ControlFolder::socket(&self.0));
        let _ = fs::remove_dir(&self.0);
    }
}
