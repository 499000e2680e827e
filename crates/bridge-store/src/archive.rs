//! Messages that were removed, in files of gzip JSON lines: one a day, one member of it for each batch.
//!
//! `zcat` reads a file whole. A member says its own length in a field of its header, so that the end of a file is found
//! without unpacking it: what a crash has left of a batch is cut off there before the next one is added.

mod member;
mod record;

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bridge_core::{Archive, ArchiveRecord, MessageId, StoreError, StoreErrorKind, Timestamp};
use tokio::sync::Mutex;

use crate::error::fault;

/// What a file's name begins and ends with; in between stands its day.
const PREFIX: &str = "messages-";
const SUFFIX: &str = ".jsonl.gz";

/// Keeps messages in files of one directory, which nobody else writes to.
///
/// It writes one batch at a time. One that comes meanwhile is refused at once, whoever waits for the other or has given it up:
/// a medium that does not answer costs one thread, however often it is tried.
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
    /// Held from before a batch is given to a thread until that is done with it.
    state: Arc<Mutex<Progress>>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The last batch, once that was looked at and is known to be on the disk.
    last: Option<Last>,
    /// A file, and the length to cut it back to: what was added to it then may be there, or not.
    undone: Option<(PathBuf, u64)>,
}

/// The last batch of an archive.
#[derive(Debug, Default)]
struct Last {
    /// What it held: it may come again.
    ids: HashSet<MessageId>,
    /// The file that it was added to, and that file's length since: as long as it has this length it is whole.
    file: Option<(PathBuf, u64)>,
}

impl FileArchive {
    /// The archive in a directory, which is made when there is something to keep. Nothing is looked at before that: whoever
    /// begins does not depend on it.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), state: Arc::default() }
    }

    /// Makes the directory, and sees what the last batch in it held. Whoever wrote that may have ended before it was on the
    /// disk.
    fn begin(&self) -> io::Result<Last> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.directory)?;
        flush_directory(&self.directory)?;
        // The name of the directory itself, where that may be looked at.
        let _ = flush_directory(&self.directory.join(".."));
        let Some(path) = newest(&self.directory)? else { return Ok(Last::default()) };
        let Some((mut file, ids)) = open(&path)? else { return Ok(Last::default()) };
        let length = file.seek(SeekFrom::End(0))?;
        file.sync_all()?;
        Ok(Last { ids, file: Some((path, length)) })
    }

    /// The file of a day that can be continued. Damage costs no more than the file that it is in.
    fn file_of(&self, day: &str, last: &Last) -> io::Result<(File, PathBuf)> {
        if let Some((path, length)) = &last.file
            && path.file_name().and_then(OsStr::to_str).and_then(place).is_some_and(|(of, _)| of == day)
            && let Ok(mut file) = OpenOptions::new().write(true).open(path)
            && file.seek(SeekFrom::End(0))? == *length
        {
            return Ok((file, path.clone()));
        }
        let mut number = 1;
        loop {
            let path = self.directory.join(name(day, number));
            if let Some((file, _)) = open(&path)? {
                return Ok((file, path));
            }
            number += 1;
        }
    }

    fn write(&self, state: &mut Progress, records: &[ArchiveRecord], now: Timestamp) -> io::Result<()> {
        state.undo()?;
        // Until this batch is there nothing is known of the last one.
        let mut known = match state.last.take() {
            Some(known) => known,
            None => self.begin()?,
        };
        let Last { ids, .. } = &known;
        let is_new = |record: &&ArchiveRecord| !ids.contains(&record.message.id);
        let mut lines = Vec::new();
        for record in records.iter().filter(is_new) {
            record::write(record, now, &mut lines)?;
        }
        if !lines.is_empty() {
            let (mut file, path) = self.file_of(&record::day(now), &known)?;
            let begin = file.seek(SeekFrom::End(0))?;
            let member = member::pack(&lines)?;
            state.undone = Some((path.clone(), begin));
            let flushed = file.write_all(&member).and_then(|()| file.sync_all());
            let flushed =
                if begin == 0 { flushed.and_then(|()| flush_directory(&self.directory)) } else { flushed };
            if let Err(error) = flushed {
                // A flush that succeeds later would not tell that these bytes were written.
                if let Err(error) = state.undo() {
                    tracing::error!(%error, "what was added to the archive last cannot be taken back yet");
                }
                return Err(error);
            }
            state.undone = None;
            known.file = Some((path, begin + member.len() as u64));
        }
        known.ids = records.iter().map(|record| record.message.id).collect();
        state.last = Some(known);
        Ok(())
    }
}

impl Progress {
    fn undo(&mut self) -> io::Result<()> {
        let Some((path, length)) = &self.undone else { return Ok(()) };
        match OpenOptions::new().write(true).open(path) {
            Ok(file) => file.set_len(*length).and_then(|()| file.sync_all())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.undone = None;
        Ok(())
    }
}

#[async_trait]
impl Archive for FileArchive {
    async fn append(&self, records: Vec<ArchiveRecord>, now: Timestamp) -> Result<(), StoreError> {
        let Ok(mut state) = Arc::clone(&self.state).try_lock_owned() else {
            let message = format!("{}: the last batch is still being written", self.directory.display());
            return Err(fault(StoreErrorKind::Unavailable, "append", message));
        };
        let archive = self.clone();
        let written = tokio::task::spawn_blocking(move || archive.write(&mut state, &records, now)).await;
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

/// Makes the names in a directory durable, where that is a thing to do.
fn flush_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
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
    match mend(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(file = %path.display(), %error, "the file is left as it is, and another one begun");
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

/// Opens a file, and cuts off what a crash has left behind its last whole member, whose messages are told. It is made if it
/// is not there.
fn mend(path: &Path) -> io::Result<(File, HashSet<MessageId>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let length = file.metadata()?.len();
    let last = member::last(&mut file, length)?;
    let mut ids = HashSet::new();
    if !last.is_empty() {
        file.seek(SeekFrom::Start(last.start))?;
        let mut packed = Vec::new();
        (&file).take(last.end - last.start).read_to_end(&mut packed)?;
        ids = record::ids(&member::unpack(&packed)?)?;
    }
    // Only now: a member whose length is damaged may seem to be followed by something.
    if last.end < length {
        tracing::warn!(file = %path.display(), bytes = length - last.end, "the end of a batch is missing; it is cut off");
        file.set_len(last.end)?;
        file.sync_all()?;
    }
    Ok((file, ids))
}

#[cfg(test)]
mod tests;
