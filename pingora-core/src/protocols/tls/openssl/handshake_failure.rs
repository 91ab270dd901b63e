//! Why a handshake failed, told from the library's error.

use crate::protocols::tls::HandshakeFailure;
use openssl::ssl::{Error, ErrorCode};

/// The number of libssl among the libraries (`ERR_LIB_SSL`).
const LIBSSL: i32 = 20;

/// Reasons above this one are alerts that came from the other side.
const ALERTS: i32 = 1000;

/// Reasons of libssl, by its numbers, which are part of its interface (`SSL_R_*` in `sslerr.h`).
#[rustfmt::skip]
const REASONS: [(HandshakeFailure, &[i32]); 5] = [
    // HTTPS_PROXY_REQUEST, HTTP_REQUEST
    (HandshakeFailure::PlainHttp, &[155, 156]),
    // APP_DATA_IN_HANDSHAKE, BAD_EXTENSION, BAD_PACKET_LENGTH, CCS_RECEIVED_EARLY, DATA_LENGTH_TOO_LONG,
    // ENCRYPTED_LENGTH_TOO_LONG, ERROR_IN_RECEIVED_CIPHER_LIST, EXCESSIVE_MESSAGE_SIZE, LENGTH_MISMATCH,
    // LENGTH_TOO_SHORT, NOT_ON_RECORD_BOUNDARY, PACKET_LENGTH_TOO_LONG, RECORD_LENGTH_MISMATCH,
    // CLIENTHELLO_TLSEXT, BAD_PACKET, UNEXPECTED_MESSAGE, UNEXPECTED_RECORD, UNKNOWN_PROTOCOL,
    // WRONG_VERSION_NUMBER, BAD_LENGTH, DECRYPTION_FAILED_OR_BAD_RECORD_MAC, BAD_LEGACY_VERSION,
    // RECORD_TOO_SMALL, BAD_RECORD_TYPE
    (HandshakeFailure::NotTls, &[
        100, 110, 115, 133, 146, 150, 151, 152, 159, 160, 182, 198, 213, 226, 240, 244, 245, 252, 267,
        271, 281, 292, 298, 443,
    ]),
    // NO_SUITABLE_KEY_SHARE, BAD_KEY_SHARE, NO_SUITABLE_SIGNATURE_ALGORITHM, VERSION_TOO_HIGH,
    // NO_SHARED_CIPHER, NO_APPLICATION_PROTOCOL, UNSUPPORTED_PROTOCOL, NO_SUITABLE_GROUPS,
    // NO_SUITABLE_DIGEST_ALGORITHM, UNSUPPORTED_ELLIPTIC_CURVE, INAPPROPRIATE_FALLBACK,
    // NO_SHARED_SIGNATURE_ALGORITHMS, VERSION_TOO_LOW, NO_SHARED_GROUPS
    (HandshakeFailure::NothingInCommon, &[
        101, 108, 118, 166, 193, 235, 258, 295, 297, 315, 373, 376, 396, 410,
    ]),
    // NO_CERTIFICATE_ASSIGNED, NO_CERTIFICATE_SET
    (HandshakeFailure::NoCertificate, &[177, 179]),
    // BAD_SIGNATURE, CERTIFICATE_VERIFY_FAILED, NO_CERTIFICATES_RETURNED,
    // PEER_DID_NOT_RETURN_A_CERTIFICATE
    (HandshakeFailure::ClientCertificate, &[123, 134, 176, 199]),
];

/// Which kind of failure `error` is.
pub(super) fn failure(error: &Error) -> HandshakeFailure {
    if is_truncation(error) || error.io_error().is_some() || error.code() == ErrorCode::SYSCALL {
        return HandshakeFailure::Closed;
    }
    if error.code() == ErrorCode::ZERO_RETURN {
        return HandshakeFailure::Closed;
    }
    let Some(stack) = error.ssl_error() else {
        return HandshakeFailure::Other;
    };
    // The first error is the cause, the others follow from it. Other libraries have numbers of their own.
    let ours = stack.errors().iter().filter(|e| e.library_code() == LIBSSL);
    let mut known = ours.map(|e| by_reason(e.reason_code()));
    known
        .find(|failure| *failure != HandshakeFailure::Other)
        .unwrap_or(HandshakeFailure::Other)
}

fn by_reason(code: i32) -> HandshakeFailure {
    if code > ALERTS {
        return HandshakeFailure::RefusedByClient;
    }
    let known = REASONS.iter().find(|(_, codes)| codes.contains(&code));
    known.map_or(HandshakeFailure::Other, |(failure, _)| *failure)
}

/// Whether the peer closed the transport without a close_notify, as a truncation attack would.
/// OpenSSL 3 has a reason code for that; before, it was an error without any detail.
pub(super) fn is_truncation(e: &Error) -> bool {
    const UNEXPECTED_EOF_WHILE_READING: i32 = 294;
    match (e.io_error(), e.ssl_error()) {
        (None, None) => e.code() == ErrorCode::SYSCALL,
        (None, Some(stack)) => stack
            .errors()
            .iter()
            .any(|e| e.reason_code() == UNEXPECTED_EOF_WHILE_READING),
        (Some(_), _) => false,
    }
}
