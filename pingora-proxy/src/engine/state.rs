//! The state of an exchange. Pure: it is told about events and answers what to do.

/// The client's side as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// It is sending, or waiting for the response.
    Present,
    /// It has left, and the response is still read for another consumer: nothing is read from the client,
    /// and data queued for it does not hold up the upstream.
    Gone,
}

/// The direction from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFlow {
    /// More of the body is to come.
    Open,
    /// Its end has been passed on.
    Ended,
    /// The server accepts no more of it; its response may still be worth reading.
    Refused,
}

/// The direction from the server to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFlow {
    /// No final head has been seen yet.
    Head,
    /// The final head has been passed on; more is to come.
    Body,
    /// Its end has been passed on.
    Ended,
}

/// The consequence of a failure for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Continue: the other direction may still carry something useful.
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
///   client:    Present ──left──▶ Gone
///
///   finished:  the response ended, and in a tunnel the request as well
/// ```
///
/// Inputs: `request_wanted`, `request_ended`, `head_passed_on`, `response_ended`,
/// `became_tunnel`, `upstream_unwritable`, `client_left`. Queries: `wants_body`,
/// `wants_response`, `watches_client`, `serves_client`, `finished`.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// The direction from the client to the server.
    pub request: RequestFlow,
    /// The direction from the server to the client.
    pub response: ResponseFlow,
    /// The client's side as a whole.
    pub client: Client,
    /// Both directions carry raw bytes.
    pub tunnel: bool,
}

impl Default for Exchange {
    fn default() -> Self {
        Exchange::new()
    }
}

impl Exchange {
    /// Between a client that sends a request and an upstream that receives it.
    pub fn new() -> Self {
        Exchange {
            request: RequestFlow::Open,
            response: ResponseFlow::Head,
            client: Client::Present,
            tunnel: false,
        }
    }

    /// Between a client and a source that answers without receiving the request's body: a store, or a
    /// sub-request that has not asked for it.
    pub fn without_request() -> Self {
        Exchange {
            request: RequestFlow::Ended,
            ..Exchange::new()
        }
    }

    /// The source asks for the request's body after all.
    pub fn request_wanted(&mut self) {
        if self.request == RequestFlow::Ended {
            self.request = RequestFlow::Open;
        }
    }

    /// The client has left, and the response is still read for another consumer. There is no request left
    /// to read.
    pub fn client_left(&mut self) {
        self.client = Client::Gone;
        if self.request == RequestFlow::Open {
            self.request = RequestFlow::Refused;
        }
    }

    /// Whether there is a client to write to.
    pub fn serves_client(&self) -> bool {
        self.client == Client::Present
    }

    /// Whether to read more of the request's body.
    pub fn wants_body(&self) -> bool {
        self.request == RequestFlow::Open && (self.tunnel || self.response != ResponseFlow::Ended)
    }

    /// Whether to read more of the response.
    pub fn wants_response(&self) -> bool {
        self.response != ResponseFlow::Ended
    }

    /// Whether to watch a client that has nothing more to send, in case it leaves.
    pub fn watches_client(&self) -> bool {
        self.request != RequestFlow::Open
            && self.response != ResponseFlow::Ended
            && self.serves_client()
            && !self.tunnel
    }

    /// Whether there is nothing more to read on either side.
    pub fn finished(&self) -> bool {
        match self.response {
            ResponseFlow::Ended if self.tunnel => self.request != RequestFlow::Open,
            ResponseFlow::Ended => true,
            _ => false,
        }
    }

    /// The end of the request has been passed on.
    pub fn request_ended(&mut self) {
        if self.request == RequestFlow::Open {
            self.request = RequestFlow::Ended;
        }
    }

    /// The final head has been passed on. `end`: the response has no body.
    pub fn head_passed_on(&mut self, end: bool) {
        self.response = if end {
            ResponseFlow::Ended
        } else {
            ResponseFlow::Body
        };
    }

    /// The end of the response has been passed on.
    pub fn response_ended(&mut self) {
        self.response = ResponseFlow::Ended;
    }

    /// The response switched protocols: both directions are open, regardless of their earlier state.
    pub fn became_tunnel(&mut self) {
        self.tunnel = true;
        self.request = RequestFlow::Open;
        self.response = ResponseFlow::Body;
    }

    /// The server accepts no more of the request. An answer that it sent earlier may still arrive: an
    /// early 413 followed by a reset must be delivered. In a tunnel there are no answers.
    pub fn upstream_unwritable(&mut self) -> OnFailure {
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
    fn a_response_is_read_on_after_its_client_has_left() {
        let mut exchange = Exchange::new();
        exchange.client_left();
        assert!(!exchange.wants_body() && !exchange.watches_client());
        assert!(exchange.wants_response() && !exchange.serves_client());
        exchange.head_passed_on(false);
        exchange.response_ended();
        assert!(exchange.finished());
    }

    #[test]
    fn a_source_that_takes_no_request_may_ask_for_it_later() {
        let mut exchange = Exchange::without_request();
        assert!(!exchange.wants_body() && exchange.watches_client());
        exchange.request_wanted();
        assert!(exchange.wants_body() && !exchange.watches_client());
        let mut exchange = Exchange::new();
        exchange.client_left();
        exchange.request_wanted();
        assert!(!exchange.wants_body(), "there is nobody to read it from");
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
