//! The small enums of an error: its source, its retry, its type.

/// Whose fault an error is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorSource {
    /// The server that the request was (to be) sent to.
    Upstream,
    /// The client that sent the request.
    Downstream,
    /// This process, or the code of its user.
    Internal,
    /// Not determined yet.
    Unset,
}

impl ErrorSource {
    /// The name used in logs. Empty if no side is at fault.
    pub fn as_str(&self) -> &'static str {
        match self {
            ErrorSource::Upstream => "Upstream",
            ErrorSource::Downstream => "Downstream",
            ErrorSource::Internal => "Internal",
            ErrorSource::Unset => "",
        }
    }
}

/// Whether the same request may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryType {
    /// Decided.
    Decided(bool),
    /// Yes, if the connection had carried a request before: the peer may have closed it while it was
    /// idle. Undecided until [`RetryType::decide_reuse`] is called.
    ReusedOnly,
}

impl RetryType {
    /// Turns [`RetryType::ReusedOnly`] into a decision. Does nothing if the decision is already made.
    pub fn decide_reuse(&mut self, reused: bool) {
        if matches!(self, RetryType::ReusedOnly) {
            *self = RetryType::Decided(reused);
        }
    }

    /// Whether a retry is allowed. While this is undecided, the answer is the safe one: no.
    pub fn retry(&self) -> bool {
        matches!(self, RetryType::Decided(true))
    }
}

impl From<bool> for RetryType {
    fn from(retry: bool) -> Self {
        RetryType::Decided(retry)
    }
}

macro_rules! error_types {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kind of an error.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum ErrorType {
            $($(#[$doc])* $name,)*
            /// A response with this status ends the request.
            HTTPStatus(u16),
            /// A user-defined error, by name.
            Custom(&'static str),
            /// A user-defined error, by name and code.
            CustomCode(&'static str, u16),
        }

        impl ErrorType {
            /// The name used in logs.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(ErrorType::$name => stringify!($name),)*
                    ErrorType::HTTPStatus(_) => "HTTPStatus",
                    ErrorType::Custom(name) | ErrorType::CustomCode(name, _) => name,
                }
            }
        }
    };
}

error_types! {
    /// No connection within the allowed time.
    ConnectTimedout,
    /// The peer's port is closed.
    ConnectRefused,
    /// The peer's network can't be reached from here.
    ConnectNoRoute,
    /// The TLS handshake waits for a certificate that is still being looked up.
    TLSWantX509Lookup,
    /// The TLS handshake failed.
    TLSHandshakeFailure,
    /// The TLS handshake did not finish within the allowed time.
    TLSHandshakeTimedout,
    /// The peer's certificate was not accepted.
    InvalidCert,
    /// A handshake above TCP, other than TLS, failed.
    HandshakeError,
    /// A connection could not be made for another reason.
    ConnectError,
    /// The local address could not be bound.
    BindError,
    /// A connection could not be accepted.
    AcceptError,
    /// A socket option could not be read or set.
    SocketError,
    /// A proxy on the way refused the CONNECT request.
    ConnectProxyFailure,
    /// A message head breaks the rules of HTTP.
    InvalidHTTPHeader,
    /// A message body breaks the rules of HTTP/1.
    H1Error,
    /// The peer broke the rules of HTTP/2, or reset the stream.
    H2Error,
    /// The peer requires HTTP/1.1 instead of HTTP/2.
    H2Downgrade,
    /// The peer does not speak HTTP/2.
    InvalidH2,
    /// Reading failed.
    ReadError,
    /// Writing failed.
    WriteError,
    /// Nothing could be read within the allowed time.
    ReadTimedout,
    /// Nothing could be written within the allowed time.
    WriteTimedout,
    /// The peer closed the connection in the middle of a message.
    ConnectionClosed,
    /// A file could not be opened.
    FileOpenError,
    /// A file could not be created.
    FileCreateError,
    /// A file could not be read.
    FileReadError,
    /// A file could not be written.
    FileWriteError,
    /// A fault in this process.
    InternalError,
    /// None of the others.
    UnknownError,
}

impl ErrorType {
    /// A user-defined type, identified by its name.
    pub fn new(name: &'static str) -> Self {
        ErrorType::Custom(name)
    }

    /// A user-defined type, identified by its name and a code.
    pub fn new_code(name: &'static str, code: u16) -> Self {
        ErrorType::CustomCode(name, code)
    }
}
