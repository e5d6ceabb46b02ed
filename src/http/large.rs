//! Large bodies: counted while they come and are worked on, so that nobody takes the machine's memory with them.

use crate::error::{Error, ErrorName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes of them there may be at a time, in all and of one caller. Each byte costs some more in commands and
/// answers.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const BYTES_OF_ONE_MAX: u64 = BYTES_MAX / 2;

/// The bytes that each caller has announced and that are not answered yet.
#[derive(Clone, Default)]
pub struct LargeBodies(Arc<Mutex<HashMap<String, u64>>>);

/// The place of one body; dropping it gives it back.
pub struct Place {
    bodies: LargeBodies,
    caller: String,
    bytes: u64,
}

impl LargeBodies {
    /// A place for so many bytes of that caller's.
    pub fn enter(&self, caller: &str, bytes: u64) -> Result<Place, Error> {
        let mut taken = self.taken();
        let all: u64 = taken.values().sum();
        let own = taken.get(caller).copied().unwrap_or(0);
        if all + bytes > BYTES_MAX || own + bytes > BYTES_OF_ONE_MAX {
            return Err(Error::new(ErrorName::Busy, "too many large bodies at once; try again shortly"));
        }
        taken.insert(caller.to_owned(), own + bytes);
        Ok(Place { bodies: self.clone(), caller: caller.to_owned(), bytes })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.bodies.taken();
        if let Some(own) = taken.get_mut(&self.caller) {
            *own -= self.bytes;
            if *own == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_the_room_and_what_was_taken_comes_back() {
        let bodies = LargeBodies::default();
        let eighth = BYTES_MAX / 8;
        let mut places = Vec::new();
        for caller in ["ann", "ben"] {
            places.extend((0..4).map(|_| bodies.enter(caller, eighth).unwrap()));
            assert!(bodies.enter(caller, 1).is_err(), "{caller} has a half");
        }
        assert!(bodies.enter("eve", 1).is_err(), "there is no room");
        places.truncate(6);
        assert!(bodies.enter("eve", eighth).is_ok());
        places.clear();
        assert!(bodies.taken().is_empty());
    }
}
