//! The pictures, from recorded sweeps: SVG on a light ground, the same for the same figures.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use compat_tests::suite::say;
use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measure::{MEMORY, P50, P99, P999, RATE};
use crate::sweep::{Series, Sweep, checkpoint, memory, sessions};
use crate::table;

/// Draws a sweep into a file.
type Draw = fn(&Sweep, &Path) -> Result<()>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

const OURS: (&str, RGBColor) = ("oxkeeper", RGBColor(193, 72, 20));
const THEIRS: (&str, RGBColor) = ("zookeeper", RGBColor(38, 92, 160));
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(222, 222, 222);
const SHADE: RGBColor = RGBColor(255, 224, 150);
const FONT: &str = "sans-serif";
const TITLE: u32 = 27;
const HEADING: u32 = 21;
const LABEL: u32 = 17;
const WIDE: u32 = 1000;
/// File names in the directory of the pictures.
const FILES: [(&str, &str, Draw); 3] = [
    (sessions::NAME, "throughput-over-sessions.svg", throughput),
    (checkpoint::NAME, "latency-through-checkpoints.svg", latency),
    (memory::NAME, "memory-over-znodes.svg", resident),
];

/// Draws each sweep that was recorded in `from` into `to`.
///
/// # Errors
/// None was recorded, or a file cannot be read or written.
pub fn draw(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let mut drawn = 0;
    for (name, file, draw) in FILES {
        let Some(sweep) = Sweep::load(from, name)? else {
            say(format_args!("{name}: not recorded in {}", from.display()));
            continue;
        };
        let path = to.join(file);
        draw(&sweep, &path).with_context(|| format!("draw {}", path.display()))?;
        drawn += 1;
        let quick = if sweep.quick {
            " (of a --quick run: not to be shown)"
        } else {
            ""
        };
        say(format_args!("{}{quick}", path.display()));
    }
    ensure!(drawn > 0, "nothing is recorded: make bench-sweeps");
    Ok(())
}

fn failed(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("plotters: {error}")
}

fn font(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// Title and the line below it; what is left of the picture.
fn titled<'a>(root: &Area<'a>, title: &str, below: &str) -> Result<Area<'a>> {
    root.fill(&WHITE).map_err(failed)?;
    let text = |text: &str, size, at| root.draw_text(text, &font(size), at).map_err(failed);
    text(title, TITLE, (16, 12))?;
    text(below, LABEL, (16, 44))?;
    Ok(root.margin(70, 10, 10, 16))
}

fn colour(series: &Series) -> RGBColor {
    if series.server == OURS.0 {
        OURS.1
    } else {
        THEIRS.1
    }
}

fn shared(sweep: &Sweep) -> String {
    format!(
        "Client and server share {} cores; fsync on; 100-byte values.",
        sweep.cores
    )
}

fn finite(values: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
    values.filter(|value| value.is_finite() && *value > 0.0)
}

/// Least and greatest.
fn extent(values: impl Iterator<Item = f64>) -> Result<(f64, f64)> {
    finite(values)
        .fold(None, |extent: Option<(f64, f64)>, value| {
            let (least, most) = extent.unwrap_or((value, value));
            Some((least.min(value), most.max(value)))
        })
        .context("the sweep holds no figures")
}

/// The lines of one kind: middle, least and greatest of each point.
fn spreads(series: &Series, figure: &str) -> Vec<(f64, (f64, f64, f64))> {
    series
        .points
        .iter()
        .filter_map(|point| {
            let spread = table::spread(table::values(&point.measures, figure))?;
            Some((point.at, spread))
        })
        .collect()
}

fn throughput(sweep: &Sweep, path: &Path) -> Result<()> {
    let root = SVGBackend::new(path, (WIDE, 480)).into_drawing_area();
    let below = format!(
        "16 requests in flight per session. {} Median, and least to greatest.",
        shared(sweep)
    );
    let area = titled(&root, "Throughput over sessions", &below)?;
    let (left, right) = area.split_horizontally(f64::from(WIDE) / 2.0 - 8.0);
    for (area, what, heading) in [
        (left, sessions::GET, "getData"),
        (right, sessions::CREATE, "create"),
    ] {
        let curves: Vec<&Series> = sweep.series.iter().filter(|s| s.what == what).collect();
        let points = || curves.iter().flat_map(|curve| spreads(curve, RATE));
        let (first, last) = extent(points().map(|(at, _)| at))?;
        let (_, most) = extent(points().map(|(_, (_, _, most))| most))?;
        let mut chart = ChartBuilder::on(&area)
            .caption(heading, font(HEADING))
            .margin_right(16)
            .x_label_area_size(50)
            .y_label_area_size(96)
            .build_cartesian_2d(
                Ticks::log(first * 0.8..last * 1.25, curves_at(&curves)),
                0.0..most * 1.08,
            )
            .map_err(failed)?;
        let rates = ("requests per second", thousands as Label);
        axes(&mut chart, Lines::Across, ("sessions", thousands), rates)?;
        for curve in curves {
            let (colour, points) = (colour(curve), spreads(curve, RATE));
            let bars = points.iter().map(|&(at, (middle, least, most))| {
                ErrorBar::new_vertical(at, least, middle, most, colour.filled(), 8)
            });
            chart.draw_series(bars).map_err(failed)?;
            let line = points.iter().map(|&(at, (middle, ..))| (at, middle));
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))
                .map_err(failed)?
                .label(curve.server.clone())
                .legend(move |at| key(at, colour));
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
    }
    root.present().map_err(failed)
}

fn curves_at(curves: &[&Series]) -> Vec<f64> {
    curves
        .first()
        .map(|curve| curve.points.iter().map(|point| point.at).collect())
        .unwrap_or_default()
}

fn key((x, y): (i32, i32), colour: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(3))
}

/// Which lines of the grid are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Across,
    Both,
}

/// Writes a number at an axis.
type Label = fn(f64) -> String;

/// Draws the grid and, for each axis, what it shows.
fn axes<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    lines: Lines,
    (across, x_label): (&str, Label),
    (up, y_label): (&str, Label),
) -> Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    if lines == Lines::Across {
        mesh.disable_x_mesh();
    }
    mesh.bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(font(LABEL))
        .axis_desc_style(font(LABEL))
        .x_desc(across)
        .y_desc(up)
        .x_label_formatter(&|at| x_label(*at))
        .y_label_formatter(&|at| y_label(*at))
        .draw()
        .map_err(failed)
}

fn legend<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(font(LABEL))
        .draw()
        .map_err(failed)
}

/// The round of a server whose ratio is the middle one.
fn middle_round<'a>(sweep: &'a Sweep, server: &str) -> Option<&'a Series> {
    let mut rounds: Vec<&Series> = sweep.series.iter().filter(|s| s.server == server).collect();
    let ratio = |series: &Series| series.summary.figure(checkpoint::RATIO).unwrap_or(0.0);
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    rounds.get(rounds.len().saturating_sub(1) / 2).copied()
}

fn latency(sweep: &Sweep, path: &Path) -> Result<()> {
    let rounds: Vec<&Series> = [OURS.0, THEIRS.0]
        .iter()
        .filter_map(|server| middle_round(sweep, server))
        .collect();
    let ms = |figure| {
        rounds
            .iter()
            .flat_map(move |round| spreads(round, figure))
            .map(|(_, (middle, ..))| middle / 1000.0)
    };
    let (least, _) = extent(ms(P50))?;
    let (_, most) = extent(ms(P999))?;
    let (_, end) = extent(
        rounds
            .iter()
            .flat_map(|r| r.points.iter().map(|p| seconds(p.at))),
    )?;

    let high = 90 + 300 * rounds.len() as u32;
    let root = SVGBackend::new(path, (WIDE, high)).into_drawing_area();
    let below = format!(
        "2,000 requests/s by schedule, 90 % reads; per 100 ms. Shaded: checkpoints. {}",
        shared(sweep)
    );
    let area = titled(&root, "Latency through checkpoints", &below)?;
    let frame = Frame {
        seconds: end,
        ms: round_to(least, false)..round_to(most, true),
    };
    for (area, round) in area.split_evenly((rounds.len(), 1)).iter().zip(rounds) {
        panel(area, round, &frame)?;
    }
    root.present().map_err(failed)
}

/// The axes that the panels of both servers share.
struct Frame {
    seconds: f64,
    ms: Range<f64>,
}

fn seconds(ms: f64) -> f64 {
    ms / 1000.0
}

fn panel(area: &Area<'_>, round: &Series, frame: &Frame) -> Result<()> {
    const QUANTILES: [(&str, &str, f64); 3] =
        [(P999, "p99.9", 0.45), (P99, "p99", 0.7), (P50, "p50", 1.0)];
    let heading = format!("{}: {}", round.server, checkpoint::verdict(round));
    let mut chart = ChartBuilder::on(area)
        .caption(heading, font(LABEL))
        .margin_right(16)
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d(
            // On the right there is room for the legend.
            0.0..frame.seconds * 1.11,
            Ticks::log(frame.ms.clone(), decades(&frame.ms)),
        )
        .map_err(failed)?;
    let spans = round.checkpoints.iter().map(|&(begin, end)| {
        // One of some milliseconds is seen, too.
        let end = seconds(end).max(seconds(begin) + frame.seconds / 400.0);
        let far = (end.min(frame.seconds), frame.ms.end);
        Rectangle::new([(seconds(begin), frame.ms.start), far], SHADE.filled())
    });
    chart.draw_series(spans).map_err(failed)?;
    let whole: Label = |at| format!("{at:.0}");
    let latencies = ("latency", milliseconds as Label);
    axes(&mut chart, Lines::Across, ("seconds", whole), latencies)?;
    for (figure, name, strength) in QUANTILES {
        let colour = blend(colour(round), strength);
        let line = spreads(round, figure)
            .into_iter()
            .map(|(at, (middle, ..))| (seconds(at), middle / 1000.0));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))
            .map_err(failed)?
            .label(name)
            .legend(move |at| key(at, colour));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn resident(sweep: &Sweep, path: &Path) -> Result<()> {
    const MB: f64 = 1e6;
    let points = || sweep.series.iter().flat_map(|curve| spreads(curve, MEMORY));
    let (first, last) = extent(points().map(|(at, _)| at))?;
    let (least, most) = extent(points().map(|(_, (middle, ..))| middle / MB))?;
    let root = SVGBackend::new(path, (WIDE, 560)).into_drawing_area();
    let area = titled(
        &root,
        "Resident memory over znodes",
        "Values of 100 bytes; znodes are read before each sample. oxkeeper with \
         oxkeeper.memory=256M, zookeeper with -Xmx4g.",
    )?;
    let least = least.min(memory::SETTING / MB);
    let range = round_to(least, false)..round_to(most, true);
    let mut chart = ChartBuilder::on(&area)
        .margin_right(24)
        .margin_top(8)
        .x_label_area_size(50)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Ticks::log(first * 0.9..last * 1.15, decades(&(first..last * 1.01))),
            Ticks::log(range.clone(), decades(&range)),
        )
        .map_err(failed)?;
    let sizes = ("resident memory", megabytes as Label);
    axes(&mut chart, Lines::Both, ("znodes", thousands), sizes)?;
    let setting = [first * 0.9, last * 1.15].map(|at| (at, memory::SETTING / MB));
    chart
        .draw_series(DashedLineSeries::new(setting, 6, 4, OURS.1.stroke_width(1)))
        .map_err(failed)?
        .label("oxkeeper.memory")
        .legend(|at| PathElement::new(vec![at, (at.0 + 18, at.1)], OURS.1.stroke_width(1)));
    for curve in &sweep.series {
        let colour = colour(curve);
        let points: Vec<(f64, f64)> = spreads(curve, MEMORY)
            .into_iter()
            .map(|(at, (middle, ..))| (at, middle / MB))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)).point_size(4))
            .map_err(failed)?
            .label(curve.server.clone())
            .legend(move |at| key(at, colour));
        if let (Some(_), Some(&end)) = (&curve.ended, points.last()) {
            let text = format!("{}: no further", curve.server);
            let style = font(LABEL).pos(Pos::new(HPos::Right, VPos::Bottom));
            let label = EmptyElement::at(end) + Text::new(text, (-8, -8), style);
            chart.draw_series([label]).map_err(failed)?;
        }
    }
    legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
    root.present().map_err(failed)
}

fn blend(colour: RGBColor, strength: f64) -> RGBColor {
    let channel = |value: u8| (255.0 - (255.0 - f64::from(value)) * strength) as u8;
    RGBColor(channel(colour.0), channel(colour.1), channel(colour.2))
}

/// The tick of a logarithmic axis below (`up`: above) a number.
fn round_to(value: f64, up: bool) -> f64 {
    let ticks = decades(&(value / 10.0..value * 10.0));
    let mut ticks = ticks.into_iter();
    let tick = if up {
        ticks.find(|tick| *tick >= value)
    } else {
        ticks.rfind(|tick| *tick <= value)
    };
    tick.unwrap_or(value)
}

/// 1, 2 and 5 times the powers of ten in a range.
fn decades(range: &Range<f64>) -> Vec<f64> {
    let (first, last) = (range.start.log10().floor(), range.end.log10().ceil());
    (first as i32..=last as i32)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
        .filter(|tick| *tick >= range.start * 0.999 && *tick <= range.end * 1.001)
        .collect()
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn milliseconds(ms: f64) -> String {
    if ms < 0.9995 {
        format!("{:.0} us", ms * 1000.0)
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.0} s", ms / 1000.0)
    }
}

fn megabytes(mb: f64) -> String {
    if mb < 999.5 {
        format!("{mb:.0} MB")
    } else {
        format!("{:.0} GB", mb / 1000.0)
    }
}

/// A logarithmic axis whose ticks stand where they are told to: an own one, since that of the crate
/// puts its own ticks on the powers of ten only.
struct Ticks {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ticks {
    fn log(range: Range<f64>, ticks: Vec<f64>) -> Self {
        Self { range, ticks }
    }
}

impl Ranged for Ticks {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let (first, last) = (self.range.start.ln(), self.range.end.ln());
        let value = value.max(self.range.start).ln();
        let share = (value - first) / (last - first).max(f64::MIN_POSITIVE);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ticks {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measure;
    use crate::sweep::Point;

    fn sweep(name: &str, whats: &[&str]) -> Sweep {
        let series = |(server, what): (&str, &str)| Series {
            server: server.to_owned(),
            what: what.to_owned(),
            points: [1000.0, 2000.0, 4000.0]
                .map(|at| {
                    let mut measure = Measure::default();
                    for figure in [RATE, P50, P99, P999, MEMORY] {
                        measure.set(figure, at * 100.0);
                    }
                    Point::once(at, measure)
                })
                .to_vec(),
            checkpoints: vec![(1500.0, 1700.0)],
            ended: Some("silent".to_owned()),
            ..Series::default()
        };
        let both = |what| [OURS.0, THEIRS.0].map(|server| (server, what));
        Sweep {
            name: name.to_owned(),
            quick: false,
            cores: 2,
            series: whats
                .iter()
                .flat_map(|what| both(*what))
                .map(series)
                .collect(),
        }
    }

    #[test]
    fn all_recorded_sweeps_are_drawn_and_again_the_same() {
        let dir = tempfile::tempdir().unwrap();
        assert!(draw(dir.path(), dir.path()).is_err());
        let ops = [sessions::GET, sessions::CREATE];
        sweep(sessions::NAME, &ops).save(dir.path()).unwrap();
        sweep(checkpoint::NAME, &["round 1"])
            .save(dir.path())
            .unwrap();
        sweep(memory::NAME, &["resident"]).save(dir.path()).unwrap();
        let pictures = || {
            draw(dir.path(), dir.path()).unwrap();
            FILES.map(|(_, file, _)| fs::read_to_string(dir.path().join(file)).unwrap())
        };
        let first = pictures();
        for picture in &first {
            assert!(picture.contains("oxkeeper") && picture.contains("zookeeper"));
        }
        assert!(first == pictures());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(10_000_000.0), "10,000,000");
        assert_eq!(thousands(300.0), "300");
        assert_eq!(milliseconds(0.2), "200 us");
        assert_eq!(milliseconds(20.0), "20 ms");
        assert_eq!(megabytes(2000.0), "2 GB");
        assert_eq!((round_to(80.0, false), round_to(80.0, true)), (50.0, 100.0));
        assert_eq!(decades(&(0.1..3.0)), [0.1, 0.2, 0.5, 1.0, 2.0]);
    }
}
