//! The signals that `lock run` passes on to its command.

use super::control::SIGNALS;
use super::event::WrapperEvent;
use rustix::process::Signal;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc::Sender;
use std::thread::spawn;

/// Has them come as events. What was ignored when we began (as `nohup` does, and a shell in the background) stays
/// ignored, by us and by the command.
pub fn pass_on(events: Sender<WrapperEvent>) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let heard: Vec<Signal> = SIGNALS.into_iter().filter(|signal| !is_in(*signal, ignored)).collect();
    let mut signals = Signals::new(heard.iter().map(|signal| signal.as_raw()))?;
    spawn(move || {
        for number in signals.forever() {
            let signal = SIGNALS.into_iter().find(|signal| signal.as_raw() == number);
            let _ = signal.map(|signal| events.send(WrapperEvent::Signal(signal)));
        }
    });
    Ok(())
}

/// The set of ignored signals in what the system says of a process.
fn ignored(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(signal: Signal, set: u64) -> bool {
    set >> (signal.as_raw() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_what_the_system_says() {
        let set = ignored("Name:\tcashbox\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n");
        assert!(is_in(Signal::HUP, set) && is_in(Signal::PIPE, set) && !is_in(Signal::INT, set));
        assert_eq!(ignored("SigIgn:\tnonsense"), 0);
    }
}
