//! The HTTP/1 bodies that the kernel may move on its own.

use super::faults;
use crate::protocols::Stream;
use crate::protocols::http::h1::{BodyDecoder, BodyEncoder};
use crate::protocols::l4::splice::PayloadBound;
pub use crate::protocols::l4::splice::{SpliceSink, SpliceSource};
use crate::protocols::l4::stream::Stream as PlainStream;
use pingora_error::{ErrorSource, Result};

/// The underlying socket, if the connection is a plain one and holds back no bytes.
pub(super) fn plain(io: &mut Stream) -> Option<&mut PlainStream> {
    io.as_any_mut()
        .downcast_mut::<PlainStream>()
        .filter(|stream| stream.is_plain())
}

impl PayloadBound for BodyDecoder {
    fn left(&self) -> Option<u64> {
        self.remaining()
    }

    fn moved(&mut self, bytes: u64, side: &ErrorSource) -> Result<()> {
        self.advance(bytes)
            .map_err(|fault| faults::bad_body(fault, side.clone()))
    }
}

impl PayloadBound for BodyEncoder {
    fn left(&self) -> Option<u64> {
        self.room()
    }

    fn moved(&mut self, bytes: u64, _side: &ErrorSource) -> Result<()> {
        self.advance(bytes).map_err(faults::bad_outgoing)
    }
}
