//! What is open in an exchange. Pure: it is told what happened and answers what to do.

/// The direction from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFlow {
    /// More of the body is to come.
    Open,
    /// Its end was passed on.
    Ended,
    /// The server takes no more of it; its response may still be worth reading.
    Refused,
}

/// The direction from the server to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseFlow {
    /// No final head was seen yet.
    Head,
    /// The final head was passed on; more is to come.
    Body,
    /// Its end was passed on.
    Ended,
}

/// What happens to an exchange when something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// Go on: the other direction may still say something useful.
    GoOn,
    /// End the exchange with this error.
    End,
}

/// The state of an exchange.
///
/// ```text
///   request:   Open ──end──▶ Ended          response:  Head ──final──▶ Body ──end──▶ Ended
///                └─unwritable─▶ Refused                  └───────── end (no body) ─────▲
///
///   finished:  the response ended, and in a tunnel the request as well
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) request: RequestFlow,
    pub(crate) response: ResponseFlow,
    pub(crate) tunnel: bool,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Exchange {
            request: RequestFlow::Open,
            response: ResponseFlow::Head,
            tunnel: false,
        }
    }

    /// Whether more of the request's body is to be read.
    pub(crate) fn wants_body(&self) -> bool {
        self.request == RequestFlow::Open && (self.tunnel || self.response != ResponseFlow::Ended)
    }

    /// Whether more of the response is to be read.
    pub(crate) fn wants_response(&self) -> bool {
        self.response != ResponseFlow::Ended
    }

    /// Whether a client that has nothing more to send is watched for leaving.
    pub(crate) fn watches_client(&self) -> bool {
        self.request != RequestFlow::Open && self.response != ResponseFlow::Ended && !self.tunnel
    }

    /// Whether nothing more is to be read on either side.
    pub(crate) fn finished(&self) -> bool {
        match self.response {
            ResponseFlow::Ended if self.tunnel => self.request != RequestFlow::Open,
            ResponseFlow::Ended => true,
            _ => false,
        }
    }

    pub(crate) fn request_ended(&mut self) {
        if self.request == RequestFlow::Open {
            self.request = RequestFlow::Ended;
        }
    }

    pub(crate) fn head_passed_on(&mut self, end: bool) {
        self.response = if end {
            ResponseFlow::Ended
        } else {
            ResponseFlow::Body
        };
    }

    pub(crate) fn response_ended(&mut self) {
        self.response = ResponseFlow::Ended;
    }

    /// The response switched protocols: both directions are open, whatever was before.
    pub(crate) fn became_tunnel(&mut self) {
        self.tunnel = true;
        self.request = RequestFlow::Open;
        self.response = ResponseFlow::Body;
    }

    /// The server takes no more of the request. An answer that it gave before may still arrive: an
    /// early 413 followed by a reset is to be delivered. In a tunnel there are no answers.
    pub(crate) fn upstream_unwritable(&mut self) -> OnFailure {
        match (self.tunnel, self.response) {
            (true, _) => OnFailure::End,
            (false, _) => {
                self.request = RequestFlow::Refused;
                OnFailure::GoOn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_exchange_walks_through_its_states() {
        let mut exchange = Exchange::new();
        assert!(exchange.wants_body() && exchange.wants_response());
        assert!(!exchange.watches_client() && !exchange.finished());
        exchange.request_ended();
        assert!(!exchange.wants_body() && exchange.watches_client());
        exchange.head_passed_on(false);
        assert!(exchange.wants_response() && !exchange.finished());
        exchange.response_ended();
        assert!(exchange.finished() && !exchange.watches_client() && !exchange.wants_response());
    }

    #[test]
    fn a_response_without_body_ends_with_its_head() {
        let mut exchange = Exchange::new();
        exchange.head_passed_on(true);
        assert!(exchange.finished());
        assert!(!exchange.wants_body(), "an early answer stops the upload");
    }

    #[test]
    fn a_tunnel_ends_when_both_directions_did() {
        let mut exchange = Exchange::new();
        exchange.request_ended();
        exchange.became_tunnel();
        assert!(
            exchange.wants_body(),
            "the direction to the server opens again"
        );
        exchange.response_ended();
        assert!(!exchange.finished() && exchange.wants_body());
        exchange.request_ended();
        assert!(exchange.finished());
    }

    #[test]
    fn an_unwritable_server_may_still_answer_except_in_a_tunnel() {
        let mut exchange = Exchange::new();
        assert_eq!(exchange.upstream_unwritable(), OnFailure::GoOn);
        assert!(!exchange.wants_body() && exchange.wants_response() && exchange.watches_client());
        exchange.request_ended();
        assert_eq!(
            exchange.request,
            RequestFlow::Refused,
            "refused stays refused"
        );
        exchange.became_tunnel();
        assert_eq!(exchange.upstream_unwritable(), OnFailure::End);
    }
}
