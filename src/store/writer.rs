//! The one writer's thread and the way to it: a bounded queue, and batch after batch (`desk`) of what has come in.
//!
//! A batch forms while the previous one syncs; there is no timer. Only what the desk commits is in the file.

use super::checkpoint::Checkpoint;
use super::desk::{BATCH_MAX, Desk};
use super::stats::{self, Stats};
use super::ticket::Ticket;
use super::waiting::Board;
use super::work::{Envelope, Outcome, Work, stopped};
use super::{OpenError, Options};
use crate::command::Command;
use crate::error::{Error, Name};
use crate::lock::clock::LeaseClock;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

enum Message {
    Work(Vec<Work>),
    Poke,
    RefuseWaiting,
    Stop,
}

/// The way to the writer's thread.
pub struct Writer {
    queue: SyncSender<Message>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    stats: Arc<Stats>,
}

impl Writer {
    /// Starts the writer's thread on its connection.
    pub(super) fn start(
        conn: Connection,
        path: &Path,
        options: &Options,
        lease: LeaseClock,
        stats: Arc<Stats>,
        board: &Arc<Board>,
    ) -> Result<Writer, OpenError> {
        let (queue, messages) = mpsc::sync_channel(options.queue);
        let desk = Desk::open(&conn, path, options, lease, &stats, board)?;
        let checkpoint = Checkpoint::start(&conn, path, Arc::clone(&stats))?;
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || run_or_say_so(&conn, desk, checkpoint, &messages))?;
        Ok(Writer { queue, thread: Mutex::new(Some(thread)), stats })
    }

    pub(super) fn submit(&self, envelope: Envelope, command: Command) -> Outcome {
        let mut outcomes = self.submit_all(vec![(envelope, command)]);
        outcomes.pop().unwrap_or_else(|| Outcome::from(stopped()))
    }

    pub(super) fn submit_all(&self, commands: Vec<(Envelope, Command)>) -> Vec<Outcome> {
        let count = commands.len();
        let (ticket, promises) = Ticket::new(count);
        let work = commands.into_iter().zip(promises);
        let work = work.map(|((envelope, command), promise)| Work::new(envelope, command, promise)).collect();
        stats::add(&self.stats.queued, count as u64);
        if let Err(error) = self.queue.try_send(Message::Work(work)) {
            self.stats.queued.fetch_sub(count as u64, Relaxed);
            let error = match error {
                TrySendError::Full(_) => Error::new(Name::Busy, "too many commands are waiting; try again shortly"),
                TrySendError::Disconnected(_) => stopped(),
            };
            return vec![Outcome::from(error); count];
        }
        let outcomes = ticket.wait().into_iter();
        outcomes.map(|outcome| outcome.unwrap_or_else(|| Outcome::from(stopped()))).collect()
    }

    pub(super) fn poke(&self) {
        let _ = self.queue.send(Message::Poke);
    }

    pub(super) fn refuse_waiting(&self) {
        let _ = self.queue.send(Message::RefuseWaiting);
    }

    pub(super) fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
        let thread = self.thread.lock().expect("nobody panics holding this").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whatever the desk does not expect ends the process: a server without its writer would only look alive.
fn run_or_say_so(conn: &Connection, desk: Desk, checkpoint: Checkpoint, messages: &Receiver<Message>) {
    let stats = Arc::clone(&desk.stats);
    if catch_unwind(AssertUnwindSafe(|| run(conn, desk, checkpoint, messages))).is_err() {
        crate::log::error("the writer cannot go on", &"what it was doing was not committed");
        stats.outcome_unknown.store(true, Relaxed);
    }
}

fn run(conn: &Connection, mut desk: Desk, mut checkpoint: Checkpoint, messages: &Receiver<Message>) {
    let mut stopping = false;
    while !(stopping && desk.backlog() == 0) {
        let patience = if desk.backlog() == 0 { desk.patience(checkpoint.is_due()) } else { Some(Duration::ZERO) };
        let message = match patience {
            Some(patience) => messages.recv_timeout(patience),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let idle = matches!(message, Err(RecvTimeoutError::Timeout));
        let mut next = message.ok();
        while let Some(message) = next {
            match message {
                Message::Work(work) => desk.take_in(work),
                Message::Poke => {}
                Message::RefuseWaiting => desk.dismiss_waiting(),
                Message::Stop => stopping = true,
            }
            next = if desk.backlog() < BATCH_MAX { messages.try_recv().ok() } else { None };
        }
        desk.take_up_work();
        desk.batch(conn);
        checkpoint.after_commit(conn, idle && desk.backlog() == 0);
        desk.lay_down_work();
    }
    desk.dismiss_waiting();
    if !desk.is_in_doubt() {
        checkpoint.last(conn);
    }
}
