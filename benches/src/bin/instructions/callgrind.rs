//! Running this program under callgrind, and reading what it wrote.

use crate::Failure;
use crate::record::Figures;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The function that switches counting on and off, as a pattern for callgrind.
const COUNTED: &str = "*counted_from_here*";

/// The allocator's functions that return memory.
const ALLOCATING: [&str; 3] = [
    "mi_malloc_aligned",
    "mi_zalloc_aligned",
    "mi_realloc_aligned",
];

/// Counts one item: an average over `times` rounds.
pub(crate) fn count(item: &str, times: u32, keep: Option<&Path>) -> Result<Figures, Failure> {
    let (directory, throw_away) = match keep {
        Some(directory) => (directory.to_path_buf(), false),
        None => (std::env::temp_dir(), true),
    };
    std::fs::create_dir_all(&directory)?;
    let file = directory.join(format!("callgrind.{}.{item}", std::process::id()));
    run(item, times, &file)?;
    let profile = std::fs::read_to_string(&file)?;
    if throw_away {
        std::fs::remove_file(&file)?;
    }
    let profile = Profile::read(&profile);
    let per_round = |n: u64| n as f64 / f64::from(times);
    Ok(Figures {
        instructions: per_round(profile.instructions.ok_or("callgrind counted nothing")?),
        allocations: per_round(profile.allocations),
    })
}

fn run(item: &str, times: u32, file: &Path) -> Result<(), Failure> {
    let this_program: PathBuf = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(this_program)
        .args(["--inside", item, "--times", &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("valgrind, which has to be installed: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(format!("{item} under valgrind: {}: {last}", output.status).into())
        }
    }
}

/// What is wanted of callgrind's format: the sum, and how often the allocator was called.
#[derive(Debug, Default)]
struct Profile {
    instructions: Option<u64>,
    allocations: u64,
}

impl Profile {
    /// Names are written out once, as `(7) name`, and are `(7)` from then on. A call is a line
    /// `cfn=` with the name of what is called, followed by a line `calls=` with the count.
    fn read(text: &str) -> Self {
        let mut profile = Profile::default();
        let mut names: HashMap<&str, bool> = HashMap::new();
        let mut allocates = false;
        for line in text.lines() {
            if let Some(name) = line
                .strip_prefix("cfn=")
                .or_else(|| line.strip_prefix("fn="))
            {
                let (number, written_out) = name.split_once(' ').unwrap_or((name, ""));
                if !written_out.is_empty() {
                    names.insert(number, ALLOCATING.contains(&written_out));
                }
                allocates = names.get(number).copied().unwrap_or(false);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let calls = calls.split(' ').next().and_then(|n| n.parse().ok());
                profile.allocations += calls.filter(|_| allocates).unwrap_or(0);
            } else if let Some(sum) = line.strip_prefix("totals: ") {
                profile.instructions = sum.trim().parse().ok();
            }
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_allocator_are_counted_by_whatever_name_they_go() {
        let text = "events: Ir\nfn=(1) main\n5 10\ncfn=(2) mi_malloc_aligned\ncalls=3 0\n5 90\n\
                    fn=(3) work\ncfn=(2)\ncalls=4 0\n6 80\ncfn=(4) mi_free\ncalls=7 0\n7 60\n\
                    totals: 1234\n";
        let profile = Profile::read(text);
        assert_eq!(profile.instructions, Some(1234));
        assert_eq!(profile.allocations, 7);
    }
}
