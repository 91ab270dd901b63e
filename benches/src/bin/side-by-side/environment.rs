//! Where the binaries are, and what the figures were measured on.

use crate::Failure;
use crate::contender::Kind;
use crate::options::Options;
use crate::rows::{ROWS, Row};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOT_UTF8: &str = "the target directory's name is not UTF-8";

/// The facts that a reader needs to judge the figures or to repeat them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Environment {
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) versions: Vec<String>,
}

impl Environment {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self {
            command: std::iter::once("cargo run --release -p pingora-benches --".to_string())
                .chain(std::env::args().skip(1))
                .collect::<Vec<_>>()
                .join(" "),
            machine: format!("{}, {cores} cores", processor()),
            versions: versions(),
        }
    }
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(
        || std::env::consts::ARCH.to_string(),
        |(_, name)| name.to_string(),
    )
}

fn versions() -> Vec<String> {
    let mut versions = vec![first_line("uname", &["-sr"], "")];
    // It decides how large bodies are paced, on loopback too.
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    versions.push(format!("TCP {}", control.unwrap_or_default().trim()));
    versions.push(first_line("nginx", &["-v"], "nginx version"));
    versions.push(first_line("haproxy", &["-v"], "HAProxy version"));
    versions.push(first_line("varnishd", &["-V"], "varnishd"));
    versions.push(first_line("wrk", &["-v"], "wrk"));
    versions.push(first_line("h2load", &["--version"], "h2load"));
    versions.push(first_line("openssl", &["version"], "OpenSSL"));
    versions.push(first_line("rustc", &["-V"], "rustc"));
    if let Ok(lock) = std::fs::read_to_string(package_dir().join("peer/Cargo.lock")) {
        let version = lock
            .split("\n\n")
            .find(|package| package.contains("name = \"pingora\"\n"))
            .and_then(|package| package.lines().find_map(|l| l.strip_prefix("version = ")));
        versions.push(format!(
            "peer: pingora {}",
            version.unwrap_or("?").trim_matches('"')
        ));
    }
    versions
}

/// The first line that a program prints which begins with `start`.
fn first_line(program: &str, args: &[&str], start: &str) -> String {
    let Ok(output) = Command::new(program).args(args).output() else {
        return format!("{program}: not installed");
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .find(|line| line.starts_with(start))
        .map_or_else(
            || format!("{program}: version unknown"),
            |line| line.trim().to_string(),
        )
}

/// Brings the contenders up to date, and the peer where that was asked for.
pub(crate) fn build(options: &Options) -> Result<(), Failure> {
    if !options.no_build {
        let build = ["build", "--release", "-p", "pingora-benches"];
        let build = |more: &[&str], flags| cargo(&[&build, more].concat(), &package_dir(), flags);
        build(&["--bins"], "")?;
        if is_wanted(Kind::OursRustls, options) {
            build(&["--features", "rustls", "--bin", "ours-rustls"], "")?;
        }
        if is_wanted(Kind::Uncounted, options) {
            let target = uncounted_target_dir()?;
            let target = target.to_str().ok_or(NOT_UTF8)?;
            build(
                &["--bin", "ours", "--target-dir", target],
                "--cfg pingora_uncounted",
            )?;
        }
    }
    if options.with_peer {
        let target = peer_target_dir()?;
        let target = target.to_str().ok_or(NOT_UTF8)?;
        let dir = package_dir().join("peer");
        cargo(
            &["build", "--release", "--locked", "--target-dir", target],
            &dir,
            "",
        )?;
    }
    Ok(())
}

/// Whether one of the rows that were chosen needs this contender.
fn is_wanted(kind: Kind, options: &Options) -> bool {
    let mut rows = ROWS.iter().filter(|row| row.is_chosen(&options.rows));
    (options.contenders.is_empty() || options.contenders.contains(&kind))
        && rows.any(|row| row.suits(kind))
}

/// Runs cargo, with these flags for rustc beside the user's own.
fn cargo(args: &[&str], dir: &Path, flags: &str) -> Result<(), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(dir);
    // The peer would compile a newer OpenSSL than the others use.
    command.env("OPENSSL_NO_VENDOR", "1");
    if !flags.is_empty() {
        let others = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{others} {flags}"));
    }
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} in {} failed", args.join(" "), dir.display()).into())
    }
}

/// The `benches` directory.
pub(crate) fn package_dir() -> PathBuf {
    let built_from = || env!("CARGO_MANIFEST_DIR").into();
    std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(built_from)
        .into()
}

/// The directory of this very binary, and of those that were built with it.
fn binary_dir() -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe()?;
    Ok(exe
        .parent()
        .ok_or("the runner has no directory")?
        .to_path_buf())
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> Result<PathBuf, Failure> {
    Ok(binary_dir()?
        .parent()
        .ok_or("the runner is in no target directory")?
        .to_path_buf())
}

fn peer_target_dir() -> Result<PathBuf, Failure> {
    Ok(target_dir()?.join("peer"))
}

fn uncounted_target_dir() -> Result<PathBuf, Failure> {
    Ok(target_dir()?.join("uncounted"))
}

/// The contender `ours`, built without metrics.
pub(crate) fn uncounted_binary() -> Result<PathBuf, Failure> {
    let path = uncounted_target_dir()?.join("release/ours");
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is not built", path.display()).into())
    }
}

/// A binary of this package.
pub(crate) fn binary(name: &str) -> Result<PathBuf, Failure> {
    let path = binary_dir()?.join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is not built", path.display()).into())
    }
}

pub(crate) fn peer_binary() -> Result<PathBuf, Failure> {
    let path = peer_target_dir()?.join("release/peer");
    if path.exists() {
        Ok(path)
    } else {
        Err("the peer is not built: add --with-peer".into())
    }
}

/// Whether the program is there that makes a row's load.
pub(crate) fn can_generate(row: &Row) -> bool {
    let Some(program) = row.generator() else {
        return true;
    };
    match Command::new(program).arg("--version").output() {
        Ok(_) => true,
        Err(e) => {
            eprintln!("without {}: {program}: {e}", row.name);
            false
        }
    }
}

/// The contenders that take part, in the table's order.
pub(crate) fn contenders(options: &Options) -> Vec<Kind> {
    Kind::ALL
        .into_iter()
        .filter(|kind| options.contenders.is_empty() || options.contenders.contains(kind))
        .filter(|kind| match kind.missing() {
            None => true,
            Some(reason) => {
                eprintln!("without {}: {reason}", kind.name());
                false
            }
        })
        .collect()
}
