//! A line chart as SVG: logarithmic to the right, linear from 0 upwards, legible on light and on dark pages.

use std::fmt::Write;

use super::verdict::number;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
/// Room for the lines' names.
const RIGHT: f64 = 210.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Names of lines are not closer than this.
const LINE_HEIGHT: f64 = 17.0;
/// Horizontal lines that the height is divided by, about.
const STEPS: f64 = 5.0;

/// Colours for both sorts of pages, and those of the lines, which keep apart for colour-blind readers too.
const STYLE: &str = "\
svg{color:#24292f;font:13px sans-serif}.page{fill:#fff}\
.grid{stroke:#d0d7de}.axis{stroke:currentColor}text{fill:currentColor}\
.l0{stroke:#0969da}.l1{stroke:#bc4c00}.l2{stroke:#1a7f37}\
text.l0{fill:#0969da;stroke:none}text.l1{fill:#bc4c00;stroke:none}text.l2{fill:#1a7f37;stroke:none}\
polyline{fill:none;stroke-width:2}circle{stroke-width:2;fill:#fff}\
@media(prefers-color-scheme:dark){svg{color:#e6edf3}.page,circle{fill:#0d1117}.grid{stroke:#30363d}\
.l0{stroke:#58a6ff}.l1{stroke:#f0883e}.l2{stroke:#3fb950}\
text.l0{fill:#58a6ff}text.l1{fill:#f0883e}text.l2{fill:#3fb950}}";

/// One line.
pub struct Line {
    /// Behind its last point.
    pub name: &'static str,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// What is around the lines.
pub struct Frame<'t> {
    /// Above.
    pub title: &'t str,
    /// Below.
    pub right: &'t str,
    /// Below the title: what the height means, with its unit.
    pub up: &'t str,
}

/// At most three lines, each with at least one point, none of them left of 1.
pub fn svg(frame: &Frame<'_>, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (from, to) = points().fold((f64::MAX, 1.0_f64), |(from, to), (x, _)| (from.min(*x), to.max(*x)));
    let step = step(points().fold(0.0_f64, |highest, (_, y)| highest.max(*y)) / STEPS);
    let highest = points().fold(step, |highest, (_, y)| highest.max((y / step).ceil() * step));
    let x = |value: f64| {
        LEFT + (WIDTH - LEFT - RIGHT) * (value.log10() - from.log10()) / (to.log10() - from.log10()).max(1e-9)
    };
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / highest;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
        frame.title
    );
    let text = |out: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, text: &str| {
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        );
    };
    text(&mut out, (12.0, 20.0), "start", "", frame.title);
    text(&mut out, (12.0, 38.0), "start", "", frame.up);
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    text(&mut out, (middle, HEIGHT - 14.0), "middle", "", frame.right);
    let rows = (highest / step).round() as u32;
    for row in 0..=rows {
        let value = step * f64::from(row);
        let class = if row == 0 { "axis" } else { "grid" };
        let (left, right, at) = (LEFT, WIDTH - RIGHT, y(value));
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" class=\"{class}\"/>"
        );
        text(&mut out, (LEFT - 8.0, at + 4.0), "end", "", &whole(value));
    }
    for power in from.log10().ceil() as i32..=to.log10().floor() as i32 {
        let value = 10_f64.powi(power);
        let (at, top, bottom) = (x(value), TOP, HEIGHT - BOTTOM);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" class=\"grid\"/>"
        );
        text(&mut out, (at, bottom + 20.0), "middle", "", &whole(value));
    }
    for (nth, line) in lines.iter().enumerate() {
        let at: Vec<String> =
            line.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
        let _ = writeln!(out, "<polyline class=\"l{nth}\" points=\"{}\"/>", at.join(" "));
        for (px, py) in &line.points {
            let (cx, cy) = (x(*px), y(*py));
            let _ = writeln!(
                out,
                "<circle class=\"l{nth}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\"><title>{}: {}</title></circle>",
                whole(*px),
                number(*py)
            );
        }
    }
    for (nth, at) in name_places(lines, y) {
        text(&mut out, (WIDTH - RIGHT + 10.0, at + 4.0), "start", &format!("l{nth}"), lines[nth].name);
    }
    out.push_str("</svg>\n");
    out
}

/// Each line and the height at which its name stands: beside its last point, unless another name is there.
fn name_places(lines: &[Line], y: impl Fn(f64) -> f64) -> Vec<(usize, f64)> {
    let last = |line: &Line| line.points.last().map_or(0.0, |point| point.1);
    let mut places: Vec<(usize, f64)> = lines.iter().map(|line| y(last(line))).enumerate().collect();
    places.sort_by(|one, other| other.1.total_cmp(&one.1));
    let mut below = f64::MAX;
    for (_, at) in &mut places {
        *at = at.min(below - LINE_HEIGHT);
        below = *at;
    }
    places
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(power)
}

/// Without the digits behind the point that [`number`] adds.
fn whole(value: f64) -> String {
    let text = number(value);
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text,
    }
}
