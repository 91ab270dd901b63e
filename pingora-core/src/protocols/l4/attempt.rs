//! The facts about a failed attempt to connect.

use pingora_error::{Error, ErrorTrait};
use std::fmt;
use std::io;
use std::net::SocketAddr as InetSocketAddr;

/// The facts about a failed attempt to connect.
pub trait ConnectErrorExt {
    /// The local address that the attempt was bound to, if it got that far.
    fn connect_local_addr(&self) -> Option<InetSocketAddr>;
}

/// The cause of a connection error: the kernel's answer, and the local address.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    pub(crate) error: io::Error,
    pub(crate) local_addr: Option<InetSocketAddr>,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match self.local_addr {
            Some(local) => write!(f, " (from {local})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConnectFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl ConnectErrorExt for Error {
    fn connect_local_addr(&self) -> Option<InetSocketAddr> {
        let mut cause: &(dyn ErrorTrait + Send + Sync + 'static) = self.cause.as_deref()?;
        loop {
            if let Some(failure) = cause.downcast_ref::<ConnectFailure>() {
                return failure.local_addr;
            }
            let nested = cause.downcast_ref::<Box<Error>>().map(|b| &**b);
            cause = nested
                .or_else(|| cause.downcast_ref::<Error>())?
                .cause
                .as_deref()?;
        }
    }
}
