//! Bar charts as SVG, readable on a light and on a dark page.

use std::fmt::Write as _;

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it is.
    pub label: String,
    /// How long it is.
    pub value: f64,
    /// The value as a person reads it.
    pub shown: String,
    /// Drawn in the colour of what the chart is about.
    pub highlighted: bool,
}

const WIDTH: u32 = 860;
const LABELS: u32 = 330;
const BARS: u32 = 430;
const ROW: u32 = 30;
const TOP: u32 = 44;

/// Horizontal bars, each with its label before and its value behind it.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len() as u32 + 12;
    let longest = bars
        .iter()
        .map(|bar| bar.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="14">
<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>
<text x="16" y="28" font-size="16" font-weight="600" fill="#1f2933">{}</text>
"##,
        escaped(title)
    );
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * row as u32;
        let width = (bar.value / longest * f64::from(BARS)).max(1.0);
        let colour = if bar.highlighted {
            "#0b6bcb"
        } else {
            "#9fb3c8"
        };
        let weight = if bar.highlighted { "600" } else { "400" };
        let baseline = y + 17;
        let value_x = f64::from(LABELS) + width + 8.0;
        let _ = writeln!(
            out,
            r##"<text x="{}" y="{baseline}" text-anchor="end" fill="#1f2933" font-weight="{weight}">{}</text>
<rect x="{LABELS}" y="{y}" width="{width:.1}" height="22" rx="3" fill="{colour}"/>
<text x="{value_x:.1}" y="{baseline}" fill="#1f2933" font-weight="{weight}">{}</text>"##,
            LABELS - 10,
            escaped(&bar.label),
            escaped(&bar.shown)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
