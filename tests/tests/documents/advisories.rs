//! The tests that `docs/advisories.md` names.

use crate::tables::{front_of_test, links};
use crate::{read, root};

/// The ids of a row, and its links: test and file.
type Row<'a> = (Vec<&'a str>, Vec<(&'a str, &'a str)>);

/// The advisories of a row, and its tests: name and file.
fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.split(" | ").collect();
    let [advisories, _, tests] = cells[..] else {
        return None;
    };
    let tests = links(tests);
    let advisories = advisories.trim_start_matches("| ").split(", ").collect();
    (!tests.is_empty()).then_some((advisories, tests))
}

#[test]
fn each_advisory_has_a_test_that_names_it() {
    let page = read(&root().join("docs/advisories.md"));
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for (advisories, tests) in rows {
        for (name, file) in tests {
            let front = front_of_test(name, file);
            for advisory in &advisories {
                // The second of a list may be shortened: CVE-2026-1, -2.
                let short = advisory.rsplit('-').next().unwrap_or(advisory);
                let short = format!("-{short}");
                let names = |line: &String| line.contains(advisory) || line.contains(&short);
                let named = front.iter().any(names);
                assert!(named, "{name} in {file} does not name {advisory}");
            }
        }
    }
}
