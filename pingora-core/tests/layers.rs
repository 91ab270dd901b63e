//! Holds the order of the layers: a module uses only those below it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top. Each may use those before it, and itself.
const LAYERS: [&str; 13] = [
    "sys",
    "timeout",
    "runtime",
    "process",
    "protocols",
    "utils",
    "upstreams",
    "connectors",
    "listeners",
    "modules",
    "apps",
    "services",
    "server",
];

#[test]
fn every_module_uses_only_those_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges = 0;
    let mut upwards = BTreeSet::new();
    for file in sources(&src) {
        let path = file
            .strip_prefix(&src)
            .unwrap()
            .to_str()
            .unwrap()
            .to_string();
        let layer = path.split(['/', '.']).next().unwrap().to_string();
        if layer == "lib" {
            continue;
        }
        let from = rank(&layer, &path);
        for used in used_modules(&fs::read_to_string(&file).unwrap(), depth(&path)) {
            edges += 1;
            if rank(&used, &path) > from {
                upwards.insert((path.clone(), used));
            }
        }
    }
    assert!(edges > 100, "only {edges} edges: were the sources read?");
    assert!(
        upwards.is_empty(),
        "these use a layer above their own: {upwards:?}"
    );
}

fn rank(module: &str, path: &str) -> usize {
    let found = LAYERS.iter().position(|layer| *layer == module);
    found.unwrap_or_else(|| panic!("{path}: `{module}` has no place in the order of layers"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// How many modules the code of this file is in: `a/mod.rs` in 1, `a/b.rs` in 2.
fn depth(path: &str) -> usize {
    path.split('/').filter(|part| *part != "mod.rs").count()
}

/// The top-level modules that a file names: by `crate::`, or by as many `super::` as lead there.
fn used_modules(text: &str, depth: usize) -> BTreeSet<String> {
    let without_comments = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    let text: String = without_comments
        .flat_map(|line| [line.trim_start(), " "])
        .collect();
    let mut used = named_after(&text, "crate::");
    // A module of tests within the file is one deeper: the same path leads elsewhere from there.
    let (code, _) = text
        .split_once("#[cfg(test)] mod tests {")
        .unwrap_or((&text, ""));
    used.extend(named_after(code, &"super::".repeat(depth)));
    used
}

/// The names that follow a prefix, whether one (`crate::a::B`) or several (`crate::{a::B, c::D}`).
fn named_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(first_names(list)),
            None => found.extend(name(rest)),
        }
    }
    found
}

/// The first name of each item of a list, up to the brace that closes it.
fn first_names(list: &str) -> Vec<String> {
    let (mut open, mut begins, mut names) = (0, true, vec![]);
    for (at, c) in list.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => break,
            '}' => open -= 1,
            ',' if open == 0 => begins = true,
            c if begins && !c.is_whitespace() => {
                names.extend(name(&list[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// The module that a path begins with; `None` for an item of the crate's root.
fn name(path: &str) -> Option<String> {
    let end = path
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(path.len());
    let is_module = path.starts_with(char::is_lowercase);
    is_module.then(|| path[..end].to_string())
}

#[test]
fn the_names_of_modules_are_found_wherever_they_stand() {
    let found = |text: &str, depth| Vec::from_iter(used_modules(text, depth));
    assert_eq!(
        found("use crate::a::B;\n// crate::c::D\nfn f() -> crate::e::F", 9),
        ["a", "e"]
    );
    assert_eq!(
        found("use crate::{\n    a::{B, C}, d::E,\n    F};", 9),
        ["a", "d"]
    );
    assert_eq!(found("use super::a; use super::super::b::C;", 2), ["b"]);
    assert_eq!(
        found(
            "use super::a;\n#[cfg(test)]\nmod tests {\nuse super::b;\n}",
            1
        ),
        ["a"]
    );
    assert_eq!(depth("a/mod.rs"), 1);
    assert_eq!(depth("a/b.rs"), 2);
}
