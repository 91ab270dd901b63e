//! The contender `tuned`: the same proxy with what `docs/performance.md` advises, mimalloc and a runtime
//! for each worker.

#[allow(dead_code, reason = "the other binary's `main`")]
#[path = "main.rs"]
mod contender;

use pingora::server::configuration::ServerConf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    contender::run(ServerConf {
        work_stealing: false,
        ..ServerConf::default()
    })
}
