//! The load that wrk can't make: uploads, WebSockets, connections that stay open or drip, a fixed rate of arrivals, a
//! TLS handshake per request; and origins for uploads and WebSockets.
//!
//! Each mode prints its result on stdout as one line of `name=value` pairs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

mod drip;
mod echo;
mod handshakes;
mod http2;
mod idle;
mod paced;
mod response;
mod sink;
mod tls;
mod upload;

use clap::{Parser, Subcommand};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Load and origins for the side-by-side run")]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Send requests with a large body, one after the other on each connection.
    Upload {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Size of each body.
        #[arg(long, default_value_t = 10 * 1024 * 1024)]
        bytes: u64,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Open connections, make one request on each, and hold them until stdin ends.
    Idle {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        tls: bool,
        /// Speak HTTP/2.
        #[arg(long)]
        http2: bool,
    },
    /// Open connections and send a byte of an endless request head on each of them once a second.
    Drip {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 5000)]
        connections: usize,
        #[arg(long, default_value_t = 20.0)]
        seconds: f64,
    },
    /// Switch connections to WebSocket, and send a message as soon as the last one has come back.
    Echo {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 32)]
        connections: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// An origin that accepts WebSockets and sends back what it reads.
    EchoOrigin {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Make a TLS connection for each request.
    Handshakes {
        #[arg(long)]
        target: SocketAddr,
        /// How many at a time.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Resume the session of the connection before.
        #[arg(long)]
        resume: bool,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Send requests at times that don't depend on the answers, and report the latencies.
    Paced {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Requests per second; without it each connection sends as soon as it has its answer.
        #[arg(long)]
        rate: Option<f64>,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Be the origin as well, at this address.
        #[arg(long)]
        origin: Option<SocketAddr>,
    },
    /// An origin that reads request bodies to their end and answers with an empty 200.
    Sink {
        #[arg(long)]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    match run(Options::parse().mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("load: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match mode {
        Mode::Upload {
            target,
            connections,
            bytes,
            seconds,
        } => {
            let duration = Duration::from_secs_f64(seconds);
            runtime.block_on(upload::run(target, connections, bytes, duration))
        }
        Mode::Idle {
            target,
            connections,
            tls,
            http2,
        } => runtime.block_on(idle::run(target, connections, tls, http2)),
        Mode::Drip {
            target,
            connections,
            seconds,
        } => {
            let duration = Duration::from_secs_f64(seconds);
            runtime.block_on(drip::run(target, connections, duration))
        }
        Mode::Echo {
            target,
            connections,
            seconds,
        } => {
            let duration = Duration::from_secs_f64(seconds);
            runtime.block_on(echo::run(target, connections, duration))
        }
        Mode::EchoOrigin { listen } => runtime.block_on(echo::origin(listen)),
        Mode::Handshakes {
            target,
            connections,
            resume,
            seconds,
        } => {
            let duration = Duration::from_secs_f64(seconds);
            runtime.block_on(handshakes::run(target, connections, resume, duration))
        }
        Mode::Paced {
            target,
            connections,
            rate,
            seconds,
            origin,
        } => {
            let duration = Duration::from_secs_f64(seconds);
            paced::run(&paced::Plan {
                target,
                connections,
                rate,
                duration,
                origin,
            })
        }
        Mode::Sink { listen } => runtime.block_on(sink::run(listen)),
    }
}
