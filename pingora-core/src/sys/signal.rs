//! Signals whose default would end the process before, or although, the server has a use for them.
//!
//! A handler here does one compare-and-exchange, or nothing. It is installed only if the signal still has its
//! default meaning. If the program listens for the signal later, through the runtime, that takes the handler's
//! place and calls it first.

use nix::sys::signal::Signal;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Signals that are not waited for, or that have been taken note of already.
const IDLE: u8 = 0;
/// One is to be taken note of.
const WAITING: u8 = 1;
/// One has come.
const NOTED: u8 = 2;

static HANGUP: AtomicU8 = AtomicU8::new(IDLE);
static QUIT: AtomicU8 = AtomicU8::new(IDLE);
static USER_1: AtomicU8 = AtomicU8::new(IDLE);
static USER_2: AtomicU8 = AtomicU8::new(IDLE);

/// The note of an early signal; `None` for signals that can't be noted.
fn note_of(signal: libc::c_int) -> Option<&'static AtomicU8> {
    match signal {
        libc::SIGHUP => Some(&HANGUP),
        libc::SIGQUIT => Some(&QUIT),
        libc::SIGUSR1 => Some(&USER_1),
        libc::SIGUSR2 => Some(&USER_2),
        _ => None,
    }
}

extern "C" fn take_note(signal: libc::c_int) {
    if let Some(note) = note_of(signal) {
        // In any other state the note is not wanted.
        let _ = note.compare_exchange(WAITING, NOTED, Ordering::AcqRel, Ordering::Relaxed);
    }
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Has `signal`, which is SIGHUP, SIGQUIT, SIGUSR1 or SIGUSR2, noted from now on until [`claim`] instead of
/// ending the process. Does nothing if a disposition was set already, even to ignore it.
pub(crate) fn note(signal: Signal) {
    if let Some(note) = note_of(signal as libc::c_int)
        && replace_default(signal, take_note)
    {
        note.store(WAITING, Ordering::Release);
    }
}

/// Whether `signal` is noted and not claimed yet.
pub(crate) fn is_unclaimed(signal: Signal) -> bool {
    let note = note_of(signal as libc::c_int);
    note.is_some_and(|note| note.load(Ordering::Acquire) != IDLE)
}

/// Ends the noting of `signal`; whether one has come. To be called by the code that now listens for it.
pub(crate) fn claim(signal: Signal) -> bool {
    let note = note_of(signal as libc::c_int);
    note.is_some_and(|note| note.swap(IDLE, Ordering::AcqRel) == NOTED)
}

/// Gives `signal` back the meaning that it had before [`note`], if it is unclaimed; one that came is
/// sent again.
pub(crate) fn release(signal: Signal) {
    let Some(note) = note_of(signal as libc::c_int) else {
        return;
    };
    let before = note.swap(IDLE, Ordering::AcqRel);
    if before == IDLE || current(signal) != Some(take_note as *const () as libc::sighandler_t) {
        return;
    }
    set(signal, libc::SIG_DFL);
    if before == NOTED {
        // There is no error for a signal that exists.
        let _ = nix::sys::signal::raise(signal);
    }
}

/// Has `signal` do nothing instead of ending the process. Unlike an ignored signal it has its default meaning
/// again in a program that this one starts. Does nothing if a disposition was set already.
pub(crate) fn outlive(signal: Signal) {
    replace_default(signal, ignore);
}

/// Whether `handler` was installed.
fn replace_default(signal: Signal, handler: extern "C" fn(libc::c_int)) -> bool {
    current(signal) == Some(libc::SIG_DFL)
        && set(signal, handler as *const () as libc::sighandler_t)
}

/// The present handler of `signal`.
fn current(signal: Signal) -> Option<libc::sighandler_t> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null pointer for the new action only asks; `action` is valid for writes of its type.
    let asked = unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), action.as_mut_ptr()) };
    if asked != 0 {
        return None;
    }
    // SAFETY: all bytes are initialised: by `zeroed`, and then by the C library.
    Some(unsafe { action.assume_init() }.sa_sigaction)
}

/// Private, because `handler` has to be SIG_DFL or one of the two functions above.
fn set(signal: Signal, handler: libc::sighandler_t) -> bool {
    // SAFETY: a structure of integers, and of a function pointer that may be absent, may be all zeros.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    // System calls go on where they can; those that can't are repeated by their callers.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is initialised, its mask is empty, and its handler takes one integer, as SA_SIGINFO
    // is not set. Both handlers are safe in a signal: they touch one atomic number, or nothing. Null says
    // that the old action does not matter.
    let set = unsafe { libc::sigaction(signal as libc::c_int, &action, ptr::null_mut()) };
    if set != 0 {
        let error = io::Error::last_os_error();
        log::error!("can't keep {signal} from ending the process: {error}");
    }
    set == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all, because signals belong to the process. Those that other tests send are left alone.
    #[test]
    fn signals_are_noted_until_they_are_claimed_and_others_are_left_alone() {
        // In a process of its own: other tests may listen for these signals.
        const CHILD: &str = "SYS_SIGNAL_TEST_CHILD";
        if std::env::var_os(CHILD).is_none() {
            let name = "sys::signal::tests::signals_are_noted_until_they_are_claimed_and_others_are_left_alone";
            // The process that runs the tests may ignore some of them, as under `nohup`.
            let child = std::process::Command::new("env")
                .arg("--default-signal")
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", name, "--test-threads=1"])
                .env(CHILD, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stdout);
            assert!(
                child.status.success() && said.contains("1 passed"),
                "{said}"
            );
            return;
        }
        let raise = |signal| nix::sys::signal::raise(signal).unwrap();
        for signal in [
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ] {
            assert!(!claim(signal) && !is_unclaimed(signal), "nobody waits");
            note(signal);
            assert!(is_unclaimed(signal));
            assert!(!claim(signal), "none has come");
            note(signal);
            // The handler is still there, but the note is not wanted.
            raise(signal);
            assert!(!claim(signal));
            assert!(set(signal, libc::SIG_DFL));
            note(signal);
            raise(signal);
            note(signal);
            assert!(claim(signal));
            raise(signal);
            assert!(!claim(signal), "claimed once");
        }
        for signal in [Signal::SIGXFSZ, Signal::SIGALRM] {
            outlive(signal);
            raise(signal);
        }
        assert_eq!(
            current(Signal::SIGPIPE),
            Some(libc::SIG_IGN),
            "of the standard library"
        );
        outlive(Signal::SIGPIPE);
        assert_eq!(current(Signal::SIGPIPE), Some(libc::SIG_IGN));

        assert!(set(Signal::SIGHUP, libc::SIG_DFL));
        note(Signal::SIGHUP);
        release(Signal::SIGHUP);
        assert_eq!(current(Signal::SIGHUP), Some(libc::SIG_DFL));
        note(Signal::SIGTERM);
        release(Signal::SIGTERM);
        assert_eq!(
            current(Signal::SIGTERM),
            Some(libc::SIG_DFL),
            "not to be noted"
        );
    }
}
