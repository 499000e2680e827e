//! What processes use, as the kernel counts it.

use std::{collections::HashMap, fs, time::Duration};

/// Ticks a second in `/proc`: 100 for every program, whatever the kernel counts in.
const TICKS: u64 = 100;

/// Memory of a process and its descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is resident now; what several of them share counts in parts that add up to it.
    pub(crate) resident_kib: u64,
    /// The most that was ever resident of the largest of them.
    pub(crate) peak_kib: u64,
}

/// Processor time of a process and its descendants so far, of those that have ended too.
pub(crate) fn cpu_of_tree(root: u32) -> Duration {
    tree(root).into_iter().filter_map(Stat::read).map(|stat| stat.cpu).sum()
}

/// Reads the memory of a process and its descendants.
pub(crate) fn memory_of_tree(root: u32) -> Memory {
    let mut memory = Memory::default();
    for pid in tree(root) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        memory.resident_kib +=
            kib(&read("smaps_rollup"), "Pss:").unwrap_or_else(|| kib(&status, "VmRSS:").unwrap_or(0));
        memory.peak_kib = memory.peak_kib.max(kib(&status, "VmHWM:").unwrap_or(0));
    }
    memory
}

/// Processor time of this program alone.
pub(crate) fn cpu_of_this() -> Duration {
    Stat::read(std::process::id()).map_or(Duration::ZERO, |stat| stat.own)
}

/// The process and everything it has started, while their parents live.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

struct Stat {
    parent: u32,
    /// Of the process alone, and with its children that have ended.
    own: Duration,
    cpu: Duration,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is a name in parentheses, which may hold anything: what is read stands behind the last of them.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
        let times = |fields: &[&str]| {
            let ticks: u64 = fields.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
            Duration::from_millis(ticks * 1_000 / TICKS)
        };
        let (own, cpu) = (times(fields.get(11..13)?), times(fields.get(11..15)?));
        Some(Self { parent: fields.get(1)?.parse().ok()?, own, cpu })
    }
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 7 3 20 0 1 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.parent, 3);
        assert_eq!((stat.own, stat.cpu), (Duration::from_millis(2_000), Duration::from_millis(2_100)));
        assert!(Stat::parse("7 (gone").is_none());
    }

    #[test]
    fn a_busy_childs_time_is_counted_while_it_runs_and_after_it_ended() {
        let before = cpu_of_tree(std::process::id());
        // It burns a fifth of a second of its own time, however long that takes, then waits to be read.
        let script = "s=$(cut -d' ' -f14 /proc/$$/stat); while [ $(($(cut -d' ' -f14 /proc/$$/stat) - s)) -lt 20 ]; \
                      do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done; echo done; read line";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        let (alone, memory) = (cpu_of_tree(child.id()), memory_of_tree(child.id()));
        assert!(alone >= Duration::from_millis(200), "{alone:?}");
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib, "{memory:?}");
        assert!(tree(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        let after = cpu_of_tree(std::process::id());
        assert!(after >= before + Duration::from_millis(200), "{before:?} {after:?}");
    }
}
