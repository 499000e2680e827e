//! How many flushes the bridge makes for a message: strace counts them, in a window whose times do not count.

use anyhow::{Context, Result, ensure};

use super::{Setup, Target, bridge::Bridge};
use crate::{
    load::{self, Measured, backlog},
    process,
    scenario::{Class, Scenario},
};

/// Counts in one window without a warm-up: all that is published counts, and what a start and a stop flush does not.
pub(crate) async fn count(
    scenario: &Scenario,
    clients: usize,
    class: Class,
    setup: &Setup,
) -> Result<Measured> {
    ensure!(process::find("strace", &[]).is_some(), "strace is not installed, so flushes are not counted");
    let mut scenario = scenario.clone();
    scenario.warm_up_ms = 0;
    let (_, idle) = watch(class, setup, async |_| Ok(())).await?;
    let (measured, flushes) = watch(class, setup, async |target| {
        backlog::season(&scenario, target).await?;
        load::measure(&scenario, clients, target).await
    })
    .await?;
    let operations = measured.figures.get("operations").copied().unwrap_or_default() + scenario.season as f64;
    let flushes = flushes.saturating_sub(idle);
    let mut counted = Measured::default();
    counted.figures.insert("operations".to_owned(), operations);
    counted.figures.insert("flushes".to_owned(), flushes as f64);
    if flushes > 0 {
        counted.figures.insert("messages_per_flush".to_owned(), operations / flushes as f64);
    }
    Ok(counted)
}

/// Does something with a bridge that is watched, from its start to its end.
async fn watch<T>(
    class: Class,
    setup: &Setup,
    act: impl AsyncFnOnce(&dyn Target) -> Result<T>,
) -> Result<(T, u64)> {
    let folder = process::directory(&setup.data, None)?;
    let counts = folder.path().join("counts");
    let target = Bridge::start(class, &Setup { watch: Some(counts.clone()), ..setup.clone() }).await?;
    let acted = act(&target).await;
    Box::new(target).stop().await;
    let table = std::fs::read_to_string(&counts).context("strace left no counts")?;
    Ok((acted?, sum(&table)))
}

/// The calls in strace's table, whose fourth column they are.
fn sum(table: &str) -> u64 {
    let rows = table.lines().filter(|line| line.ends_with("sync"));
    rows.filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_all_kinds_are_summed() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     99.00    0.012345          12      1028           fdatasync\n  \
                     1.00    0.000123          61         2         1 fsync\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.012468          12      1030         1 total\n";
        assert_eq!(sum(table), 1_030);
        assert_eq!(sum(""), 0);
    }
}
