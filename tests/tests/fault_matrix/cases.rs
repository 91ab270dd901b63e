//! The points of an exchange, the faults that occur there, and the behaviour that docs/retries.md
//! promises for them.

use super::Column;
use pingora_tests::Version;

/// The point at which the fault occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// Before the request.
    Accepted,
    /// After some of the request's body.
    Request,
    /// After the request.
    Asked,
    /// In the response's head.
    Head,
    /// After an informational response.
    Interim,
    /// After the response's head.
    Begun,
    /// In a body of declared length.
    Body,
    /// At the end of a body of undeclared length.
    End,
    /// After a complete response.
    After,
}

/// The fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
    /// The stream is reset; HTTP/2 only.
    ResetStream,
    /// Nothing more is sent.
    Stall,
    /// Data is sent continuously, but never completes anything.
    Trickle,
    /// More data than announced is sent: it looks like the answer to the next request.
    Long,
    /// The end comes before the announced length; HTTP/2 only, over HTTP/1 that is a close.
    Short,
    /// The answer 413 comes early, and the rest of the request is read.
    Early,
    /// The answer 413 comes early, and the connection is closed.
    EarlyClose,
    /// The answer 503 comes early, which is a reason to retry.
    Busy,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) point: Point,
    pub(super) fault: Fault,
}

/// The limit that is needed to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    None,
    Try,
    Request,
}

impl Limit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Limit::None => "none",
            Limit::Try => "try",
            Limit::Request => "all",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// A complete response.
    Whole(u16),
    /// The beginning of a response with status 200.
    Cut,
    /// The second origin's response.
    OfTheOther,
}

impl Case {
    pub(super) fn is_within_request(&self) -> bool {
        self.point == Point::Request
    }

    /// Whether the client has the response's head when the fault occurs.
    pub(super) fn is_begun(&self) -> bool {
        self.point >= Point::Begun
    }

    pub(super) fn limit(&self) -> Limit {
        match self.fault {
            Fault::Stall | Fault::Trickle if self.point < Point::Interim => Limit::Try,
            Fault::Stall | Fault::Trickle => Limit::Request,
            _ => Limit::None,
        }
    }

    /// Whether the proxy has to end the connection or the stream, because the origin did not and it is
    /// unusable.
    pub(super) fn has_to_be_let_go(&self, up: Version) -> bool {
        match self.fault {
            Fault::Stall | Fault::Trickle => true,
            // Over HTTP/2, the stream is over in any case.
            Fault::Long => up == Version::H1,
            _ => false,
        }
    }

    pub(super) fn expected(&self, column: Column) -> Expected {
        let retries = column.retries;
        match (self.point, self.fault) {
            (_, Fault::Early | Fault::EarlyClose) => Expected::Whole(413),
            (_, Fault::Busy) if retries => Expected::OfTheOther,
            (_, Fault::Busy) => Expected::Whole(503),
            (Point::After, _) => Expected::Whole(200),
            _ if self.is_begun() => Expected::Cut,
            // The client has already received something.
            (point, _) if retries && point != Point::Interim => Expected::OfTheOther,
            (_, Fault::Stall | Fault::Trickle) => Expected::Whole(504),
            _ => Expected::Whole(502),
        }
    }

    fn exists(&self, up: Version) -> bool {
        use Fault::*;
        let http2 = up == Version::H2;
        match self.fault {
            Early | Busy => self.point == Point::Request,
            // A close with unread bytes is a reset, which may overtake the answer: over HTTP/2, the body of a
            // whole stream window is in flight.
            EarlyClose => !http2 && self.point == Point::Request,
            ResetStream => http2 && self.point > Point::Accepted && self.point != Point::Head,
            Short => http2 && self.point == Point::Body,
            Long => self.point == Point::After || http2 && self.point == Point::Body,
            // Bytes before the settings would not be HTTP/2.
            Trickle if http2 && self.point == Point::Accepted => false,
            // Such an HTTP/2 connection can't carry anything else.
            Stall | Trickle => self.point != Point::After && !(http2 && self.point == Point::Head),
            Reset | Close => true,
        }
    }
}

pub(super) fn all_cases(up: Version) -> Vec<Case> {
    use Fault::*;
    use Point::*;
    let points = [
        Accepted, Request, Asked, Head, Interim, Begun, Body, End, After,
    ];
    let faults = [
        Reset,
        Close,
        ResetStream,
        Stall,
        Trickle,
        Long,
        Short,
        Early,
        EarlyClose,
        Busy,
    ];
    let all = points
        .iter()
        .flat_map(|point| faults.map(|fault| (*point, fault)));
    all.map(|(point, fault)| Case { point, fault })
        .filter(|case| case.exists(up))
        .collect()
}
