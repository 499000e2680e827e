//! Figures as tables.

use crate::{
    figures::{Spread, ratios},
    result::{Place, Run},
    scenario::{Class, Kind, Scenario},
};

/// A column: what it is called, the figure, and whether a ratio to the bridge follows.
struct Column(&'static str, &'static str);

/// What a table of this kind shows.
fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Publish => &[
            Column("messages/s", "per_second"),
            Column("p50 µs", "publish.p50_us"),
            Column("p99 µs", "publish.p99_us"),
            Column("server CPU µs", "server_cpu_us"),
            Column("client CPU µs", "client_cpu_us"),
            Column("resident KiB", "resident_kib"),
        ],
        Kind::Deliver => &[
            Column("delivered p50 µs", "deliver.p50_us"),
            Column("p99 µs", "deliver.p99_us"),
            Column("ack p50 µs", "ack.p50_us"),
            Column("p99 µs", "ack.p99_us"),
            Column("server CPU µs", "server_cpu_us"),
        ],
        Kind::Saturate => &[
            Column("messages/s", "per_second"),
            Column("publish p50 µs", "publish.p50_us"),
            Column("delivered p50 µs", "deliver.p50_us"),
            Column("server CPU µs", "server_cpu_us"),
            Column("client CPU µs", "client_cpu_us"),
            Column("resident KiB", "resident_kib"),
        ],
        Kind::Read => &[
            Column("pages/s", "per_second"),
            Column("p50 µs", "read.p50_us"),
            Column("p99 µs", "read.p99_us"),
            Column("server CPU µs", "server_cpu_us"),
            Column("bytes", "bytes"),
        ],
        Kind::Backlog => &[
            Column("publish p50 µs", "publish.p50_us"),
            Column("receive p50 µs", "receive.p50_us"),
            Column("ack p50 µs", "ack.p50_us"),
            Column("resident KiB", "resident_kib"),
            Column("start ms", "start_ms"),
            Column("resident after start KiB", "start_resident_kib"),
        ],
    }
}

/// What was measured, on what, and what could not be.
pub(super) fn origin(run: &Run, source: &str) -> String {
    let machine = &run.machine;
    let mut text = format!(
        "`{}` at {} of commit `{}`, on {}: {}, {} cores, {} MiB, Linux {}, {}. Every figure of every round is in \
         `{source}`.\n\n| class | target | version |\n|---|---|---|\n",
        run.command,
        run.began,
        run.commit,
        machine.kind,
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
    );
    for (class, known) in &run.known {
        for known in known {
            let says =
                known.missing.as_ref().map_or(known.version.clone(), |why| format!("**missing**: {why}"));
            text.push_str(&format!("| {class} | {} | {says} |\n", known.name));
        }
    }
    for failure in &run.failures {
        let Place { scenario, class, target, clients, .. } = &failure.place;
        let error = failure.error.lines().next().unwrap_or_default();
        text.push_str(&format!(
            "\n**Failed**: {target} in {scenario} {class} with {clients} clients, round {}: {error}\n",
            failure.round + 1
        ));
    }
    text
}

/// All figures of a scenario, a table for each class.
pub(super) fn of_scenario(run: &Run, scenario: &Scenario) -> String {
    let mut text = String::new();
    for (class, targets) in &scenario.targets {
        text.push_str(&of_class(run, scenario, *class, targets));
        text.push('\n');
        for clients in &scenario.clients {
            let watched = place(scenario, *class, "bridge, watched", *clients, 0);
            let counted = run.rounds(&watched, "messages_per_flush");
            if let Some(counted) = Spread::of(counted.into_iter().map(|(_, figure)| figure)) {
                let messages = number(counted.median);
                text.push_str(&format!(
                    "The bridge with {clients} clients in class {class}: {messages} messages a flush.\n\n"
                ));
            }
        }
    }
    text
}

fn of_class(run: &Run, scenario: &Scenario, class: Class, targets: &[String]) -> String {
    let columns = columns(scenario.kind);
    let points: Vec<(usize, usize)> = match scenario.kind {
        Kind::Backlog => scenario.queued.iter().map(|queued| (scenario.clients[0], *queued)).collect(),
        _ => scenario.clients.iter().map(|clients| (*clients, 0)).collect(),
    };
    let point = if scenario.kind == Kind::Backlog { "queued" } else { "clients" };
    let mut text = format!("| {class}: {point} | target |");
    columns.iter().for_each(|Column(name, _)| text.push_str(&format!(" {name} |")));
    text.push_str(" bridge over it |\n|---|---|");
    text.push_str(&"---|".repeat(columns.len() + 1));
    text.push('\n');
    for (clients, queued) in points {
        let first = number(if queued > 0 { queued } else { clients } as f64);
        let ours = run.rounds(&place(scenario, class, "bridge", clients, queued), columns[0].1);
        for target in targets {
            let place = place(scenario, class, target, clients, queued);
            let figures = |name: &str| run.rounds(&place, name).into_iter().map(|(_, figure)| figure);
            let cells = columns
                .iter()
                .map(|Column(_, name)| Spread::of(figures(name)).map_or("-".to_owned(), spread));
            let ratio = match target.as_str() {
                "bridge" => None,
                _ => Spread::of(ratios(&ours, &run.rounds(&place, columns[0].1))),
            };
            let cells: Vec<String> = cells.chain([ratio.map_or(String::new(), spread)]).collect();
            text.push_str(&format!("| {first} | {target} | {} |\n", cells.join(" | ")));
        }
    }
    text
}

fn place(scenario: &Scenario, class: Class, target: &str, clients: usize, queued: usize) -> Place {
    Place { scenario: scenario.name.clone(), class, target: target.to_owned(), clients, queued }
}

/// The median, and behind it the least and the most if there were several rounds.
pub(super) fn spread(figures: Spread) -> String {
    let Spread { median, least, most } = figures;
    if least == most {
        number(median)
    } else {
        format!("{} ({}-{})", number(median), number(least), number(most))
    }
}

/// Three digits of a small number, all of a large one before the point.
pub(super) fn number(figure: f64) -> String {
    let plain = match figure.abs() {
        0.0..10.0 => format!("{figure:.2}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    };
    let plain = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { &plain };
    let (whole, rest) = plain.find('.').map_or((plain, ""), |point| plain.split_at(point));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_are_worth() {
        let told = [0.123, 1.0, 1.5, 12.34, 100.4, 1_234.5, 1_000_000.0].map(number);
        assert_eq!(told, ["0.12", "1", "1.5", "12.3", "100", "1,234", "1,000,000"]);
        assert_eq!(spread(Spread { median: 2.0, least: 1.0, most: 3.5 }), "2 (1-3.5)");
        assert_eq!(spread(Spread { median: 2.0, least: 2.0, most: 2.0 }), "2");
    }

    #[test]
    fn a_target_without_figures_has_a_row_all_the_same() {
        let mut run = crate::render::tests::run();
        let scenario = run.scenarios[0].clone();
        run.windows.push(crate::render::tests::window("bridge", 0, 1_500.0));
        let table = of_scenario(&run, &scenario);
        assert!(table.contains("| 64 | bridge | 1,500 | - |"), "{table}");
        assert!(table.contains("| 64 | nats | - | - |"), "{table}");
    }
}
