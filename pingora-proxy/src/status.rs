//! The status with which an error is answered. Pure.

use pingora_core::protocols::http::h1::Fault;
use pingora_error::{Error, ErrorSource, ErrorType};

/// The status for an error; 0: the client is gone and is not answered. `fault` is the rule that the
/// client's request broke, if any.
pub(crate) fn status_of(fault: Option<Fault>, e: &Error) -> u16 {
    if let ErrorType::HTTPStatus(code) = e.etype() {
        return *code;
    }
    match e.esource() {
        ErrorSource::Upstream => match e.etype() {
            ErrorType::ConnectTimedout
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout => 504,
            _ => 502,
        },
        ErrorSource::Downstream => match (fault, e.etype()) {
            (Some(fault), _) if !fault.is_cut_short() => fault.status(),
            (_, ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed) => 0,
            (_, ErrorType::ReadTimedout) => 408,
            // After a reset HTTP/2 stream there is no client left to answer, either.
            (_, ErrorType::WriteTimedout | ErrorType::H2Error) => 0,
            _ => 400,
        },
        ErrorSource::Internal | ErrorSource::Unset => 500,
    }
}

/// Whether this error leaves the client's connection intact, so that it may carry another request.
pub(crate) fn is_intact(e: &Error) -> bool {
    !matches!(e.esource(), ErrorSource::Downstream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_error::BError;

    #[test]
    fn the_status_tells_whose_fault_it_is() {
        let up = |t| Error::new_up(t);
        let down = |t| Error::new_down(t);
        let rows: Vec<(BError, Option<Fault>, u16)> = vec![
            (Error::new(ErrorType::HTTPStatus(429)), None, 429),
            (up(ErrorType::HTTPStatus(599)), None, 599),
            (up(ErrorType::ConnectRefused), None, 502),
            (up(ErrorType::ConnectTimedout), None, 504),
            (up(ErrorType::TLSHandshakeTimedout), None, 504),
            (up(ErrorType::ReadTimedout), None, 504),
            (up(ErrorType::WriteTimedout), None, 504),
            (up(ErrorType::InvalidHTTPHeader), None, 502),
            (up(ErrorType::InvalidCert), None, 502),
            (up(ErrorType::ConnectionClosed), None, 502),
            (down(ErrorType::ConnectionClosed), None, 0),
            (down(ErrorType::ReadError), None, 0),
            (down(ErrorType::WriteError), None, 0),
            (down(ErrorType::H2Error), None, 0),
            (down(ErrorType::WriteTimedout), None, 0),
            (down(ErrorType::ReadTimedout), None, 408),
            (down(ErrorType::H1Error), None, 400),
            (down(ErrorType::H1Error), Some(Fault::BODY_TOO_LARGE), 413),
            (down(ErrorType::ReadTimedout), Some(Fault::TIMED_OUT), 408),
            (Error::new_in(ErrorType::InternalError), None, 500),
            (Error::new(ErrorType::new("Mine")), None, 500),
        ];
        for (error, fault, status) in rows {
            assert_eq!(status_of(fault, &error), status, "{error}");
        }
    }
}
