//! Damage in the write-ahead log, which SQLite takes for the torn end of a crash and drops in silence.
//!
//! Under full durability each transaction is flushed before the next begins, so a crash can tear only the last one. A
//! frame that is broken while a later transaction follows a whole one is therefore damage.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::fault::Fault;

/// Looks through the log of `database`, if there is one.
pub(super) fn check(database: &Path) -> Result<(), Fault> {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.len() <= HEADER as u64 {
        return Ok(());
    }
    check_log(BufReader::new(file))
}

/// Bytes in front of the first frame.
const HEADER: usize = 32;

/// Bytes in front of the page in a frame.
const FRAME: usize = 24;

fn check_log(mut log: impl Read) -> Result<(), Fault> {
    let mut header = [0; HEADER];
    log.read_exact(&mut header)?;
    // The header is flushed before the first frame is written.
    let damaged = || Fault::Corrupt("the head of its write-ahead log does not match its checksum".to_owned());
    let order = Order::of(word(&header, 0)).ok_or_else(damaged)?;
    let salts = (word(&header, 16), word(&header, 20));
    let mut sum = order.sum((0, 0), &header[..24]);
    let page = word(&header, 8) as usize;
    if sum != (word(&header, 24), word(&header, 28)) || !(512..=65_536).contains(&page) {
        return Err(damaged());
    }

    let mut frame = vec![0; FRAME + page];
    let mut broken = None;
    let mut after_commit = false;
    for number in 1u64.. {
        match log.read_exact(&mut frame) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let expected = order.sum(order.sum(sum, &frame[..8]), &frame[FRAME..]);
        // What a frame says of itself is what the next one goes on from, even where the frame is broken.
        sum = (word(&frame, 16), word(&frame, 20));
        let ours = (word(&frame, 8), word(&frame, 12)) == salts;
        let whole = ours && sum == expected;
        match broken {
            None if !whole => broken = Some(number),
            Some(broken) if whole && after_commit => {
                return Err(Fault::Corrupt(format!(
                    "frame {broken} of its write-ahead log does not match its checksum"
                )));
            }
            _ => {}
        }
        after_commit = ours && word(&frame, 4) != 0;
    }
    Ok(())
}

/// Big-endian, as all numbers of the log are.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The byte order in which checksums see their input.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(magic: u32) -> Option<Self> {
        match magic {
            0x377f_0682 => Some(Self::Little),
            0x377f_0683 => Some(Self::Big),
            _ => None,
        }
    }

    fn sum(self, from: (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let word = |bytes: &[u8]| match self {
            Self::Little => word(bytes, 0).swap_bytes(),
            Self::Big => word(bytes, 0),
        };
        bytes.chunks_exact(8).fold(from, |(first, second), pair| {
            let first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
            (first, second.wrapping_add(word(&pair[4..])).wrapping_add(first))
        })
    }
}
