//! The modules of this crate as their sources name each other. It reads text, not Rust: it knows `use`,
//! paths that begin with `crate::` or `super::`, and re-exports; it does not expand macros.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A path within the crate, without the leading `crate`.
pub(crate) type Names = Vec<String>;

/// One file of the sources.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Its file, seen from `src`.
    file: String,
    /// Its code without tests and comments, in one line.
    pub(crate) code: String,
    /// Whether it begins with what it is for.
    pub(crate) is_introduced: bool,
    /// The modules in whose files the names are defined that it uses.
    pub(crate) uses: BTreeSet<String>,
    /// The paths that it names.
    mentions: BTreeSet<Names>,
    /// The paths that `use` brings in, by their names here.
    /// There may be one for each configuration.
    imports: BTreeMap<String, Vec<Names>>,
}

/// All modules that have a file of their own, by their path: `protocols::http::h1`.
#[derive(Debug)]
pub(crate) struct Modules(BTreeMap<String, Module>);

impl Modules {
    /// The sources of the crate.
    pub(crate) fn read() -> &'static Self {
        static READ: LazyLock<Modules> = LazyLock::new(Modules::read_all);
        &READ
    }

    fn read_all() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let texts: BTreeMap<_, _> = sources(&src)
            .into_iter()
            .map(|path| {
                let file = path.strip_prefix(&src).unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                (module_of(file), (file.to_string(), text))
            })
            .collect();
        Self::of(texts)
    }

    /// The modules that these files make, each with its name and its text.
    pub(crate) fn of(texts: BTreeMap<String, (String, String)>) -> Self {
        let known: BTreeSet<String> = texts.keys().cloned().collect();
        let module = |(path, (file, text)): (String, (String, String))| {
            let code = code_of(&text);
            let here: Names = split(&path);
            let is_child = |name: &str| known.contains(&joined(&here, name));
            let mut module = Module {
                is_introduced: text.starts_with("//!"),
                file,
                mentions: mentions(&code, &here),
                imports: imports(&code, &here, is_child),
                code,
                uses: BTreeSet::new(),
            };
            module
                .mentions
                .extend(module.imports.values().flatten().cloned());
            (path, module)
        };
        let mut modules = Modules(texts.into_iter().map(module).collect());
        let uses: Vec<_> = modules.0.values().map(|m| modules.used_by(m)).collect();
        for (module, uses) in modules.0.values_mut().zip(uses) {
            module.uses = uses;
        }
        modules
    }

    /// Tests included.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Module)> {
        self.0.iter().map(|(path, module)| (path.as_str(), module))
    }

    /// Those that are not tests.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Module)> {
        self.all().filter(|(_, module)| !is_test(&module.file))
    }

    fn used_by(&self, module: &Module) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for path in &module.mentions {
            self.find(path, 16, &mut found);
        }
        found
    }

    /// Adds the module in whose file the item is defined that this path leads to, re-exports followed.
    fn find(&self, path: &[String], steps: usize, found: &mut BTreeSet<String>) {
        let mut here = String::new();
        for (at, name) in path.iter().enumerate() {
            let inner = joined(&split(&here), name);
            if self.0.contains_key(&inner) {
                here = inner;
                continue;
            }
            let imports = self
                .0
                .get(&here)
                .and_then(|module| module.imports.get(name));
            let Some((imports, steps)) = imports.zip(steps.checked_sub(1)) else {
                break;
            };
            for import in imports {
                let rest = path.iter().skip(at + 1);
                let onward: Names = import.iter().chain(rest).cloned().collect();
                self.find(&onward, steps, found);
            }
            return;
        }
        found.insert(here);
    }

    /// The modules directly within `folder` that use each other in a circle; empty if none do. The
    /// folder's own file, which gathers them, counts for nothing.
    pub(crate) fn circle_in(&self, folder: &str) -> Vec<String> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, module) in self.iter() {
            let Some(from) = child(folder, path) else {
                continue;
            };
            let to = module.uses.iter().filter_map(|used| child(folder, used));
            edges
                .entry(from.clone())
                .or_default()
                .extend(to.filter(|to| *to != from));
        }
        // A module that uses none of those left is in no circle, and one that none of them uses neither.
        loop {
            let before = edges.len();
            let left: BTreeSet<_> = edges.keys().cloned().collect();
            edges.retain(|_, to| to.iter().any(|to| left.contains(to)));
            let used: BTreeSet<_> = edges.values().flatten().cloned().collect();
            edges.retain(|from, _| used.contains(from));
            if edges.len() == before {
                return edges.into_keys().collect();
            }
        }
    }
}

/// The child of `folder` that a module is, or is in.
fn child(folder: &str, path: &str) -> Option<String> {
    let inner = match folder {
        "" => path,
        _ => path.strip_prefix(folder)?.strip_prefix("::")?,
    };
    let first = inner.split("::").next().unwrap_or_default();
    (!first.is_empty()).then(|| first.to_string())
}

/// Whether `path` is `room`, or is in it.
pub(crate) fn is_within(path: &str, room: &str) -> bool {
    path.strip_prefix(room)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The files of a folder and of those in it.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
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

/// The module that a file holds: `a::b` for `a/b.rs` and for `a/b/mod.rs`.
fn module_of(file: &str) -> String {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => String::new(),
        path => path.replace('/', "::"),
    }
}

fn is_test(file: &str) -> bool {
    let mut parts = file.split('/');
    parts.any(|part| {
        let name = part.strip_suffix(".rs").unwrap_or(part);
        name == "tests" || name.ends_with("_tests") || name.starts_with("test_")
    })
}

/// A file without its comments and without the tests at its end, in one line.
pub(crate) fn code_of(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    let code: String = lines.flat_map(|line| [line.trim(), " "]).collect();
    let code = code.split("mod tests {").next().unwrap_or_default();
    lift(code)
}

/// Modules within the file are one deeper: what they call `super` is the file's `self`.
fn lift(code: &str) -> String {
    let Some(at) = code.find("mod ") else {
        return code.to_string();
    };
    let (before, rest) = code.split_at(at + "mod ".len());
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let Some(inner) = rest.strip_prefix(" {") else {
        return format!("{before}{name}{}", lift(rest));
    };
    let mut open = 1;
    let end = inner.find(|c| {
        open += i32::from(c == '{') - i32::from(c == '}');
        open == 0
    });
    let (inner, behind) = inner.split_at(end.unwrap_or(inner.len()));
    let inner = inner.replace("super::super::", "\u{1}");
    let inner = inner
        .replace("super::", "self::")
        .replace('\u{1}', "super::");
    format!("{before}{name} {{{inner}{}", lift(behind))
}

/// The paths behind `crate::` and `super::`.
fn mentions(code: &str, here: &[String]) -> BTreeSet<Names> {
    let mut found = BTreeSet::new();
    for word in ["crate::", "super::"] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                continue;
            }
            let paths = tree(&code[at..]);
            found.extend(paths.iter().filter_map(|(path, _)| absolute(path, here)));
        }
    }
    found
}

/// The paths that `use` brings in, by their names.
fn imports(
    code: &str,
    here: &[String],
    is_child: impl Fn(&str) -> bool,
) -> BTreeMap<String, Vec<Names>> {
    let mut found: BTreeMap<String, Vec<Names>> = BTreeMap::new();
    for (at, word) in code.match_indices("use ") {
        if code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
        {
            continue;
        }
        for (path, name) in tree(code[at + word.len()..].trim_start()) {
            let first = path.first().map_or("", String::as_str);
            let path = if is_child(first) {
                Some(here.iter().chain(&path).cloned().collect())
            } else {
                absolute(&path, here)
            };
            if let Some(path) = path {
                found.entry(name).or_default().push(path);
            }
        }
    }
    found
}

/// A path as seen from the root of the crate; `None` if it leads out of it.
fn absolute(path: &[String], here: &[String]) -> Option<Names> {
    let (first, rest) = path.split_first()?;
    let (mut whole, mut rest) = match first.as_str() {
        "crate" => (vec![], rest),
        "self" => (here.to_vec(), rest),
        "super" => (here.to_vec(), path),
        _ => return None,
    };
    while let Some((_, inner)) = rest.split_first().filter(|(first, _)| *first == "super") {
        whole.pop()?;
        rest = inner;
    }
    whole.extend(rest.iter().cloned());
    Some(whole)
}

/// The paths of a `use` tree, each with the name that it brings in: `a::{b, c::D as E}`.
pub(crate) fn tree(text: &str) -> Vec<(Names, String)> {
    let mut found = vec![];
    branch(text, &mut vec![], &mut found);
    found
}

/// Reads one item of a tree; returns what is behind it.
fn branch<'t>(text: &'t str, path: &mut Names, found: &mut Vec<(Names, String)>) -> &'t str {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        return branches(list, path, found);
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return rest;
    }
    let is_self = name == "self" && !path.is_empty();
    if !is_self {
        path.push(name.to_string());
    }
    let rest = match rest.strip_prefix("::") {
        Some(inner) if !inner.starts_with('<') => branch(inner, path, found),
        _ => {
            let (alias, rest) = alias(rest);
            let name = alias.or(path.last().cloned()).unwrap_or_default();
            found.push((path.clone(), name));
            rest
        }
    };
    if !is_self {
        path.pop();
    }
    rest
}

fn branches<'t>(list: &'t str, path: &mut Names, found: &mut Vec<(Names, String)>) -> &'t str {
    let mut rest = list;
    loop {
        let behind = branch(rest, path, found).trim_start();
        if let Some(behind) = behind.strip_prefix('}') {
            return behind;
        }
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return behind,
        }
    }
}

fn alias(rest: &str) -> (Option<String>, &str) {
    let Some(renamed) = rest.strip_prefix(" as ") else {
        return (None, rest);
    };
    let end = renamed.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = renamed.split_at(end.unwrap_or(renamed.len()));
    (Some(name.to_string()), rest)
}

fn split(path: &str) -> Names {
    let parts = path.split("::").filter(|part| !part.is_empty());
    parts.map(str::to_string).collect()
}

fn joined(path: &[String], name: &str) -> String {
    let parts = path.iter().map(String::as_str).chain([name]);
    Vec::from_iter(parts).join("::")
}
