//! The figures of an earlier run, kept in the repository.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The counts of one item, on average.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) instructions: f64,
    /// Calls of the allocator that return memory, changes of size included.
    pub(crate) allocations: f64,
}

/// All figures of a run, and what they depend on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Compiler and target: another one makes other instructions.
    pub(crate) machine: String,
    pub(crate) items: BTreeMap<String, Figures>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

impl Record {
    /// The record; an empty one where none was made yet.
    pub(crate) fn read() -> Result<Self, Failure> {
        match std::fs::read(path()) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("{}: {e}", path().display()).into()),
        }
    }

    pub(crate) fn write(&self) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        Ok(std::fs::write(path(), json)?)
    }
}

/// Says which compiler this was built with, as far as can be told: the one at hand.
pub(crate) fn describe_build() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_string();
    Ok(format!("{version}, {}", std::env::consts::ARCH))
}
