//! Messages for the operator who started the server.

use log::{Level, error, info, log_enabled, warn};
use pingora_error::Error;

/// Reports why the server ends: in the log, or on standard error if there is no log, because a
/// program that ends silently leaves its operator guessing.
pub(super) fn fatal(reason: &Error) {
    problem(&text(reason));
}

/// The text of an error: only its context, if that is sufficient.
pub(super) fn text(error: &Error) -> String {
    match (&error.context, &error.cause) {
        (Some(context), None) => context.to_string(),
        _ => error.to_string(),
    }
}

/// Reports a problem, wherever it can be seen.
pub(super) fn problem(text: &str) {
    if log_enabled!(Level::Error) {
        error!("{text}");
    } else {
        say(&format!("error: {text}"));
    }
}

/// Reports a possible problem.
pub(super) fn warning(text: &str) {
    if log_enabled!(Level::Warn) {
        warn!("{text}");
    } else {
        say(&format!("warning: {text}"));
    }
}

/// Prints something that the command line asked for.
pub(super) fn notice(text: &str) {
    if log_enabled!(Level::Info) {
        info!("{text}");
    } else {
        say(text);
    }
}

#[cfg_attr(test, allow(clippy::print_stderr))]
fn say(line: &str) {
    // The output of a passing test is not shown.
    #[cfg(test)]
    eprintln!("{line}");
    // If standard error is closed, there is nowhere left to write.
    #[cfg(not(test))]
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}
