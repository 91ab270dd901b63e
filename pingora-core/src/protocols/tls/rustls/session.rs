//! A session of the library, whichever side of it this is: the library moves no bytes itself.

use super::wire::{Arrived, Sealed};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error};

/// A session of the library.
pub(super) enum Session {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// The work to be done as soon as the session allows it.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Nothing but to go on.
    Progress,
    /// Seal this payload as one record.
    Seal(&'a [u8]),
    /// Say that nothing more will be written.
    CloseNotify,
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do.
    Again,
    /// Payload was handed out.
    Payload,
    /// The wanted work is done; for `Progress`: all data that has arrived is used up.
    Done,
    /// The handshake needs more from the other side.
    Blocked,
    /// The other side has said that nothing more will come.
    Closed,
}

impl Session {
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Session::Client(client) => client,
            Session::Server(server) => server,
        }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Session::Server(_))
    }

    /// One step. The library's output goes to `sealed`, payload to `payload`.
    ///
    /// # Errors
    /// The library's; its alert is in `sealed` after the next call of [`send_alert`](Self::send_alert).
    pub(super) fn step(
        &mut self,
        arrived: &mut Arrived,
        sealed: &mut Sealed,
        wanted: Wanted<'_>,
        payload: &mut dyn FnMut(&[u8]),
    ) -> Result<Step, Error> {
        let (discard, step) = match self {
            Session::Client(client) => {
                let status = client.process_tls_records(arrived.unread());
                handle(status, sealed, wanted, payload)
            }
            Session::Server(server) => {
                let status = server.process_tls_records(arrived.unread());
                handle(status, sealed, wanted, payload)
            }
        };
        arrived.discard(discard);
        step
    }

    /// Writes the alert about an error, of which the library has just told.
    pub(super) fn send_alert(&mut self, arrived: &mut Arrived, sealed: &mut Sealed) {
        // The alert comes before anything else. Without one, the library would look at the rest of what has arrived.
        if self.state().wants_write() {
            let _ = self.step(arrived, sealed, Wanted::Progress, &mut |_| ());
        }
    }
}

fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    sealed: &mut Sealed,
    wanted: Wanted<'_>,
    payload: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Step, Error>) {
    let mut discard = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(e) => return (discard, Err(e)),
    };
    let step = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        payload(record.payload);
                    }
                    Err(e) => return (discard, Err(e)),
                }
            }
            Ok(Step::Payload)
        }
        ConnectionState::EncodeTlsData(mut data) => loop {
            match data.encode(sealed.room()) {
                Ok(count) => {
                    sealed.advance(count);
                    break Ok(Step::Again);
                }
                Err(EncodeError::InsufficientSize(e)) => sealed.reserve(e.required_size),
                Err(EncodeError::AlreadyEncoded) => break Ok(Step::Again),
            }
        },
        // Sent by the caller, which holds it until then.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => loop {
            let written = match wanted {
                Wanted::Progress => break Ok(Step::Done),
                Wanted::Seal(bytes) => traffic.encrypt(bytes, sealed.room()),
                Wanted::CloseNotify => traffic.queue_close_notify(sealed.room()),
            };
            match written {
                Ok(count) => {
                    sealed.advance(count);
                    break Ok(Step::Done);
                }
                Err(EncryptError::InsufficientSize(e)) => sealed.reserve(e.required_size),
                Err(EncryptError::EncryptExhausted) => break Err(Error::EncryptError),
            }
        },
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Closed),
        // Early data is never accepted.
        _ => Err(Error::General(
            "a state of rustls that is not known here".to_string(),
        )),
    };
    (discard, step)
}
