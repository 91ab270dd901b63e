//! The side-by-side run: what a proxied request costs, here and elsewhere.
//!
//! One command starts an origin, the contenders and the load generators on free ports of
//! 127.0.0.1, keeps the proxy on one set of cores and everything else on another, lets the
//! contenders take turns, and prints one table. The figure is CPU time of the proxy's processes
//! per request, which is far steadier than requests per second.
//!
//! ```text
//! cargo run --release -p pingora-benches -- --quick --rows small,browser
//! ```
//!
//! Everything that it starts ends with it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

mod certificate;
mod contender;
mod environment;
mod load;
mod measure;
mod options;
mod origin;
mod picture;
mod process;
mod proxy_config;
mod results;
mod rows;
mod table;

use clap::Parser;
use options::Options;
use std::process::ExitCode;

/// The reason of a failure, in one line.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.from {
        Some(path) => results::Results::read(path),
        None => measure_all(&options),
    };
    match outcome.and_then(|results| publish(&results, &options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("side-by-side: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(options: &Options) -> Result<results::Results, Failure> {
    rows::check(&options.rows)?;
    process::end_children_on_signals()?;
    process::raise_descriptor_limit()?;
    environment::build(options)?;
    measure::run(options)
}

fn publish(results: &results::Results, options: &Options) -> Result<(), Failure> {
    let table = table::markdown(results);
    println!("{table}");
    let dir = options.out_dir()?;
    std::fs::create_dir_all(&dir)?;
    let json = dir.join("side-by-side.json");
    results.write(&json)?;
    let svg = dir.join("side-by-side.svg");
    std::fs::write(&svg, picture::svg(results))?;
    std::fs::write(dir.join("side-by-side.md"), table)?;
    println!(
        "written: side-by-side.json, .svg and .md in {}",
        dir.display()
    );
    Ok(())
}
