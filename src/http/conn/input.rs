//! What a client has sent and nobody has used yet.

/// What an idle connection keeps, in bytes: enough for an ordinary request with its body, and one page.
const SMALL: usize = 4 * 1024;

/// A buffer that grows while a long head comes and is small again when it is empty.
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
}

impl Input {
    /// Never holds more than `max` bytes, or 4 KiB.
    pub(super) fn new(max: usize) -> Input {
        Input { bytes: vec![0; SMALL], start: 0, end: 0, max: max.max(SMALL) }
    }

    /// The bytes nobody has used yet.
    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` bytes have been used.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "only what is there can be used");
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives memory back that a long head needed and an idle connection does not.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.bytes.len() > SMALL {
            self.bytes = vec![0; SMALL];
        }
    }

    /// Takes empty lines away: some clients send one behind a body, and it begins no request.
    pub(super) fn skip_empty_lines(&mut self) {
        while self.unused().starts_with(b"\r\n") {
            self.consume(2);
        }
    }

    /// Where to read to; never empty unless `max` bytes are unused. Tell [`Input::filled`] how much was read.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            self.bytes.resize((2 * self.bytes.len()).min(self.max), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So much was read into [`Input::room`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "only what there was room for can be filled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(input: &mut Input, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = input.room();
            let count = room.len().min(bytes.len());
            assert!(count > 0, "there is room");
            room[..count].copy_from_slice(&bytes[..count]);
            input.filled(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn keeps_what_is_unused_in_order_while_it_moves_and_grows() {
        let long: Vec<u8> = (0..16_000u32).map(|n| n as u8).collect();
        let mut input = Input::new(16 * 1024);
        take(&mut input, &long[..4_000]);
        input.consume(3_000);
        take(&mut input, &long[4_000..]);
        assert_eq!(input.unused(), &long[3_000..]);
    }

    #[test]
    fn is_full_at_its_limit() {
        let mut input = Input::new(8 * 1024);
        take(&mut input, &[7; 8 * 1024]);
        assert!(input.room().is_empty());
    }

    #[test]
    fn is_small_again_at_rest() {
        let mut input = Input::new(16 * 1024);
        take(&mut input, &[7; 10_000]);
        input.consume(9_999);
        input.rest();
        assert_eq!(input.unused(), [7], "what is unused survives");
        input.consume(1);
        input.rest();
        assert_eq!(input.bytes.len(), SMALL);
    }

    #[test]
    fn empty_lines_go_and_a_lone_return_stays() {
        let mut input = Input::new(SMALL);
        take(&mut input, b"\r\n\r\n\rG");
        input.skip_empty_lines();
        assert_eq!(input.unused(), b"\rG");
    }
}
