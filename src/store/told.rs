//! Who has been told of which grant. A grant whose answer reached nobody is given back; but whoever asked again under the
//! same secret was told of the same lease, and one answer that arrives is enough.

use crate::id::Fence;
use std::collections::VecDeque;

/// Of so many grants it is remembered. An answer is delivered or not within seconds, so these are the newest.
const REMEMBERED: usize = 16_384;

/// How many answers told of a grant, and how many of them did not arrive.
#[derive(Default)]
pub struct Told(VecDeque<(Fence, u32, u32)>);

impl Told {
    /// So many more are told of that grant. One that is forgotten stays so.
    pub fn tell(&mut self, fence: Fence, clients: u32) {
        match self.place(fence) {
            Ok(place) => self.0[place].1 += clients,
            Err(place) => self.0.insert(place, (fence, clients, 0)),
        }
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// One of the answers did not arrive; whether none has. Of a grant that is forgotten, one may have.
    pub fn is_known_to_nobody(&mut self, fence: Fence) -> bool {
        let Ok(place) = self.place(fence) else { return false };
        let (_, told, lost) = &mut self.0[place];
        *lost += 1;
        lost == told
    }

    /// Where it stands, or would: they stand by fence, and a new grant has the highest, so it goes to the end.
    fn place(&self, fence: Fence) -> Result<usize, usize> {
        self.0.binary_search_by_key(&fence, |(own, _, _)| *own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_that_arrives_is_enough() {
        let mut told = Told::default();
        told.tell(Fence(1), 1);
        assert!(told.is_known_to_nobody(Fence(1)));
        told.tell(Fence(2), 2);
        assert!(!told.is_known_to_nobody(Fence(2)));
        told.tell(Fence(2), 1);
        assert!(!told.is_known_to_nobody(Fence(2)));
        assert!(told.is_known_to_nobody(Fence(2)));
        assert!(!told.is_known_to_nobody(Fence(3)), "nobody can say");
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let mut told = Told::default();
        (0..=REMEMBERED as i64).for_each(|fence| told.tell(Fence(fence), 1));
        told.tell(Fence(0), 1);
        assert!(!told.is_known_to_nobody(Fence(0)));
        assert!(told.is_known_to_nobody(Fence(1)));
    }
}
