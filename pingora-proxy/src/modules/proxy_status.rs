//! Tells the operators of a chain of proxies what went wrong (RFC 9209).

use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_http::grammar::structured_string;

/// The type of an error in `Proxy-Status` (RFC 9209 section 2.3), if the request was answered with `status`.
/// Pure.
pub(super) fn error_type(error: &Error, status: u16) -> &'static str {
    match error.esource() {
        ErrorSource::Upstream => of_upstream(error.root_etype(), error.etype()),
        ErrorSource::Downstream if matches!(status, 401 | 403) => "http_request_denied",
        ErrorSource::Downstream => "http_request_error",
        ErrorSource::Internal | ErrorSource::Unset => match status {
            401 | 403 => "http_request_denied",
            400..=499 => "http_request_error",
            508 => "proxy_loop_detected",
            _ => "proxy_internal_error",
        },
    }
}

/// By the error at the root of it, or, if that says nothing, by the outermost.
fn of_upstream(root: &ErrorType, outermost: &ErrorType) -> &'static str {
    named(root)
        .or_else(|| named(outermost))
        .unwrap_or("http_protocol_error")
}

fn named(error: &ErrorType) -> Option<&'static str> {
    Some(match error {
        ErrorType::ConnectRefused => "connection_refused",
        ErrorType::ConnectTimedout => "connection_timeout",
        ErrorType::ConnectNoRoute => "destination_ip_unroutable",
        ErrorType::ConnectError | ErrorType::ConnectProxyFailure | ErrorType::SocketError => {
            "destination_unavailable"
        }
        ErrorType::TLSHandshakeFailure | ErrorType::TLSHandshakeTimedout => "tls_protocol_error",
        ErrorType::InvalidCert => "tls_certificate_error",
        ErrorType::ReadTimedout => "connection_read_timeout",
        ErrorType::WriteTimedout => "connection_write_timeout",
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => {
            "connection_terminated"
        }
        ErrorType::H1Error
        | ErrorType::H2Error
        | ErrorType::InvalidH2
        | ErrorType::InvalidHTTPHeader => "http_protocol_error",
        _ => return None,
    })
}

/// The value of the field: the proxy's name, as a string, and the error.
pub(super) fn value(name: &str, error: &Error, status: u16) -> String {
    let error = error_type(error, status);
    format!("{}; error={error}", structured_string(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_whose_fault_it_is_and_what_happened() {
        let up = |t| Error::new_up(t);
        let down = |t| Error::new_down(t);
        let status = ErrorType::HTTPStatus;
        let rows = [
            (up(ErrorType::ConnectRefused), 502, "connection_refused"),
            (up(ErrorType::ConnectTimedout), 504, "connection_timeout"),
            (
                up(ErrorType::ConnectNoRoute),
                502,
                "destination_ip_unroutable",
            ),
            (up(ErrorType::SocketError), 502, "destination_unavailable"),
            (up(ErrorType::InvalidCert), 502, "tls_certificate_error"),
            (
                up(ErrorType::TLSHandshakeFailure),
                502,
                "tls_protocol_error",
            ),
            (up(ErrorType::ReadTimedout), 504, "connection_read_timeout"),
            (
                up(ErrorType::WriteTimedout),
                504,
                "connection_write_timeout",
            ),
            (
                up(ErrorType::ConnectionClosed),
                502,
                "connection_terminated",
            ),
            (up(ErrorType::InvalidHTTPHeader), 502, "http_protocol_error"),
            (up(ErrorType::UnknownError), 502, "http_protocol_error"),
            (
                down(ErrorType::InvalidHTTPHeader),
                400,
                "http_request_error",
            ),
            (down(status(403)), 403, "http_request_denied"),
            (down(status(401)), 401, "http_request_denied"),
            (Error::new(status(429)), 429, "http_request_error"),
            (Error::new(status(403)), 403, "http_request_denied"),
            (Error::new(status(508)), 508, "proxy_loop_detected"),
            (
                Error::new_in(ErrorType::InternalError),
                500,
                "proxy_internal_error",
            ),
        ];
        for (error, status, expected) in rows {
            assert_eq!(error_type(&error, status), expected, "{error}");
        }
        let refused = up(ErrorType::ConnectRefused);
        assert_eq!(
            value("edge", &refused, 502),
            "\"edge\"; error=connection_refused"
        );
        assert_eq!(
            value("ed\"ge\r\n 1é", &refused, 502),
            "\"ed\\\"ge 1\"; error=connection_refused"
        );
    }
}
