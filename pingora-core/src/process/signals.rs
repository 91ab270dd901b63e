//! The treatment of signals before a server listens for them.

use crate::sys::signal::{note, outlive, release};
use nix::sys::signal::Signal;

/// Signals that a server or its program handles, and that would otherwise end the process before that.
/// SIGTERM and SIGINT end it as they should.
const NOTED: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Keeps the process from being ended by a signal that it does not listen for yet, because it is starting or
/// waits to take over from another one: the signal takes effect when the server runs. Also ignores signals
/// for conditions that system calls report as errors anyway: writing to a file that is too large, or to a
/// peer that is gone.
pub(crate) fn expect_signals() {
    NOTED.into_iter().for_each(note);
    outlive(Signal::SIGXFSZ);
    outlive(Signal::SIGPIPE);
}

/// Restores the default action of unclaimed signals: the server has no use for them.
pub(crate) fn leave_signals_alone() {
    NOTED.into_iter().for_each(release);
}
