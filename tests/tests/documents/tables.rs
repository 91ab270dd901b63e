//! Tables whose rows name tests.

use crate::{read, root};

/// The links to tests in a cell: name and file.
pub(crate) fn links(cell: &str) -> Vec<(&str, &str)> {
    cell.split("[`")
        .skip(1)
        .filter_map(|link| link.split_once("`](../"))
        .filter_map(|(name, rest)| Some((name, rest.split_once(')')?.0)))
        .collect()
}

/// The comment and the attributes in front of a test.
///
/// # Panics
/// If there is no such test.
pub(crate) fn front_of_test(name: &str, file: &str) -> Vec<String> {
    let source = read(&root().join(file));
    let front = front(&source, name);
    let front = front.unwrap_or_else(|| panic!("{file} has no {name}"));
    let is_attribute = |line: &String| line.starts_with("#[") && line.contains("test");
    // Some stand in the list of a macro, which runs them over each library of TLS.
    let is_listed = || source.lines().any(|line| line.trim() == format!("{name},"));
    let is_test = front.iter().any(is_attribute) || is_listed();
    assert!(is_test, "{name} in {file} is no test");
    front
}

/// The comment and the attributes in front of a function; `None` if there is no such function.
fn front(source: &str, name: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let is_it = |line: &&str| line.contains(&format!("fn {name}("));
    let at = lines.iter().position(is_it)?;
    let before = lines[..at].iter().rev();
    let front = before.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    Some(front.map(ToString::to_string).collect())
}
