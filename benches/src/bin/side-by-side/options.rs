//! The command line.

use crate::Failure;
use crate::contender::Kind;
use std::path::PathBuf;

/// Measure the proxies side by side.
#[derive(clap::Parser)]
#[command(about)]
pub(crate) struct Options {
    /// Three rounds of one second: for a look, not for a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Rounds of each row; the table shows medians.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of load for each contender in each round.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these rows: a name, or the part of it before a dash.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// Only these contenders.
    #[arg(long, value_delimiter = ',')]
    pub(crate) contenders: Vec<Kind>,
    /// Build the published framework in `benches/peer` first; without this it takes part where
    /// it was built before. Needs cmake.
    #[arg(long)]
    pub(crate) with_peer: bool,
    /// Don't ask cargo whether the contenders are up to date.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The proxy's cores, as `taskset -c` takes them.
    #[arg(long, default_value = "0")]
    pub(crate) proxy_cores: String,
    /// The cores of the load generator and the origin.
    #[arg(long, default_value = "1")]
    pub(crate) load_cores: String,
    /// Where the results go [default: the target directory's `side-by-side`].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure nothing: print and draw the results of an earlier run.
    #[arg(long)]
    pub(crate) from: Option<PathBuf>,
}

impl Options {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1)
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
            .unwrap_or(if self.quick { 1.0 } else { 3.0 })
            .max(0.1)
    }

    /// Cores for the rows in which the proxy has two workers.
    pub(crate) fn all_cores(&self) -> String {
        format!("{},{}", self.proxy_cores, self.load_cores)
    }

    pub(crate) fn out_dir(&self) -> Result<PathBuf, Failure> {
        match &self.out {
            Some(dir) => Ok(dir.clone()),
            None => Ok(crate::environment::target_dir()?.join("side-by-side")),
        }
    }
}
