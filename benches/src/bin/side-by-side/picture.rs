//! The results as a picture: for each row one bar per contender, the best of nginx and HAProxy
//! being 1.

use crate::results::{Results, RowResult};

const WIDTH: f64 = 920.0;
/// Where the bars begin.
const LEFT: f64 = 340.0;
/// The width of a ratio of 1.
const ONE: f64 = 160.0;
/// A longer bar is cut, and its figure says how long it is.
const LONGEST: f64 = 400.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
const TOP: f64 = 64.0;

fn color(contender: &str) -> &'static str {
    match contender {
        "floor" => "#b9c0c8",
        "floor-splice" => "#8d98a5",
        "nginx" => "#4c9f70",
        "haproxy" => "#3d7ea6",
        "peer" => "#c98b3c",
        _ => "#b8405e",
    }
}

pub(crate) fn svg(results: &Results) -> String {
    let mut body = legend(results);
    let mut y = TOP;
    for row in &results.rows {
        y = bars(&mut body, row, y) + GAP;
    }
    let one = LEFT + ONE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"11\">
<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>
<text x=\"12\" y=\"22\" font-size=\"15\">Cost relative to the best of nginx and HAProxy \
(shorter is better)</text>
{body}<line x1=\"{one}\" y1=\"{top}\" x2=\"{one}\" y2=\"{bottom}\" stroke=\"#333333\" \
stroke-dasharray=\"3 3\"/>
</svg>
",
        top = TOP - 8.0,
        bottom = y - GAP
    )
}

fn legend(results: &Results) -> String {
    let mut text = String::new();
    let mut x = 12.0;
    for name in &results.contenders {
        let fill = color(name);
        text += &format!("<rect x=\"{x}\" y=\"34\" width=\"10\" height=\"10\" fill=\"{fill}\"/>\n");
        text += &format!("<text x=\"{}\" y=\"43\">{name}</text>\n", x + 14.0);
        x += 34.0 + 7.0 * name.len() as f64;
    }
    text
}

/// Draws one row from `y` on and returns where it ends.
fn bars(body: &mut String, row: &RowResult, mut y: f64) -> f64 {
    let title = escape(&row.title);
    *body += &format!(
        "<text x=\"12\" y=\"{}\" font-weight=\"bold\">{}</text>\n",
        y + 10.0,
        row.name
    );
    *body += &format!(
        "<text x=\"12\" y=\"{}\" fill=\"#555555\">{title}</text>\n",
        y + 24.0
    );
    let least = y + 30.0;
    for cell in &row.cells {
        let Some(ratio) = row.ratio(&cell.contender, row.best()) else {
            continue;
        };
        let width = (ratio * ONE).min(LONGEST);
        let fill = color(&cell.contender);
        *body += &format!(
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{fill}\"/>\n",
            BAR - 2.0
        );
        let digits = if cell.value < 1000.0 { 1 } else { 0 };
        *body += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2} · {:.digits$} {}</text>\n",
            LEFT + width + 5.0,
            y + 9.5,
            cell.value,
            row.unit
        );
        y += BAR;
    }
    y.max(least)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
