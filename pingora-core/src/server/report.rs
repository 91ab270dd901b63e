//! Saying something to whoever started the server.

use log::{Level, error, info, log_enabled, warn};
use pingora_error::Error;

/// Says why the server ends: in the log, or on standard error where there is no log, because a
/// program that ends without a word leaves its operator guessing.
pub(super) fn fatal(reason: &Error) {
    problem(&text(reason));
}

/// An error in the words of its context alone, where that says it all.
pub(super) fn text(error: &Error) -> String {
    match (&error.context, &error.cause) {
        (Some(context), None) => context.to_string(),
        _ => error.to_string(),
    }
}

/// Says what went wrong, to whoever can be told.
pub(super) fn problem(text: &str) {
    if log_enabled!(Level::Error) {
        error!("{text}");
    } else {
        say(&format!("error: {text}"));
    }
}

/// Says what may turn out to be wrong.
pub(super) fn warning(text: &str) {
    if log_enabled!(Level::Warn) {
        warn!("{text}");
    } else {
        say(&format!("warning: {text}"));
    }
}

/// Says something that was asked for on the command line.
pub(super) fn notice(text: &str) {
    if log_enabled!(Level::Info) {
        info!("{text}");
    } else {
        say(text);
    }
}

#[cfg_attr(test, allow(clippy::print_stderr))]
fn say(line: &str) {
    // The output of a test that passes is not shown.
    #[cfg(test)]
    eprintln!("{line}");
    // If standard error is closed, there is nowhere left to write.
    #[cfg(not(test))]
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}
