//! Figures as plots, in SVG.

use std::{error::Error, path::Path};

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::{
        BindKeyPoints, ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries,
        PathElement, RGBColor, SVGBackend, Text, WHITE,
    },
};

use super::tables::number;
use crate::{
    figures::Spread,
    result::{Place, Run},
    scenario::{Class, Scenario},
};

const SIZE: (u32, u32) = (760, 400);

/// How much of the width tells which line is whose.
const LEGEND: u32 = 120;

/// A line with the spread of each of its points.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, Spread)>,
}

/// A file and what it shows.
type Drawn = (String, String);

/// Messages a second, and the median time, against the number of clients: two plots for each class.
pub(super) fn against_clients(run: &Run, scenario: &Scenario, folder: &Path) -> Result<Vec<Drawn>> {
    let mut drawn = Vec::new();
    for (class, targets) in &scenario.targets {
        for (figure, file, says) in
            [("per_second", "per-second", "messages a second"), ("publish.p50_us", "p50", "median time, µs")]
        {
            let line = |target: &String| Line {
                name: target.clone(),
                colour: colour(target),
                points: points(run, scenario, *class, target, figure),
            };
            let lines: Vec<Line> = targets.iter().map(line).collect();
            let name = format!("{}-{class}-{file}.svg", scenario.name);
            let caption = format!("{}, class {class}: {says} against clients", scenario.name);
            drawn.extend(draw(&folder.join(&name), &caption, "clients", &lines)?.then_some((name, caption)));
        }
    }
    Ok(drawn)
}

/// Throughput and median times against the length of the queue.
pub(super) fn against_length(run: &Run, scenario: &Scenario, folder: &Path) -> Result<Vec<Drawn>> {
    let mut drawn = Vec::new();
    let rounds = [("all three", "bridge", "per_second")];
    let calls = [
        ("publish", "bridge", "publish.p50_us"),
        ("receive", "redis", "receive.p50_us"),
        ("ack", "nats", "ack.p50_us"),
    ];
    for class in scenario.targets.keys() {
        for (figures, file, says) in
            [(&rounds[..], "per-second", "rounds a second"), (&calls[..], "p50", "median time, µs")]
        {
            let line = |(name, coloured_as, figure): &(&str, &str, &str)| Line {
                name: (*name).to_owned(),
                colour: colour(coloured_as),
                points: points(run, scenario, *class, "bridge", figure),
            };
            let lines: Vec<Line> = figures.iter().map(line).collect();
            let name = format!("{}-{class}-{file}.svg", scenario.name);
            let caption = format!("{}, class {class}: {says} against messages queued", scenario.name);
            drawn.extend(draw(&folder.join(&name), &caption, "queued", &lines)?.then_some((name, caption)));
        }
    }
    Ok(drawn)
}

fn points(run: &Run, scenario: &Scenario, class: Class, target: &str, figure: &str) -> Vec<(f64, Spread)> {
    let of = |clients, queued| {
        let (scenario, target) = (scenario.name.clone(), target.to_owned());
        let rounds = run.rounds(&Place { scenario, class, target, clients, queued }, figure);
        Some((
            if queued > 0 { queued } else { clients } as f64,
            Spread::of(rounds.into_iter().map(|(_, figure)| figure))?,
        ))
    };
    match scenario.queued.as_slice() {
        [] => scenario.clients.iter().filter_map(|clients| of(*clients, 0)).collect(),
        lengths => lengths.iter().filter_map(|queued| of(scenario.clients[0], *queued)).collect(),
    }
}

/// Draws lines on logarithmic axes; false if there is nothing to draw.
fn draw(path: &Path, caption: &str, across: &str, lines: &[Line]) -> Result<bool> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(ups) = Spread::of(points().flat_map(|(_, spread)| [spread.least, spread.most])) else {
        return Ok(false);
    };
    let mut across_all: Vec<f64> = points().map(|(at, _)| *at).collect();
    across_all.sort_by(f64::total_cmp);
    across_all.dedup();
    let marks = marks(ups.least.max(1e-3), ups.most);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    fill(&area, caption, across, (across_all, marks), lines)
        .map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    Ok(true)
}

/// Round numbers from one not above `least` to one not below `most`: 1, 2 and 5 of each power of ten.
fn marks(least: f64, most: f64) -> Vec<f64> {
    let powers = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let all: Vec<f64> =
        powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power))).collect();
    let first = all.iter().rposition(|mark| *mark <= least).unwrap_or(0);
    let last = all.iter().position(|mark| *mark >= most).unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1)].to_vec()
}

fn fill<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    caption: &str,
    across: &str,
    (at, marks): (Vec<f64>, Vec<f64>),
    lines: &[Line],
) -> Result<(), Box<dyn Error + 'a>> {
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 - LEGEND);
    let x = (at[0] / 1.2..at[at.len() - 1] * 1.2).log_scale().with_key_points(at);
    let y = (marks[0]..marks[marks.len() - 1]).log_scale().with_key_points(marks);
    let mut chart = ChartBuilder::on(&left)
        .caption(caption, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(across)
        .x_label_formatter(&|at| number(*at))
        .y_label_formatter(&|at| number(*at))
        .label_style(("sans-serif", 13))
        .draw()?;
    let mut below = 60;
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let medians = line.points.iter().map(|(at, spread)| (*at, spread.median));
        chart.draw_series(LineSeries::new(medians.clone(), line.colour.stroke_width(2)))?;
        chart.draw_series(medians.map(|point| Circle::new(point, 3, line.colour.filled())))?;
        let spreads = line.points.iter().map(|(at, spread)| [(*at, spread.least), (*at, spread.most)]);
        chart.draw_series(spreads.map(|ends| PathElement::new(ends, line.colour.stroke_width(1))))?;
        right.draw(&PathElement::new([(0, below), (18, below)], line.colour.stroke_width(3)))?;
        right.draw(&Text::new(line.name.clone(), (26, below - 7), ("sans-serif", 13)))?;
        below += 24;
    }
    area.present()?;
    Ok(())
}

/// Each target has its colour in all plots; they can be told apart without red and green.
fn colour(target: &str) -> RGBColor {
    match target {
        "bridge" => RGBColor(213, 94, 0),
        "echo" => RGBColor(120, 120, 120),
        "nats" => RGBColor(0, 114, 178),
        "redis" => RGBColor(0, 158, 115),
        "postgres" => RGBColor(204, 121, 167),
        "rabbitmq" => RGBColor(230, 159, 0),
        _ => RGBColor(0, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_round_numbers() {
        assert_eq!(marks(1_100.0, 9_000.0), [1_000.0, 2_000.0, 5_000.0, 10_000.0]);
        assert_eq!(marks(150.0, 180.0), [100.0, 200.0]);
        assert_eq!(marks(600.0, 900.0), [500.0, 1_000.0]);
        assert_eq!(marks(10.0, 10.0), [10.0, 20.0]);
    }
}
