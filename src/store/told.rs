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
    /// So many more are told of that grant.
    pub fn tell(&mut self, fence: Fence, clients: u32) {
        if let Some((_, told, _)) = self.find(fence) {
            *told += clients;
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((fence, clients, 0));
    }

    /// One of the answers did not arrive; whether none has. Of a grant that is forgotten, one may have.
    pub fn is_known_to_nobody(&mut self, fence: Fence) -> bool {
        let Some((_, told, lost)) = self.find(fence) else { return false };
        *lost += 1;
        lost == told
    }

    fn find(&mut self, fence: Fence) -> Option<&mut (Fence, u32, u32)> {
        self.0.iter_mut().rev().find(|(own, _, _)| *own == fence)
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
        assert!(!told.is_known_to_nobody(Fence(0)));
        assert!(told.is_known_to_nobody(Fence(1)));
    }
}
