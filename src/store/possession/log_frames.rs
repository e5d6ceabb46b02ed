//! The frames of a write-ahead log, as SQLite's file format has them. SQLite itself does not look at them again until a
//! restart replays the log, up to the first frame whose checksum does not follow from the frame before.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = 4_096;
/// First bytes of a log, without the last bit, which is the byte order of its checksums.
const MAGIC: u32 = 0x377f_0682;

const SALTS_AT: u64 = 16;
/// In a frame's header: the pages of the database after the commit that this frame ends, or 0.
const PAGES_AFTER_COMMIT_AT: usize = 4;

/// A frame in the log.
#[derive(PartialEq, Eq)]
enum Frame {
    Whole,
    /// Whole, and the last one of a commit.
    Commit,
    Broken,
    /// Of a page of another size, in a file of another program.
    Unknown,
}

/// An open log.
pub(super) struct LogFrames(File);

impl LogFrames {
    pub(super) fn of(log: File) -> LogFrames {
        LogFrames(log)
    }

    /// True if that frame (from 1) is in the log and follows from the frame before; 0 is the header. A failed read shows
    /// nothing: true.
    pub(super) fn is_whole(&self, frame: u64) -> bool {
        match self.check(frame) {
            Ok(frame) => frame != Frame::Broken,
            Err(error) => error.kind() != ErrorKind::UnexpectedEof,
        }
    }

    /// True if a commit can be replayed from the log behind `frame`. An error if that cannot be seen.
    pub(super) fn has_commit_behind(&self, frame: u64) -> io::Result<bool> {
        for frame in frame + 1.. {
            match self.check(frame) {
                Ok(Frame::Whole) => {}
                Ok(Frame::Commit) => return Ok(true),
                Ok(Frame::Broken) => return Ok(false),
                Ok(Frame::Unknown) => return Err(ErrorKind::Unsupported.into()),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The salts in the header, which are others each time the log starts anew. None without a header.
    pub(super) fn salts(&self) -> io::Result<Option<[u8; 8]>> {
        let mut salts = [0; 8];
        match self.0.read_exact_at(&mut salts, SALTS_AT) {
            Ok(()) => Ok(Some(salts)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check(&self, frame: u64) -> io::Result<Frame> {
        let mut header = [0; HEADER_BYTES];
        self.0.read_exact_at(&mut header, 0)?;
        let magic = word(&header, 0, true);
        if magic & !1 != MAGIC {
            return Ok(Frame::Broken);
        }
        if word(&header, 8, true) != PAGE_BYTES as u32 {
            return Ok(Frame::Unknown);
        }
        let Some(before) = frame.checked_sub(1) else { return Ok(Frame::Whole) };
        let mut bytes = [0; FRAME_HEADER_BYTES + PAGE_BYTES];
        let start = |frame: u64| HEADER_BYTES as u64 + frame * bytes.len() as u64;
        let (at, previous) = (start(before), before.checked_sub(1).map(start));
        self.0.read_exact_at(&mut bytes, at)?;
        let mut sum = [0; 8];
        self.0.read_exact_at(&mut sum, previous.map_or(24, |previous| previous + 16))?;
        let big = magic & 1 == 1;
        let sum = checksum(&bytes[..8], checksum_start(&sum), big);
        let sum = checksum(&bytes[FRAME_HEADER_BYTES..], sum, big);
        let is_whole = bytes[8..16] == header[16..24] && sum == checksum_start(&bytes[16..24]);
        Ok(match word(&bytes, PAGES_AFTER_COMMIT_AT, true) {
            _ if !is_whole => Frame::Broken,
            0 => Frame::Whole,
            _ => Frame::Commit,
        })
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> u32 {
    let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// A stored checksum, from which the next one goes on.
fn checksum_start(bytes: &[u8]) -> (u32, u32) {
    (word(bytes, 0, true), word(bytes, 4, true))
}

fn checksum(bytes: &[u8], from: (u32, u32), big: bool) -> (u32, u32) {
    bytes.chunks_exact(8).fold(from, |(one, two), pair| {
        let one = one.wrapping_add(word(pair, 0, big)).wrapping_add(two);
        (one, two.wrapping_add(word(pair, 4, big)).wrapping_add(one))
    })
}
