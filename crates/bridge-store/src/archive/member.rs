//! One gzip member with its own length in its header, as RFC 1952 lets a field be added there.

use std::{
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    ops::Range,
};

use flate2::{Compression, GzBuilder, read::GzDecoder};

/// The field: two letters of ours, four bytes, the length of the whole member.
const FIELD: [u8; 8] = [b'b', b'r', 4, 0, 0, 0, 0, 0];

/// Where the length stands: behind the fixed part of the header, the length of all fields, and the field's own head.
const AT: usize = 10 + 2 + 4;

/// The part of a header that is read to find the next member.
const HEAD: usize = AT + 4;

/// Packs bytes as one member.
pub(super) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzBuilder::new().extra(FIELD).write(Vec::new(), Compression::default());
    packer.write_all(bytes)?;
    let mut member = packer.finish()?;
    let length = u32::try_from(member.len()).map_err(|_| damaged("a batch is too large"))?;
    member[AT..HEAD].copy_from_slice(&length.to_le_bytes());
    Ok(member)
}

/// The bytes of one member.
pub(super) fn unpack(member: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let unpacked = GzDecoder::new(member).read_to_end(&mut bytes);
    unpacked.map_err(|_| damaged("its last batch is damaged")).map(|_| bytes)
}

/// Where the last whole member of a file of this length begins and ends, or the file begins if there is none. Behind it may
/// be a part of another, as a crash leaves it. A member that only seems not to be whole is damage, as is anything else.
pub(super) fn last(file: &mut (impl Read + Seek), length: u64) -> io::Result<Range<u64>> {
    let mut last = 0..0;
    while last.end + HEAD as u64 <= length {
        file.seek(SeekFrom::Start(last.end))?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        if head == [0; HEAD] {
            // Space was given to the file, and nothing written to it.
            break;
        }
        let [.., a, b, c, d] = head;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if !is_head(&head) || size <= HEAD as u64 {
            return Err(damaged("it holds something else than batches of this archive"));
        }
        if last.end + size > length {
            break;
        }
        last = last.end..last.end + size;
    }
    file.seek(SeekFrom::Start(last.end))?;
    if is_whole(file) {
        return Err(damaged("the length of a batch is damaged"));
    }
    file.seek(SeekFrom::Start(last.end))?;
    if has_head_behind(file)? {
        return Err(damaged("there are batches behind one that is not whole"));
    }
    Ok(last)
}

fn is_head(bytes: &[u8; HEAD]) -> bool {
    bytes[..4] == [0x1f, 0x8b, 8, 4] && bytes[10..12] == [8, 0] && bytes[12..AT] == FIELD[..4]
}

/// Whether a member is here that can be unpacked to its end, whatever length it tells.
fn is_whole(file: &mut impl Read) -> bool {
    io::copy(&mut GzDecoder::new(BufReader::new(file)), &mut io::sink()).is_ok_and(|length| length > 0)
}

/// Whether a member begins somewhere behind the first byte.
fn has_head_behind(file: &mut impl Read) -> io::Result<bool> {
    let mut head = [0; HEAD];
    for byte in BufReader::new(file).bytes().skip(1) {
        head.rotate_left(1);
        head[HEAD - 1] = byte?;
        if is_head(&head) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
