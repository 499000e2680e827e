//! Messages that were removed, in files of gzip JSON lines: one a day, one member of it for each batch.
//!
//! `zcat` reads a file whole. A member says its own length in a field of its header, so that the end of a file is found
//! without unpacking it: what a crash has left of a batch is cut off there before the next one is added.

mod member;
mod record;

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bridge_core::{Archive, ArchiveRecord, MessageId, StoreError, StoreErrorKind, Timestamp};

use crate::error::fault;

/// What a file's name begins and ends with; in between stands its day.
const PREFIX: &str = "messages-";
const SUFFIX: &str = ".jsonl.gz";

/// Keeps messages in files of one directory, which nobody else writes to.
///
/// # Shape
/// `messages-2026-11-21.jsonl.gz`, by UTC days, and `messages-2026-11-21.2.jsonl.gz` where the first cannot be continued. A line is a JSON object with `archived_at`, `message` and `deliveries`; a payload
/// that is JSON stands in the message as `payload`, any other as `payload_base64`.
///
/// # Example
/// ```
/// use bridge_core::{Archive, Timestamp};
/// use bridge_store::FileArchive;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("archive");
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let archive = FileArchive::new(&path);
/// archive.append(Vec::new(), Timestamp::default()).await?;
/// # Ok::<_, bridge_core::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct FileArchive {
    directory: PathBuf,
    /// What the last batch held, once that was looked at: it may come again.
    last: Arc<Mutex<Option<HashSet<MessageId>>>>,
}

impl FileArchive {
    /// The archive in a directory, which is made when there is something to keep. Nothing is looked at before that: whoever
    /// begins does not depend on it.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), last: Arc::default() }
    }

    /// Makes the directory, and sees what the last batch in it held.
    fn begin(&self) -> io::Result<HashSet<MessageId>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.directory)?;
        let Some(path) = newest(&self.directory)? else { return Ok(HashSet::new()) };
        Ok(open(&path)?.map(|(_, last)| last).unwrap_or_default())
    }

    /// The file of a day that can be continued, and whether it is a new one. Damage costs no more than the file that it is in.
    fn file_of(&self, day: &str) -> io::Result<(File, bool)> {
        let mut number = 1;
        loop {
            let path = self.directory.join(name(day, number));
            let is_new = !path.exists();
            if let Some((file, _)) = open(&path)? {
                return Ok((file, is_new));
            }
            number += 1;
        }
    }

    fn write(&self, records: &[ArchiveRecord], now: Timestamp) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Until this batch is there nothing is known of the last one.
        let known = match last.take() {
            Some(known) => known,
            None => self.begin()?,
        };
        let is_new = |record: &&ArchiveRecord| !known.contains(&record.message.id);
        let mut lines = Vec::new();
        for record in records.iter().filter(is_new) {
            record::write(record, now, &mut lines)?;
        }
        if !lines.is_empty() {
            let (mut file, is_new) = self.file_of(&record::day(now))?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(&member::pack(&lines)?)?;
            file.sync_all()?;
            if is_new && cfg!(unix) {
                File::open(&self.directory)?.sync_all()?;
            }
        }
        *last = Some(records.iter().map(|record| record.message.id).collect());
        Ok(())
    }
}

#[async_trait]
impl Archive for FileArchive {
    async fn append(&self, records: Vec<ArchiveRecord>, now: Timestamp) -> Result<(), StoreError> {
        let archive = self.clone();
        let written = tokio::task::spawn_blocking(move || archive.write(&records, now)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| told("append", &self.directory, &error))
    }
}

fn told(operation: &'static str, directory: &Path, error: &io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        io::ErrorKind::InvalidData => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    };
    fault(kind, operation, format!("{}: {error}", directory.display()))
}

/// What a file of a day is called: the first, and those that were begun since it cannot be continued.
fn name(day: &str, number: u32) -> String {
    match number {
        1 => format!("{PREFIX}{day}{SUFFIX}"),
        _ => format!("{PREFIX}{day}.{number}{SUFFIX}"),
    }
}

/// The day of a file, and which one of that day it is.
fn place(name: &str) -> Option<(String, u32)> {
    let between = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    match between.split_once('.') {
        Some((day, number)) => Some((day.to_owned(), number.parse().ok()?)),
        None => Some((between.to_owned(), 1)),
    }
}

/// The last file of the last day.
fn newest(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        newest = newest.max(entry.file_name().to_str().and_then(place));
    }
    Ok(newest.map(|(day, number)| directory.join(name(&day, number))))
}

/// Opens a file to continue it, with the messages of its last batch; nothing if it is damaged, or is none of ours.
fn open(path: &Path) -> io::Result<Option<(File, HashSet<MessageId>)>> {
    let opened = mend(path).and_then(|mut file| last_of(&mut file).map(|last| (file, last)));
    match opened {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(file = %path.display(), %error, "the file is left as it is, and another one begun");
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

/// Opens a file, and cuts off what a crash has left behind its last whole member. It is made if it is not there.
fn mend(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let length = file.metadata()?.len();
    let end = member::ends(&mut file, length)?.last().map_or(0, |(_, end)| *end);
    if end < length {
        tracing::warn!(file = %path.display(), bytes = length - end, "the end of a batch is missing; it is cut off");
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(file)
}

/// The messages of a file's last member.
fn last_of(file: &mut File) -> io::Result<HashSet<MessageId>> {
    let length = file.metadata()?.len();
    let Some((begin, end)) = member::ends(file, length)?.pop() else { return Ok(HashSet::new()) };
    file.seek(SeekFrom::Start(begin))?;
    let mut packed = Vec::new();
    file.take(end - begin).read_to_end(&mut packed)?;
    record::ids(&member::unpack(&packed)?)
}

#[cfg(test)]
mod tests;
