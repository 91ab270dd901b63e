//! The system's figures of this process, by the names that all of Prometheus' clients use.

use super::collect::Collected;
use std::path::Path;
use std::sync::OnceLock;

/// Reads a few files under `/proc`, and counts the entries of `/proc/self/fd`. Where they are not, says nothing.
pub(super) fn collect(out: &mut Collected) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    let help = "The version of the framework, as a label.";
    out.gauge("pingora_build_info", help, &version, 1.0);
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of them is that of the directory.
        let open = entries.count().saturating_sub(1) as f64;
        out.gauge("process_open_fds", "Open file descriptors.", &[], open);
    }
    if let Some(most) = read("/proc/self/limits").as_deref().and_then(most_files) {
        let help = "The most file descriptors that may be open.";
        out.gauge("process_max_fds", help, &[], most);
    }
    if let Some(status) = read("/proc/self/status") {
        let rows = [
            (
                "process_resident_memory_bytes",
                "Memory that is in use, in bytes.",
                "VmRSS:",
                1024.0,
            ),
            (
                "process_virtual_memory_bytes",
                "Address space, in bytes.",
                "VmSize:",
                1024.0,
            ),
            (
                "process_threads",
                "Threads of the process.",
                "Threads:",
                1.0,
            ),
        ];
        for (name, help, key, unit) in rows {
            if let Some(value) = number_after(&status, key) {
                out.gauge(name, help, &[], value * unit);
            }
        }
    }
    let Some((busy, started)) = read("/proc/self/stat").as_deref().and_then(times) else {
        return;
    };
    let help = "Processor time spent, in seconds.";
    out.fractional_counter("process_cpu_seconds_total", help, &[], busy);
    if let Some(boot) = boot_time() {
        let help = "When the process began, in seconds since 1970.";
        out.gauge("process_start_time_seconds", help, &[], boot + started);
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number_after(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `None` also where there is no limit.
fn most_files(limits: &str) -> Option<f64> {
    number_after(limits, "Max open files")
}

/// The kernel tells times in hundredths of a second, whatever its clock (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Processor time, and the start after the boot, in seconds: see proc_pid_stat(5).
fn times(stat: &str) -> Option<(f64, f64)> {
    // The name of the program is in parentheses and may contain anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    let (user, system) = (next()?, next()?);
    let started = after_name.split_whitespace().nth(19)?.parse::<f64>().ok()?;
    Some(((user + system) / TICKS, started / TICKS))
}

fn boot_time() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| number_after(&read("/proc/stat")?, "btime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_do_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 9 0 12345 1 2";
        assert_eq!(times(stat), Some((4.0, 123.45)));
        for broken in ["", "7 (a", "7 (a) S 1"] {
            assert_eq!(times(broken), None);
        }
        let limits = "Limit Soft Hard Units\nMax open files            1024   4096  files\n";
        assert_eq!(most_files(limits), Some(1024.0));
        assert_eq!(
            most_files("Max open files   unlimited  unlimited files"),
            None
        );
    }

    #[test]
    fn this_process_has_them() {
        let mut out = Collected::default();
        collect(&mut out);
        let text = format!("{out:?}");
        for name in [
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_threads",
        ] {
            assert!(text.contains(name), "{name}");
        }
    }
}
