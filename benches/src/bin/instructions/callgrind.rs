//! Running this program under callgrind, and reading what it wrote.

use crate::Failure;
use crate::record::Figures;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The function that switches counting on and off, as a pattern for callgrind.
const COUNTED: &str = "*counted_from_here*";

/// The function before which everything counted so far is put aside, as a pattern.
const WARM: &str = "*warmed_up*";

/// The allocator's functions that return memory.
const ALLOCATING: [&str; 3] = [
    "mi_malloc_aligned",
    "mi_zalloc_aligned",
    "mi_realloc_aligned",
];

/// One item's profile, over all rounds.
pub(crate) fn profile(item: &str, times: u32) -> Result<Profile, Failure> {
    let file = std::env::temp_dir().join(format!("callgrind.{}.{item}", std::process::id()));
    run(item, times, &file)?;
    let profile = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    // Callgrind numbers what was put aside.
    std::fs::remove_file(format!("{}.1", file.display()))?;
    Ok(Profile::read(&profile))
}

fn run(item: &str, times: u32, file: &Path) -> Result<(), Failure> {
    let this_program: PathBuf = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-before={WARM}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(this_program)
        .args(["--inside", item, "--times", &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("valgrind, which has to be installed: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        Err(format!("{item} under valgrind: {}: {last}", output.status).into())
    }
}

/// The part of callgrind's format that is needed.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    instructions: Option<u64>,
    allocations: u64,
    /// The instructions that each function executed itself, and its calls of the allocator.
    pub(crate) functions: HashMap<String, Share>,
}

/// One function's part of the whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

impl Profile {
    /// The averages over so many rounds.
    pub(crate) fn figures(&self, times: u32) -> Result<Figures, Failure> {
        let per_round = |n: u64| n as f64 / f64::from(times);
        Ok(Figures {
            instructions: per_round(self.instructions.ok_or("callgrind counted nothing")?),
            allocations: per_round(self.allocations),
        })
    }

    /// Names are written out once, as `(7) name`, and are `(7)` from then on. After `fn=` come the
    /// lines of that function, a place and a cost each. A call is a line `cfn=` with the name of
    /// what is called, one `calls=` with the count, and one with what the call cost in total.
    fn read(text: &str) -> Self {
        let mut profile = Profile::default();
        let mut names: HashMap<&str, &str> = HashMap::new();
        let (mut function, mut called, mut is_cost_of_call) = ("", "", false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = resolve(&mut names, name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = resolve(&mut names, name);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                is_cost_of_call = true;
                if ALLOCATING.contains(&called) {
                    let calls = calls.split(' ').next().and_then(|n| n.parse().ok());
                    profile.allocations += calls.unwrap_or(0);
                    profile.share(function).allocations += calls.unwrap_or(0);
                }
            } else if let Some(sum) = line.strip_prefix("totals: ") {
                profile.instructions = sum.trim().parse().ok();
            } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                let cost = line.split(' ').nth(1).and_then(|n| n.parse().ok());
                if !is_cost_of_call {
                    profile.share(function).instructions += cost.unwrap_or(0);
                }
                is_cost_of_call = false;
            }
        }
        profile
    }

    fn share(&mut self, function: &str) -> &mut Share {
        if !self.functions.contains_key(function) {
            self.functions
                .insert(function.to_string(), Share::default());
        }
        self.functions.entry(function.to_string()).or_default()
    }
}

fn resolve<'t>(names: &mut HashMap<&'t str, &'t str>, name: &'t str) -> &'t str {
    match name.split_once(' ') {
        Some((number, written_out)) => {
            names.insert(number, written_out);
            written_out
        }
        None => names.get(name).copied().unwrap_or("?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_costs_is_not_the_callers_own() {
        let text = "events: Ir\nfn=(1) main\n5 10\ncfn=(2) mi_malloc_aligned\ncalls=3 0\n5 90\n\
                    fn=(3) work\n* 7\ncfn=(2)\ncalls=4 0\n6 80\ncfn=(4) mi_free\ncalls=7 0\n\
                    7 60\n+1 5\ntotals: 1234\n";
        let profile = Profile::read(text);
        let figures = profile.figures(2).unwrap();
        assert_eq!((figures.instructions, figures.allocations), (617.0, 3.5));
        let share = |instructions, allocations| Share {
            instructions,
            allocations,
        };
        assert_eq!(profile.functions["main"], share(10, 3));
        assert_eq!(profile.functions["work"], share(12, 4));
    }
}
