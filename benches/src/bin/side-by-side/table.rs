//! The results as a table in Markdown, aligned for the terminal as well.

use crate::results::{Results, RowResult};

/// More of the machine than this for others, and the figures are not to be quoted.
const QUIET: f64 = 0.05;
/// If rounds of one contender differ by more, percentiles can't be compared.
const AGREES: f64 = 1.3;

/// What is compared in the row `logged`: a contender with something, and the same without it.
const ADDITIONS: [(&str, &str); 5] = [
    ("ours-log", "uncounted"),
    ("ours-log", "ours"),
    ("ours", "uncounted"),
    ("nginx-log", "nginx"),
    ("haproxy-log", "haproxy"),
];

pub(crate) fn markdown(results: &Results) -> String {
    let mut lines = vec![header(results)];
    lines.extend(results.rows.iter().map(|row| body(results, row)));
    format!("\n{}\n{}", align(&lines), notes(results))
}

fn header(results: &Results) -> Vec<String> {
    let mut cells = vec!["row".to_string(), "unit".to_string()];
    cells.extend(results.contenders.iter().cloned());
    let compared = compared(results).map(|name| format!("{name} ÷ best"));
    cells.extend(compared.chain(["ours ÷ peer".to_string()]));
    cells
}

/// The contenders that are compared with the better one of nginx and HAProxy, as far as they take part.
fn compared(results: &Results) -> impl Iterator<Item = &'static str> {
    ["peer", "ours", "ours-rustls", "tuned"]
        .into_iter()
        .filter(|name| results.contenders.iter().any(|one| one == name))
}

fn body(results: &Results, row: &RowResult) -> Vec<String> {
    let mut cells = vec![format!("{}: {}", row.name, row.title), row.unit.clone()];
    cells.extend(results.contenders.iter().map(|name| figure(row, name)));
    let peer = row.cell("peer").map(|cell| cell.value);
    let ratios = compared(results).map(|name| row.ratio(name, row.best()));
    for ratio in ratios.chain([row.ratio("ours", peer)]) {
        cells.push(ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
    }
    cells
}

/// A cell's figure, with its user part where there is one.
fn figure(row: &RowResult, contender: &str) -> String {
    let Some(cell) = row.cells.iter().find(|cell| cell.contender == contender) else {
        return String::new();
    };
    if cell.value.is_nan() {
        return "failed".to_string();
    }
    let digits = if cell.value < 1000.0 { 1 } else { 0 };
    let mut text = format!("{:.digits$}", cell.value);
    if let Some(user) = cell.user {
        text += &format!(" ({user:.digits$} user)");
    }
    if cell.failure.is_some() || cell.errors > 0 {
        text += " !";
    }
    text
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
        if index == 0 {
            for width in &widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

fn notes(results: &Results) -> String {
    let environment = &results.environment;
    let mut notes = vec![
        format!(
            "Medians of {} rounds of {} s.",
            results.rounds, results.seconds
        ),
        "best: the better one of nginx and HAProxy. ours and peer run with the system's allocator and \
         default settings, tuned with mimalloc and a runtime for each worker. TLS as each proxy ships it, \
         except in the rows that say `alike` and where sessions are resumed."
            .to_string(),
        format!(
            "Machine: {}. {}.",
            environment.machine,
            environment.versions.join(", ")
        ),
        format!("Command: {}", environment.command),
    ];
    for row in results.rows.iter().filter(|row| row.foreign_share > QUIET) {
        let share = row.foreign_share * 100.0;
        notes.push(format!(
            "{}: other processes used {share:.0} % of the machine; don't quote this row.",
            row.name
        ));
    }
    for row in results.rows.iter().filter(|row| row.unit == "µs p99") {
        for cell in row.cells.iter().filter(|cell| cell.spread() > AGREES) {
            notes.push(format!(
                "{}: the rounds of {} differ by {:.1} ×, so the row decides nothing.",
                row.name,
                cell.contender,
                cell.spread()
            ));
        }
    }
    for row in &results.rows {
        for cell in row
            .cells
            .iter()
            .filter(|cell| cell.errors > 0 || cell.failure.is_some())
        {
            let failure = cell.failure.as_deref().unwrap_or("none");
            notes.push(format!(
                "{}, {}: {} errors; failure: {failure}",
                row.name, cell.contender, cell.errors
            ));
        }
    }
    if let Some(row) = results.rows.iter().find(|row| row.name == "logged") {
        notes.extend(ADDITIONS.iter().filter_map(|(with, without)| {
            let ratio = row.ratio(with, Some(row.cell(without)?.value))?;
            Some(format!("logged: {with} ÷ {without} is {ratio:.3}."))
        }));
    }
    let two = results.rows.iter().find(|row| row.name == "workers-2");
    let one = results.rows.iter().find(|row| row.name == "workers-1");
    if let (Some(one), Some(two)) = (one, two) {
        for name in &results.contenders {
            if let (Some(one), Some(two)) = (one.cell(name), two.cell(name)) {
                let scaling = 2.0 * one.value / two.value;
                notes.push(format!(
                    "{name}: two workers have {scaling:.2} × the capacity of one."
                ));
            }
        }
    }
    notes.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [
            vec!["a".to_string(), "µs".to_string()],
            vec!["bcd".to_string(), "1".to_string()],
        ];
        assert_eq!(align(&lines), "| a   | µs |\n|-----|----|\n| bcd | 1  |\n");
    }
}
