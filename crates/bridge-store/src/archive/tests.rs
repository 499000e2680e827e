use std::{io::BufRead, time::Duration};

use bridge_core::{Delivery, Message, State, bytes::Bytes};
use bridge_testkit::samples;
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const FIRST: &str = "messages-2026-09-21.jsonl.gz";
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn record(n: u64) -> ArchiveRecord {
    let delivery = Delivery { state: State::Done, ..samples::delivery(n) };
    ArchiveRecord { message: samples::message(n), deliveries: vec![delivery] }
}

/// Adds messages to the archive of a directory, as a program does that has just started.
async fn add(directory: &TempDir, numbers: &[u64]) -> Result<(), StoreError> {
    let archive = FileArchive::new(directory.path());
    archive.append(numbers.iter().map(|n| record(*n)).collect(), samples::at(0)).await
}

/// The lines of all files, in the order of their days.
fn lines(directory: &TempDir) -> Vec<Value> {
    let mut files: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let lines = files.iter().flat_map(|file| {
        let unpacked = io::BufReader::new(MultiGzDecoder::new(File::open(file).unwrap()));
        unpacked.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    });
    lines.collect()
}

fn ids(directory: &TempDir) -> Vec<String> {
    lines(directory).iter().map(|line| line["message"]["id"].as_str().unwrap().to_owned()).collect()
}

fn expected(numbers: &[u64]) -> Vec<String> {
    numbers.iter().map(|n| samples::message_id(*n).to_string()).collect()
}

#[tokio::test]
async fn a_line_tells_all_of_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let archive = FileArchive::new(directory.path());
    let with = |n, payload: &'static [u8]| {
        let message = Message { payload: Bytes::from_static(payload), ..samples::message(n) };
        ArchiveRecord { message, ..record(n) }
    };
    let records = vec![with(1, b"{\"a\":\n 1.10}"), with(2, b"hello"), with(3, &[0xff, 0])];
    archive.append(records, samples::at(0)).await.unwrap();
    let lines = lines(&directory);
    assert_eq!(lines[0]["message"]["payload"], serde_json::json!({"a": 1.10}));
    assert_eq!(lines[1]["message"]["payload_base64"], "aGVsbG8=");
    assert_eq!(lines[2]["message"]["payload_base64"], "/wA=");
    assert_eq!(lines[0]["message"]["type"], "message");
    assert_eq!(lines[0]["deliveries"][0]["state"], "done");
    assert_eq!(lines[0]["deliveries"][0]["receipts"]["accepted"], "2026-09-21T14:13:20.001Z");
    assert_eq!(lines[0]["archived_at"], "2026-09-21T14:13:20.000Z");
}

#[tokio::test]
async fn each_day_has_a_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let archive = FileArchive::new(directory.path());
    for n in 1..=3 {
        let now = samples::at(0) + DAY * u32::try_from(n / 2).unwrap();
        archive.append(vec![record(n)], now).await.unwrap();
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    assert_eq!(ids(&directory), expected(&[1, 2, 3]));
}

#[tokio::test]
async fn what_a_crash_has_left_of_a_batch_is_cut_off() {
    let whole = tempfile::tempdir().unwrap();
    add(&whole, &[1, 2]).await.unwrap();
    let first = fs::read(whole.path().join(FIRST)).unwrap();
    add(&whole, &[3]).await.unwrap();
    let both = fs::read(whole.path().join(FIRST)).unwrap();
    assert!(both.starts_with(&first));
    for length in 0..=both.len() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FIRST), &both[..length]).unwrap();
        add(&directory, &[4]).await.unwrap();
        let kept: &[u64] = match length {
            _ if length == both.len() => &[1, 2, 3, 4],
            _ if length >= first.len() => &[1, 2, 4],
            _ => &[4],
        };
        assert_eq!(ids(&directory), expected(kept), "{length} bytes were left");
    }
    // Space that was never written to.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FIRST), [&first[..], &[0; 4_096]].concat()).unwrap();
    add(&directory, &[4]).await.unwrap();
    assert_eq!(ids(&directory), expected(&[1, 2, 4]));
}

#[tokio::test]
async fn a_flipped_bit_takes_nothing_away() {
    let whole = tempfile::tempdir().unwrap();
    for n in 1..=3 {
        add(&whole, &[n]).await.unwrap();
    }
    let bytes = fs::read(whole.path().join(FIRST)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FIRST);
    for bit in (0..bytes.len() * 8).step_by(5) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let _ = mend(&file);
        assert_eq!(fs::read(&file).unwrap(), flipped, "bit {bit}");
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_is_kept_once() {
    let directory = tempfile::tempdir().unwrap();
    let archive = FileArchive::new(directory.path());
    for batch in [&[1, 2][..], &[1, 2], &[1, 2, 3], &[1, 2, 3]] {
        archive.append(batch.iter().map(|n| record(*n)).collect(), samples::at(0)).await.unwrap();
    }
    assert_eq!(ids(&directory), expected(&[1, 2, 3]));
    // And when the program has started anew.
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        add(&directory, &[1, 2]).await.unwrap();
    }
    assert_eq!(ids(&directory), expected(&[1, 2]));
}

#[tokio::test]
async fn what_was_not_written_here_is_left_alone_and_costs_nothing() {
    let packed = member::pack(b"no line\n").unwrap();
    let mut broken = member::pack(b"{}\n").unwrap();
    let middle = broken.len() - 6;
    broken[middle] ^= 1;
    for content in [&b"something else, and longer than a head"[..], &packed, &broken] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FIRST);
        fs::write(&file, content).unwrap();
        for batch in [&[1, 2][..], &[1, 2], &[3]] {
            add(&directory, batch).await.unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), content);
        fs::remove_file(&file).unwrap();
        assert_eq!(ids(&directory), expected(&[1, 2, 3]));
        assert_eq!(newest(directory.path()).unwrap(), Some(directory.path().join(name("2026-09-21", 2))));
    }
}

/// Each batch costs the same, however much its file holds: what this archive has written it does not read again.
#[tokio::test]
async fn only_what_was_touched_is_looked_at_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FIRST);
    let archive = FileArchive::new(directory.path());
    let append = async |n| archive.append(vec![record(n)], samples::at(0)).await.unwrap();
    append(1).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, &bytes).unwrap();
    append(2).await;
    assert!(fs::read(&file).unwrap().len() > bytes.len());

    // It is shorter now, or gone.
    bytes[0] ^= 1;
    fs::write(&file, &bytes).unwrap();
    append(3).await;
    assert_eq!(ids(&directory), expected(&[1, 3]));
    fs::remove_file(&file).unwrap();
    append(4).await;
    assert_eq!(ids(&directory), expected(&[4]));
}

#[tokio::test]
async fn a_fault_passes_when_its_cause_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive");
    fs::write(&path, "in the way").unwrap();
    let archive = FileArchive::new(&path);
    for _ in 0..2 {
        let error = archive.append(vec![record(1)], samples::at(0)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
    }
    fs::remove_file(&path).unwrap();
    archive.append(vec![record(1)], samples::at(0)).await.unwrap();
    assert!(path.join(FIRST).exists());
}

/// The sweeper gives up a batch that takes too long, and comes again.
#[cfg(target_os = "linux")]
#[test]
fn a_medium_that_hangs_costs_one_thread_however_often_it_is_tried() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(2).build();
    let runtime = runtime.unwrap();
    let tried = runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), a_medium_that_hangs()).await });
    runtime.shutdown_background();
    tried.expect("nothing waits for the medium");
}

#[cfg(target_os = "linux")]
async fn a_medium_that_hangs() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let directory = tempfile::tempdir().unwrap();
    let archive = FileArchive::new(directory.path());
    let append = async |n| archive.append(vec![record(n)], samples::at(0)).await;
    append(1).await.unwrap();

    // Who opens a pipe to write to it waits for somebody who reads.
    let (file, aside) = (directory.path().join(FIRST), directory.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    tokio::select! {
        biased;
        _ = append(2) => panic!("it should hang"),
        () = std::future::ready(()) => {}
    }
    for _ in 0..3 {
        let error = append(2).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(error.message.ends_with("the last batch is still being written"), "{error}");
    }
    // There is a thread for others.
    tokio::task::spawn_blocking(|| ()).await.unwrap();

    let pipe = file.clone();
    drop(tokio::task::spawn_blocking(|| File::open(pipe)).await.unwrap().unwrap());
    fs::rename(&aside, &file).unwrap();
    while append(2).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ids(&directory), expected(&[1, 2]));
}
