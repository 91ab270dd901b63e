//! Why a handshake failed, told from the library's error, and what can be done about it.

use super::verify::Unverified;
use crate::protocols::tls::backend::FailedHandshake;
use crate::protocols::tls::{ClientHandshake, HandshakeFailure, hints};
use pingora_error::{BError, Error, ErrorType};
use rustls::{AlertDescription, Error as TlsError, InvalidMessage};
use std::io;

/// The error of a failed handshake.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The transport failed.
    Io(io::Error),
    /// The other side closed the transport.
    Closed,
    Tls(TlsError),
}

/// Which kind of failure it is.
pub(super) fn failure(error: &HandshakeError) -> HandshakeFailure {
    let error = match error {
        HandshakeError::Closed | HandshakeError::Io(_) => return HandshakeFailure::Closed,
        HandshakeError::Tls(error) => error,
    };
    match error {
        TlsError::InvalidMessage(
            InvalidMessage::MissingKeyExchange | InvalidMessage::NoSignatureSchemes,
        )
        | TlsError::PeerIncompatible(_)
        | TlsError::NoApplicationProtocol => HandshakeFailure::NothingInCommon,
        TlsError::InvalidMessage(_)
        | TlsError::PeerMisbehaved(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. }
        | TlsError::PeerSentOversizedRecord
        | TlsError::DecryptError => HandshakeFailure::NotTls,
        TlsError::NoCertificatesPresented | TlsError::InvalidCertificate(_) => {
            HandshakeFailure::ClientCertificate
        }
        TlsError::AlertReceived(AlertDescription::CloseNotify) => HandshakeFailure::Closed,
        TlsError::AlertReceived(_) => HandshakeFailure::RefusedByClient,
        _ => HandshakeFailure::Other,
    }
}

impl From<HandshakeError> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Closed => "the connection was closed".into(),
            HandshakeError::Io(e) => e.into(),
            HandshakeError::Tls(e) => e.into(),
        }
    }
}

/// A handshake with a client that came to nothing.
#[cold]
pub(super) fn of_client(
    error: HandshakeError,
    failure: HandshakeFailure,
    context: String,
) -> FailedHandshake {
    let error = Error::because(ErrorType::TLSHandshakeFailure, context, error);
    FailedHandshake::new(failure, error)
}

/// A handshake with an upstream that came to nothing. `refusal` is what was wrong with its certificate.
#[cold]
pub(super) fn of_upstream(
    error: HandshakeError,
    wanted: &ClientHandshake<'_>,
    refusal: Option<Unverified>,
) -> BError {
    let (etype, mut context, hint) = match refusal {
        Some(refusal) => {
            let context = format!("certificate: {}", refusal.verdict);
            (ErrorType::InvalidCert, context, refusal.hint)
        }
        None => {
            let context = "TLS handshake".to_string();
            (
                ErrorType::TLSHandshakeFailure,
                context,
                handshake(&error, wanted),
            )
        }
    };
    if let Some(hint) = hint {
        context += &format!(" (hint: {hint})");
    }
    Error::because(etype, context, error)
}

/// About a handshake that did not come to the verdict on the certificate.
fn handshake(error: &HandshakeError, wanted: &ClientHandshake<'_>) -> Option<String> {
    match error {
        HandshakeError::Tls(TlsError::AlertReceived(sent)) => {
            hints::alert(u8::from(*sent).into(), wanted.sni, Some(wanted))
        }
        error => hints::handshake(failure(error), wanted.sni).map(str::to_string),
    }
}

/// An error of a session whose handshake is over: in TLS 1.3 an upstream says only then that it does not like
/// our certificate.
#[cold]
pub(super) fn read_error(error: &TlsError, is_server: bool) -> io::Error {
    let hint = match error {
        TlsError::AlertReceived(sent) if !is_server => {
            hints::alert(u8::from(*sent).into(), "-", None)
        }
        _ => None,
    };
    match hint {
        Some(hint) => io::Error::other(format!("{error} (hint: {hint})")),
        None => io::Error::new(io::ErrorKind::InvalidData, error.clone()),
    }
}
