//! The tests that `docs/safety.md` names.

use crate::tables::{front_of_test, links};
use crate::{read, root};
use std::collections::HashSet;

#[test]
fn each_rule_has_a_test() {
    let page = read(&root().join("docs/safety.md"));
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| rule |");
    let mut rules = HashSet::new();
    for line in page.lines().filter(is_row) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [rule, _, tests] = cells[..] else {
            panic!("not a rule, its place and its tests: {line}");
        };
        assert!(rules.insert(rule), "twice: {rule}");
        let tests = links(tests);
        // What is written otherwise would be passed over.
        assert_eq!(tests.len(), line.matches("](").count(), "{line}");
        assert!(!tests.is_empty(), "without a test: {rule}");
        for (name, file) in tests {
            front_of_test(name, file);
        }
    }
    assert!(rules.len() > 100, "{} rules", rules.len());
}
