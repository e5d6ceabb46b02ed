//! The signals that `lock run` passes on to its command.

use super::attend::Event;
use super::control::SIGNALS;
use rustix::process::Signal;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc::Sender;
use std::thread::spawn;

/// Has them come as events.
pub fn pass_on(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new(SIGNALS.map(Signal::as_raw))?;
    spawn(move || {
        for number in signals.forever() {
            let signal = SIGNALS.into_iter().find(|signal| signal.as_raw() == number);
            let _ = signal.map(|signal| events.send(Event::Signal(signal)));
        }
    });
    Ok(())
}
