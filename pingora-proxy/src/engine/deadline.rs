//! The time limits in an exchange: one row for each kind.
//!
//! To add a kind, add a constant and a row here, and watch it in [`Turn`](super::Turn).

use pingora_core::timeout::Deadline;
use pingora_error::{BError, Error, ErrorSource, ErrorType};

/// Between two reads from the client.
pub const DOWNSTREAM_READ: Deadline = Deadline::new(0);
/// Until the client takes something off its queue.
pub const DOWNSTREAM_WRITE: Deadline = Deadline::new(1);
/// Between two reads from the upstream.
pub const UPSTREAM_READ: Deadline = Deadline::new(2);
/// Until the upstream takes something off its queue.
pub const UPSTREAM_WRITE: Deadline = Deadline::new(3);
/// Until a byte moves in any direction while one side waits for room.
pub const PROGRESS: Deadline = Deadline::new(4);
/// Until a byte moves in a tunnel.
pub const TUNNEL_IDLE: Deadline = Deadline::new(5);
/// Not a limit: the instant at which a response delayed by a filter continues.
pub(super) const RESUME: Deadline = Deadline::new(6);
/// Until the rest of the request has arrived, or has been too slow, regardless of progress.
pub const REQUEST_END: Deadline = Deadline::new(7);
/// Until the upstream has answered, in part or in full, regardless of progress.
pub const RESPONSE_END: Deadline = Deadline::new(8);
/// Until the client has taken the response, regardless of progress.
pub const DELIVERY_END: Deadline = Deadline::new(9);

/// The consequences of reaching a limit.
#[derive(Debug)]
struct Row {
    kind: Deadline,
    etype: ErrorType,
    /// The side at fault.
    source: ErrorSource,
    context: &'static str,
    /// Data queued for the client will never be accepted, and is dropped.
    client_is_stuck: bool,
}

static ROWS: [Row; 9] = [
    Row {
        kind: DOWNSTREAM_READ,
        etype: ErrorType::ReadTimedout,
        source: ErrorSource::Downstream,
        context: "the client's body stalled",
        client_is_stuck: false,
    },
    Row {
        kind: DOWNSTREAM_WRITE,
        etype: ErrorType::WriteTimedout,
        source: ErrorSource::Downstream,
        context: "the client takes nothing of the response",
        client_is_stuck: true,
    },
    Row {
        kind: UPSTREAM_READ,
        etype: ErrorType::ReadTimedout,
        source: ErrorSource::Upstream,
        context: "the upstream's response stalled",
        client_is_stuck: false,
    },
    Row {
        kind: UPSTREAM_WRITE,
        etype: ErrorType::WriteTimedout,
        source: ErrorSource::Upstream,
        context: "the upstream takes nothing of the request",
        client_is_stuck: false,
    },
    Row {
        kind: PROGRESS,
        etype: ErrorType::WriteTimedout,
        source: ErrorSource::Downstream,
        context: "nothing moved in any direction: both sides wait for the other to read",
        client_is_stuck: true,
    },
    Row {
        kind: TUNNEL_IDLE,
        etype: ErrorType::ReadTimedout,
        source: ErrorSource::Downstream,
        context: "the tunnel was idle for too long",
        client_is_stuck: true,
    },
    Row {
        kind: REQUEST_END,
        etype: ErrorType::ReadTimedout,
        source: ErrorSource::Downstream,
        context: "the request was not complete in time, or came too slowly",
        client_is_stuck: false,
    },
    Row {
        kind: RESPONSE_END,
        etype: ErrorType::ReadTimedout,
        source: ErrorSource::Upstream,
        context: "the upstream's response was not there in time",
        client_is_stuck: false,
    },
    Row {
        kind: DELIVERY_END,
        etype: ErrorType::WriteTimedout,
        source: ErrorSource::Downstream,
        context: "the client has not taken the response in time",
        client_is_stuck: true,
    },
];

fn row(kind: Deadline) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.kind == kind)
}

/// Whether the client is treated as unwritable once this limit is reached.
pub(super) fn client_is_stuck(kind: Deadline) -> bool {
    row(kind).is_some_and(|row| row.client_is_stuck)
}

/// The error for a limit that was reached.
#[cold]
pub fn expired(kind: Deadline) -> BError {
    match row(kind) {
        Some(row) => {
            let (etype, source) = (row.etype.clone(), row.source.clone());
            Error::create(etype, source, Some(row.context.into()), None)
        }
        None => Error::explain(ErrorType::InternalError, "a limit of time was reached"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_one_row_and_its_error() {
        for row in &ROWS {
            let same = ROWS.iter().filter(|other| other.kind == row.kind).count();
            assert_eq!(same, 1, "{row:?}");
            let error = expired(row.kind);
            assert_eq!((error.etype(), error.esource()), (&row.etype, &row.source));
        }
        assert!(!client_is_stuck(RESUME), "it is no limit");
    }
}
