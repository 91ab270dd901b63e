//! The tables of the page, as text.

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/phases.md");

/// The rows of the table with this first line.
fn table(header: &str) -> Vec<Vec<String>> {
    let mut lines = PAGE.lines().skip_while(|line| *line != header);
    assert!(lines.next().is_some(), "the page has the table {header}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let line = line.trim_matches('|');
        line.split('|')
            .map(|cell| cell.trim().to_string())
            .collect()
    };
    rows.map(cells).collect()
}

/// A row of the table of phases.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) phase: String,
    pub(crate) how_often: String,
    pub(crate) changes: String,
    pub(crate) after_an_error: String,
}

/// The rows about requests that are not hedged.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = all_rows();
    rows.retain(|row| !row.phase.starts_with("hedge_"));
    rows
}

pub(crate) fn all_rows() -> Vec<Row> {
    let rows = table("| phase | how often | changes | after an error |");
    rows.into_iter()
        .map(|cells| {
            let [phase, how_often, changes, after_an_error] =
                <[String; 4]>::try_from(cells).expect("four cells");
            Row {
                phase: phase.replace('`', ""),
                how_often,
                changes,
                after_an_error: after_an_error.replace('`', ""),
            }
        })
        .collect()
}

/// The phases that run in each case.
pub(crate) fn cases() -> BTreeMap<String, Vec<String>> {
    let steps = sequences("| step | what runs |", &BTreeMap::new());
    sequences("| case | what runs |", &steps)
}

fn sequences(header: &str, steps: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let rows = table(header).into_iter().map(|cells| {
        let [name, calls] = <[String; 2]>::try_from(cells).expect("two cells");
        let calls = calls.replace('`', "");
        let calls = calls.split(" → ").flat_map(|call| match steps.get(call) {
            Some(step) => step.clone(),
            None => vec![call.to_string()],
        });
        (name, calls.collect())
    });
    rows.collect()
}

/// The names of the phases that run with the cache alone.
pub(crate) fn of_cache() -> Vec<String> {
    let rows = table("| phase of the cache | when | after an error |");
    let names = rows.into_iter().map(|cells| cells[0].replace('`', ""));
    names.collect()
}
