//! The tests that `docs/advisories.md` names.

use crate::{read, root};

/// The ids of a row, and its links: test and file.
type Row<'a> = (Vec<&'a str>, Vec<(&'a str, &'a str)>);

/// The advisories of a row, and its tests: name and file.
fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.split(" | ").collect();
    let [advisories, _, tests] = cells[..] else {
        return None;
    };
    let tests: Vec<(&str, &str)> = tests
        .split("[`")
        .skip(1)
        .filter_map(|link| link.split_once("`](../"))
        .filter_map(|(name, rest)| Some((name, rest.split_once(')')?.0)))
        .collect();
    let advisories = advisories.trim_start_matches("| ").split(", ").collect();
    (!tests.is_empty()).then_some((advisories, tests))
}

/// The comment and the attributes in front of a function; `None` if there is no such function.
fn front<'a>(source: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let is_it = |line: &&str| line.contains(&format!("fn {name}("));
    let at = lines.iter().position(is_it)?;
    let before = lines[..at].iter().rev();
    let front = before.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    Some(front.copied().collect())
}

#[test]
fn each_advisory_has_a_test_that_names_it() {
    let page = read(&root().join("docs/advisories.md"));
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for (advisories, tests) in rows {
        for (name, file) in tests {
            let source = read(&root().join(file));
            let front = front(&source, name);
            let front = front.unwrap_or_else(|| panic!("{file} has no {name}"));
            // Some stand in the list of a macro, which runs them over each library of TLS.
            let is_listed = || source.lines().any(|line| line.trim() == format!("{name},"));
            let is_test = front
                .iter()
                .any(|line| line.starts_with("#[") && line.contains("test"));
            let is_test = is_test || is_listed();
            assert!(is_test, "{name} in {file} is no test");
            for advisory in &advisories {
                // The second of a list may be shortened: CVE-2026-1, -2.
                let is_named = |line: &&str| line.contains(advisory);
                let short = advisory.rsplit('-').next().unwrap_or(advisory);
                let is_listed = |line: &&str| line.contains(&format!("-{short}"));
                let named = front.iter().any(|l| is_named(l) || is_listed(l));
                assert!(named, "{name} in {file} does not name {advisory}");
            }
        }
    }
}
