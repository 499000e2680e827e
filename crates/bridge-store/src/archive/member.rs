//! One gzip member with its own length in its header, as RFC 1952 lets a field be added there.

use std::io::{self, Read, Seek, SeekFrom, Write};

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

/// Where the whole members of a file of this length begin and end. Behind the last one may be a part of another.
pub(super) fn ends(file: &mut (impl Read + Seek), length: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut members = Vec::new();
    let mut begin = 0;
    while begin + HEAD as u64 <= length {
        file.seek(SeekFrom::Start(begin))?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        if head == [0; HEAD] {
            // Space was given to the file, and nothing written to it.
            break;
        }
        let is_ours = head[..4] == [0x1f, 0x8b, 8, 4] && head[10..12] == [8, 0] && head[12..AT] == FIELD[..4];
        let [.., a, b, c, d] = head;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if !is_ours || size <= HEAD as u64 {
            return Err(damaged("it holds something else than batches of this archive"));
        }
        if begin + size > length {
            break;
        }
        members.push((begin, begin + size));
        begin += size;
    }
    Ok(members)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
