//! The amount of memory that this process may have.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::path::{Path, PathBuf};

/// If nothing can be found out.
const UNKNOWN: u64 = 1024 * 1024 * 1024;
/// A detected limit is never lower than this.
const LEAST: u64 = 16 * 1024 * 1024;

/// The default limit of the account, in bytes: half of the memory that this process may have (the
/// machine's, or that of its control group), and at most a quarter of its address space if that is
/// limited (`ulimit -v`), because stacks and the allocator's reserve for each thread are taken from
/// there as well.
pub(crate) fn default_limit() -> usize {
    let memory = [physical(), of_control_groups()];
    let memory = memory.into_iter().flatten().min().unwrap_or(UNKNOWN);
    let limits = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA].map(|resource| {
        let soft = getrlimit(resource).ok()?.0;
        (soft != RLIM_INFINITY).then_some(soft)
    });
    let space = limits.into_iter().flatten().min();
    usize::try_from(limit(memory, space)).unwrap_or(usize::MAX)
}

fn limit(memory: u64, address_space: Option<u64>) -> u64 {
    let space = address_space.map_or(u64::MAX, |space| space / 4);
    (memory / 2).min(space).max(LEAST)
}

fn physical() -> Option<u64> {
    total_of(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The lowest limit of this process's control group, or of one above it.
fn of_control_groups() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let files = files_of(&groups);
    let limits = files.iter().filter_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        // `max` is not a number.
        text.trim().parse::<u64>().ok()
    });
    limits.min()
}

/// The files that may contain a limit: for each group on the way up, for both versions of control
/// groups. In a container the path may not exist; in that case the mounted group is its own.
fn files_of(groups: &str) -> Vec<PathBuf> {
    let mut files = vec![];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(
            group
                .ancestors()
                .map(|at| Path::new(root).join(at).join(name)),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn the_limit_leaves_room_for_the_rest_of_the_process() {
        let rows = [
            (16 * GB, None, 8 * GB),
            (16 * GB, Some(4 * GB), GB),
            (2 * GB, Some(100 * GB), GB),
            (4096, None, LEAST),
        ];
        for (memory, space, expected) in rows {
            assert_eq!(limit(memory, space), expected, "{memory} {space:?}");
        }
        assert!(default_limit() >= LEAST as usize);
    }

    #[test]
    fn the_kernels_files_are_understood() {
        let meminfo = "MemTotal:       16316412 kB\nMemFree:         1234 kB\n";
        assert_eq!(total_of(meminfo), Some(16_316_412 * 1024));
        assert_eq!(total_of("MemTotal: much\n"), None);
        let paths = |groups: &str| {
            let files = files_of(groups).into_iter();
            files
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths("0::/a/b\n"),
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            paths("5:cpu,memory:/x\n4:cpu:/x\n"),
            [
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert!(paths("nonsense\n").is_empty());
    }
}
