//! Instructions and allocations per request: a regression check that needs no quiet machine.
//!
//! Under callgrind the same binary executes the same instructions each time, whatever else runs on
//! the machine, so that a gain or a loss of one per cent is seen at once. The figures say nothing
//! about caches, branches and the kernel: for those there is the side-by-side run.
//!
//! ```text
//! benches/instructions.sh                    # measure, and compare with the record
//! benches/instructions.sh --items proxied    # only the items of these names
//! benches/instructions.sh --functions 40     # also say which functions it is
//! benches/instructions.sh --record           # measure, and make this the record
//! ```
//!
//! Needs valgrind. The record is `benches/instructions.json`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

mod cached;
mod callgrind;
mod codec;
mod logged;
mod memory_socket;
mod messages;
mod proxied;
mod record;
mod tunnel;

use clap::Parser;
use record::{Figures, Record};
use std::process::ExitCode;

/// A framework doesn't choose its user's allocator; this is the one of the contenders.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The reason of a failure, in one line.
type Failure = Box<dyn std::error::Error>;

/// Count the instructions and allocations of a request.
#[derive(Parser)]
#[command(about)]
struct Options {
    /// Make the figures of this run the record.
    #[arg(long)]
    record: bool,
    /// Only the items whose names begin like this.
    #[arg(long, value_delimiter = ',')]
    items: Vec<String>,
    /// How often each item is run; the figures are averages.
    #[arg(long, default_value_t = 1000)]
    times: u32,
    /// Also list so many functions of each item: those that execute most, or allocate.
    #[arg(long, default_value_t = 0)]
    functions: usize,
    /// Run one item in this very process: what callgrind is started with.
    #[arg(long, hide = true)]
    inside: Option<String>,
}

/// One thing that is measured.
struct Item {
    name: &'static str,
    about: &'static str,
    /// Runs it so many times.
    run: fn(u32) -> Result<(), Failure>,
}

const ITEMS: [Item; 13] = [
    Item {
        name: "cache-hit-1k",
        about: "a browser's GET, answered with 1 KB from the cache in memory",
        run: cached::short,
    },
    Item {
        name: "cache-hit-100k",
        about: "the same with 100 KB",
        run: cached::long,
    },
    Item {
        name: "parse-request",
        about: "find the end of a browser's request head (12 fields) and parse it",
        run: codec::parse_request,
    },
    Item {
        name: "parse-response",
        about: "the same for a response head (9 fields)",
        run: codec::parse_response,
    },
    Item {
        name: "encode-request",
        about: "write the request head as it was parsed",
        run: codec::encode_request,
    },
    Item {
        name: "encode-response",
        about: "write the response head as it was parsed",
        run: codec::encode_response,
    },
    Item {
        name: "prepare-request",
        about: "copy the request and take its hop-by-hop fields out",
        run: codec::prepare_request,
    },
    Item {
        name: "prepare-response",
        about: "take the hop-by-hop fields of the response out",
        run: codec::prepare_response,
    },
    Item {
        name: "proxied-browser",
        about: "a whole proxied GET with a browser's fields, both connections kept",
        run: proxied::browser,
    },
    Item {
        name: "proxied-small",
        about: "a whole proxied GET with a Host and nothing else",
        run: proxied::small,
    },
    Item {
        name: "logged-combined",
        about: "proxied-browser with a line in the access log, in the combined format",
        run: logged::combined,
    },
    Item {
        name: "logged-json",
        about: "the same in JSON, with the request's times",
        run: logged::json,
    },
    Item {
        name: "tunnel-message",
        about: "a message of 70 bytes through a WebSocket's tunnel, and its echo",
        run: tunnel::message,
    },
];

/// The part that is counted: callgrind looks at nothing outside of this function, by its name.
#[inline(never)]
fn counted_from_here<R>(work: impl FnOnce() -> R) -> R {
    std::hint::black_box(work())
}

/// Where the warm-up of an item ends; callgrind finds it by its name. The warm-up is counted like
/// the rest, and left out: callgrind forgets how often something was called only where it cost
/// something.
#[inline(never)]
fn warmed_up() {
    std::hint::black_box(());
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.inside {
        Some(name) => run_inside(name, options.times),
        None => measure(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("instructions: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run_inside(name: &str, times: u32) -> Result<(), Failure> {
    let item = ITEMS.iter().find(|item| item.name == name);
    let item = item.ok_or_else(|| format!("there is no item {name:?}"))?;
    (item.run)(times)
}

fn measure(options: &Options) -> Result<(), Failure> {
    let wanted = |item: &&Item| {
        let named = |prefix: &String| item.name.starts_with(prefix.as_str());
        options.items.is_empty() || options.items.iter().any(named)
    };
    let before = Record::read()?;
    let mut now = before.clone();
    println!(
        "{:<18} {:>14} {:>9} {:>12} {:>9}",
        "item", "instructions", "change", "allocations", "change"
    );
    for item in ITEMS.iter().filter(wanted) {
        let profile = callgrind::profile(item.name, options.times)?;
        let figures = profile.figures(options.times)?;
        println!("{}", line(item, figures, before.items.get(item.name)));
        list_functions(profile, options);
        now.items.insert(item.name.to_string(), figures);
    }
    if options.record {
        now.machine = record::describe_build()?;
        now.write()?;
    } else {
        println!("recorded with {}", before.machine);
    }
    Ok(())
}

fn list_functions(profile: callgrind::Profile, options: &Options) {
    let mut functions: Vec<_> = profile.functions.into_iter().collect();
    functions.sort_by_key(|(_, share)| std::cmp::Reverse((share.instructions, share.allocations)));
    let per_round = |n: u64| n as f64 / f64::from(options.times);
    for (rank, (name, share)) in functions.into_iter().enumerate() {
        let allocates = share.allocations > 0 && options.functions > 0;
        if rank < options.functions || allocates {
            let (own, calls) = (share.instructions, share.allocations);
            let (own, calls) = (per_round(own), per_round(calls));
            println!(
                "{:<18} {own:>14.1} {:>9} {calls:>12.2} {:>9}  {name}",
                "", "", ""
            );
        }
    }
}

fn line(item: &Item, now: Figures, before: Option<&Figures>) -> String {
    let (instructions, allocations) = match before {
        Some(before) => (
            format!(
                "{:+.2} %",
                (now.instructions / before.instructions - 1.0) * 100.0
            ),
            format!("{:+.2}", now.allocations - before.allocations),
        ),
        None => ("new".to_string(), "new".to_string()),
    };
    format!(
        "{:<18} {:>14.1} {:>9} {:>12.2} {:>9}  {}",
        item.name, now.instructions, instructions, now.allocations, allocations, item.about
    )
}
