//! Received field blocks (RFC 9113 sections 4.3, 6.2 and 8).
//!
//! Every block is decoded, even if its stream is gone, because all later blocks depend on it.

use super::flow::SendWindow;
use super::forgotten::Late;
use super::ready::urgency_in;
use super::state::{Life, Receiving, Sending};
use super::stream::{Expected, Key, Stream};
use super::{Clock, Machine, ReceiveWindow};
use crate::error::{Error, Reason};
use crate::frame::{Headers, StreamId};
use crate::head::{Head, HeadFault, check_request, check_response, check_trailers};
use crate::hpack::{FieldList, Section};
use crate::spare::boxed_head;
use http::{HeaderMap, StatusCode};

/// The maximum number of informational heads of one response that may be queued; more are dropped.
const MOST_WAITING: usize = 16;
/// A server that sends more informational responses than this will never send a final one.
const MOST_INFORMATIONAL: u8 = 100;

/// The role of a block.
#[derive(Debug)]
enum Purpose {
    /// The head of a request on a new stream.
    Request,
    /// A head of a response.
    Response(Key),
    /// Trailers.
    Trailers(Key),
    /// A block that came too late and is discarded.
    Nothing,
    /// A block that is not allowed here.
    Refused(Error),
}

/// A block that is being decoded.
#[derive(Debug)]
pub(super) struct Block {
    purpose: Purpose,
    id: StreamId,
    end_stream: bool,
    depends_on_itself: bool,
    list: FieldList,
}

impl Machine {
    pub(super) fn begin_block(
        &mut self,
        headers: &Headers<'_>,
        clock: Clock<'_>,
    ) -> Result<(), Error> {
        let purpose = self.purpose(headers.stream, clock)?;
        let section = match purpose {
            Purpose::Request => Section::Request,
            Purpose::Response(_) => Section::Response,
            Purpose::Trailers(_) | Purpose::Nothing | Purpose::Refused(_) => Section::Trailers,
        };
        let block = Block {
            purpose,
            id: headers.stream,
            end_stream: headers.end_stream,
            depends_on_itself: headers.depends_on_itself(),
            list: FieldList::new(section, self.config.list_limits()),
        };
        self.decode_block(block, headers.fragment, headers.end_headers, clock)
    }

    pub(super) fn continue_block(
        &mut self,
        fragment: &[u8],
        end: bool,
        clock: Clock<'_>,
    ) -> Result<(), Error> {
        match self.block.take() {
            Some(block) => self.decode_block(block, fragment, end, clock),
            // The reader never passes one on.
            None => Ok(()),
        }
    }

    fn decode_block(
        &mut self,
        mut block: Block,
        fragment: &[u8],
        end: bool,
        clock: Clock<'_>,
    ) -> Result<(), Error> {
        self.decoder.decode(fragment, end, &mut block.list)?;
        if end {
            block.list.end();
            return self.end_block(block, clock);
        }
        self.block = Some(block);
        Ok(())
    }

    fn purpose(&mut self, id: StreamId, clock: Clock<'_>) -> Result<Purpose, Error> {
        let number = id.get();
        if let Some(key) = self.streams.find(number) {
            return self.purpose_on(key, id, clock);
        }
        if !self.is_server() || !id.is_client() {
            // A server opens no streams, and a client's are odd (RFC 9113 section 5.1.1).
            return self.late_block(id, clock);
        }
        if number <= self.last_peer {
            return self.late_block(id, clock);
        }
        self.last_peer = number;
        if self.life >= Life::Draining {
            // The peer was told that this stream would not be processed (RFC 9113 section 6.8).
            self.forgotten.remember(number, clock);
            return Ok(Purpose::Nothing);
        }
        let most = self.config.max_streams();
        if self.open >= most || self.streams.len() >= most.saturating_mul(2) {
            let detail = "more streams than announced";
            let refused = Error::stream(id, Reason::REFUSED_STREAM, "5.1.2", detail);
            return Ok(Purpose::Refused(refused));
        }
        Ok(Purpose::Request)
    }

    fn purpose_on(&self, key: Key, id: StreamId, clock: Clock<'_>) -> Result<Purpose, Error> {
        let Some(stream) = self.streams.get(key) else {
            return Ok(Purpose::Nothing);
        };
        Ok(match stream.receiving {
            // To the peer, a client's stream that has not begun is idle.
            Receiving::Head if !stream.begun => {
                let detail = "an answer to what was not asked";
                return Err(Error::connection(Reason::PROTOCOL_ERROR, "5.1", detail));
            }
            Receiving::Head => Purpose::Response(key),
            Receiving::Body => Purpose::Trailers(key),
            Receiving::Ended if stream.sending != Sending::Ended => {
                let detail = "a field block behind the end of the stream";
                Purpose::Refused(Error::stream(id, Reason::STREAM_CLOSED, "5.1", detail))
            }
            Receiving::Ended | Receiving::Closed => return self.late_block(id, clock),
        })
    }

    fn late_block(&self, id: StreamId, clock: Clock<'_>) -> Result<Purpose, Error> {
        let number = id.get();
        let known = !self.is_idle(number) && id.is_client();
        if self.is_server() && known && self.forgotten.late(number, clock) == Late::AfterEnd {
            // Stream numbers only increase.
            let detail = "a stream is opened whose number is not above all others";
            return Err(Error::connection(Reason::PROTOCOL_ERROR, "5.1.1", detail));
        }
        match self.is_late(id.get(), clock) {
            Ok(()) => Ok(Purpose::Nothing),
            Err(error) if error.is_connection() => Err(error),
            Err(error) => Ok(Purpose::Refused(error)),
        }
    }

    fn end_block(&mut self, block: Block, clock: Clock<'_>) -> Result<(), Error> {
        match block.purpose {
            Purpose::Nothing => self.count_overhead(clock),
            Purpose::Refused(error) => Err(error),
            Purpose::Request => {
                self.begin_request(block);
                Ok(())
            }
            Purpose::Response(key) => self.take_response(key, block, clock),
            Purpose::Trailers(key) => self.take_trailers(key, block),
        }
    }

    /// Hands a request out even if it is malformed, so that it can be answered and logged; its
    /// stream is reset after the answer.
    fn begin_request(&mut self, mut block: Block) {
        let checked = self.check_request(&block);
        let receive = ReceiveWindow::new(self.stream_window);
        let send = SendWindow::new(self.peer.initial_window);
        let mut stream = Stream::new(block.id.get(), receive, send);
        stream.begun = true;
        stream.receiving = if block.end_stream {
            Receiving::Ended
        } else {
            Receiving::Body
        };
        match checked {
            Ok(Some(length)) => stream.expected = Expected::Exact(length),
            Ok(None) => {}
            Err(_) => {
                stream.condemned = true;
                stream.unread = true;
            }
        }
        let head = Head {
            pseudo: std::mem::take(&mut block.list.pseudo),
            fields: std::mem::take(&mut block.list.fields),
            fault: checked.err(),
            ..Head::default()
        };
        stream.head_request = head.pseudo.method == Some(http::Method::HEAD);
        stream.connect_request = head.is_connect();
        if stream.connect_request {
            stream.expected = Expected::Any;
        }
        if let Some(priority) = head.fields.get("priority") {
            stream.urgency = urgency_in(priority.as_bytes());
        }
        self.open += 1;
        self.last_processed = stream.id;
        let key = self.streams.insert(stream);
        self.requests.push_back((key, boxed_head(head)));
    }

    fn check_request(&self, block: &Block) -> Result<Option<u64>, HeadFault> {
        let extended = self.config.settings.enable_connect_protocol == Some(true);
        let length = check_request(&block.list, extended)?;
        if block.depends_on_itself {
            return Err(HeadFault::malformed("a stream depends on itself"));
        }
        if block.end_stream && length.is_some_and(|length| length > 0) {
            let detail = "the payload is not as long as declared";
            return Err(HeadFault::malformed(detail));
        }
        Ok(length)
    }

    fn take_response(&mut self, key: Key, mut block: Block, clock: Clock<'_>) -> Result<(), Error> {
        let malformed =
            |detail: &'static str| Error::stream(block.id, Reason::PROTOCOL_ERROR, "8.1.1", detail);
        let (status, length) = match check_response(&block.list) {
            Ok(checked) => checked,
            Err(fault) => return Err(malformed(fault.detail)),
        };
        let informational = status.is_informational();
        if informational && block.end_stream {
            return Err(malformed("an informational response ends the stream"));
        }
        let head = Head {
            pseudo: std::mem::take(&mut block.list.pseudo),
            fields: std::mem::take(&mut block.list.fields),
            ..Head::default()
        };
        if informational {
            self.count_overhead(clock)?;
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(());
        };
        if informational {
            stream.informed = stream.informed.saturating_add(1);
            if stream.informed > MOST_INFORMATIONAL {
                return Err(malformed("informational responses without end"));
            }
            if stream.inbox.informational.len() < MOST_WAITING {
                stream.inbox.informational.push_back(head);
            }
        } else {
            stream.expected = expected(stream, status, length);
            if block.end_stream && !stream.expected.may_end() {
                return Err(malformed("the payload is not as long as declared"));
            }
            stream.inbox.head = Some(boxed_head(head));
            stream.receiving = if block.end_stream {
                Receiving::Ended
            } else {
                Receiving::Body
            };
        }
        self.wake(key, |woken| woken.receiver = true);
        if block.end_stream {
            self.settle(key);
        }
        Ok(())
    }

    /// RFC 9113 section 8.1.
    fn take_trailers(&mut self, key: Key, mut block: Block) -> Result<(), Error> {
        let malformed =
            |detail: &'static str| Error::stream(block.id, Reason::PROTOCOL_ERROR, "8.1", detail);
        if !block.end_stream {
            return Err(malformed("trailers that don't end the stream"));
        }
        if let Err(fault) = check_trailers(&block.list) {
            return Err(malformed(fault.detail));
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(());
        };
        if !stream.expected.may_end() {
            return Err(malformed("the payload is not as long as declared"));
        }
        stream.receiving = Receiving::Ended;
        if !stream.unread {
            let trailers: HeaderMap = std::mem::take(&mut block.list.fields);
            stream.inbox.trailers = Some(Box::new(trailers));
        }
        self.wake(key, |woken| woken.receiver = true);
        self.settle(key);
        Ok(())
    }
}

/// The payload that the response to this request may have. If it can have none, whatever its fields
/// say, the reader of the body reports the fault.
fn expected(stream: &Stream, status: StatusCode, length: Option<u64>) -> Expected {
    let tunnel = stream.connect_request && status.is_success();
    let bodiless = stream.head_request
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    match length {
        Some(length) if !tunnel && !bodiless => Expected::Exact(length),
        _ => Expected::Any,
    }
}
