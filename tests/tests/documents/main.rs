//! The code in the documents compiles: the paragraphs of each block stand in one file here, in the project of the
//! quick start or in an example, word for word. (Line breaks may differ.)

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::let_and_return,
    clippy::needless_return,
    reason = "it is a test; and what stands in the documents does not run"
)]

mod advisories;
mod caching;
mod compression;
mod grpc;
mod limits;
mod load_balancing;
mod modules;
mod operation;
mod phases;
mod proxy_protocol;
mod quick_start;
mod readme;
mod retries;
mod safety;
mod subrequests;
mod tables;
mod tls;
mod upstream_tls;

use std::fs;
use std::path::{Path, PathBuf};

/// Where the code is that is compiled.
const COMPILED: [&str; 10] = [
    "tests/tests/documents",
    "tests/tests/custom_protocol",
    "tests/quick_start/src",
    "examples",
    "pingora/examples",
    "pingora-access-log/examples",
    "pingora-acme/tests",
    "pingora-admin/examples",
    "pingora-prometheus/examples",
    "pingora-otlp/examples",
];

#[test]
fn the_code_of_the_documents_is_compiled_code() {
    let sources: Vec<PathBuf> = COMPILED
        .iter()
        .flat_map(|folder| below(folder, "rs"))
        .collect();
    let compiled: Vec<String> = sources.iter().map(|path| squeezed(&read(path))).collect();
    let mut documents = below("docs", "md");
    documents.push(root().join("README.md"));
    let mut seen = 0;
    for document in documents {
        for block in blocks(&read(&document)) {
            seen += 1;
            let wanted: Vec<String> = parts(&block).iter().map(|part| squeezed(part)).collect();
            // More may follow in the same item.
            let has = |source: &String, part: &String| source.contains(part.trim_end_matches('}'));
            assert!(
                compiled
                    .iter()
                    .any(|source| wanted.iter().all(|part| has(source, part))),
                "{}: this code is in none of {COMPILED:?}:\n{block}",
                document.display()
            );
        }
    }
    assert!(seen > 10, "{seen} blocks");
}

/// The blocks of Rust in a document.
fn blocks(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while lines.any(|line| line.starts_with("```rust")) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

/// Its paragraphs; what it imports line by line, as the formatter sorts it among the rest.
fn parts(block: &str) -> Vec<String> {
    let (imports, code): (Vec<&str>, Vec<&str>) =
        block.lines().partition(|line| line.starts_with("use "));
    let code = code.join("\n");
    let paragraphs = code.split("\n\n").filter(|part| !part.trim().is_empty());
    imports
        .into_iter()
        .chain(paragraphs)
        .map(str::to_string)
        .collect()
}

/// Without what the formatter decides: blanks, and commas in front of closing brackets.
fn squeezed(code: &str) -> String {
    let code: String = code.split_whitespace().collect();
    code.replace(",)", ")")
        .replace(",}", "}")
        .replace(",]", "]")
}

/// The files of a folder and its folders.
fn below(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                files.push(path);
            }
        }
    }
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
