//! WebSocket across HTTP versions: an HTTP/1.1 upgrade (RFC 6455) on one side is an HTTP/2 extended
//! CONNECT (RFC 8441) on the other.
//!
//! Pure functions over heads. The bytes that flow afterwards are the same in both versions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE, UPGRADE,
};
use http::{Method, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_h2::ext::Protocol;
use pingora_http::{ControlField, RequestHeader, ResponseHeader};

use super::h1::list_elements;

/// The suffix used to compute the answer to a handshake's key (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: &str = "websocket";
const UPGRADE_OPTION: HeaderValue = HeaderValue::from_static("Upgrade");
const WEBSOCKET_TOKEN: HeaderValue = HeaderValue::from_static(WEBSOCKET);

/// A handshake that has a different form on the two sides of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bridge {
    /// The client sent an HTTP/1.1 upgrade; the server gets an extended CONNECT. The client expects
    /// this answer to its key.
    ToConnect {
        /// The value of `Sec-WebSocket-Accept`.
        accept: HeaderValue,
    },
    /// The client sent an extended CONNECT; the server gets an HTTP/1.1 upgrade and has to answer our
    /// key.
    ToUpgrade {
        /// The value of `Sec-WebSocket-Accept`.
        accept: HeaderValue,
    },
}

/// The protocol that an extended CONNECT asks for.
pub fn connect_protocol(request: &RequestHeader) -> Option<&str> {
    if request.line().method != Method::CONNECT {
        return None;
    }
    request.extensions.get::<Protocol>().map(Protocol::as_str)
}

/// Whether the request is an HTTP/1.1 upgrade to WebSocket. Call this after the request's
/// hop-by-hop fields were processed: the remaining ones are valid.
pub fn asks_for_upgrade(request: &RequestHeader) -> bool {
    let mut found = false;
    request.for_each_control_field(|field, value| {
        found |= field == ControlField::Upgrade
            && list_elements(value).any(|token| token.eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    });
    found && request.line().method == Method::GET
}

impl Bridge {
    /// Turns an upgrade into an extended CONNECT (RFC 8441 section 5).
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, the client's fault: the upgrade has no key, or several.
    pub fn to_connect(request: &mut RequestHeader) -> Result<Bridge> {
        let mut keys = request.headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            let context = "a WebSocket upgrade needs exactly one Sec-WebSocket-Key";
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, context).into_down());
        };
        let accept = accept_for(key.as_bytes())?;
        for name in [&SEC_WEBSOCKET_KEY, &UPGRADE, &CONNECTION] {
            request.remove_header(name);
        }
        request.set_method(Method::CONNECT);
        request
            .extensions_mut()
            .insert(Protocol::from_static(WEBSOCKET));
        Ok(Bridge::ToConnect { accept })
    }

    /// Turns an extended CONNECT into an upgrade. `nonce` must be random (RFC 6455 section 4.1).
    ///
    /// # Errors
    /// The client's fault, with status 501: another protocol than WebSocket is requested, which
    /// HTTP/1.1 can't express.
    pub fn to_upgrade(request: &mut RequestHeader, nonce: [u8; 16]) -> Result<Bridge> {
        if !connect_protocol(request).is_some_and(|name| name.eq_ignore_ascii_case(WEBSOCKET)) {
            let context = "only WebSocket can be carried from extended CONNECT to HTTP/1.1";
            return Err(Error::explain(ErrorType::HTTPStatus(501), context).into_down());
        }
        let key = BASE64.encode(nonce);
        let accept = accept_for(key.as_bytes())?;
        request.extensions_mut().remove::<Protocol>();
        request.set_method(Method::GET);
        // `Connection` is rebuilt, and would not name it; a tunnel has no trailers.
        request.remove_header(&TE);
        request.insert_header(CONNECTION, UPGRADE_OPTION)?;
        request.insert_header(UPGRADE, WEBSOCKET_TOKEN)?;
        request.insert_header(SEC_WEBSOCKET_KEY, key)?;
        Ok(Bridge::ToUpgrade { accept })
    }

    /// Turns the server's answer into the one that the client waits for. An answer that opens no
    /// tunnel passes unchanged.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, the upstream's fault: it answers an upgrade with a 2xx that is not a
    /// switch, or without having seen our key. The client would treat it as an open tunnel.
    pub fn answer(&self, response: &mut ResponseHeader) -> Result<()> {
        let status = response.line().status;
        match self {
            Bridge::ToConnect { accept } if status.is_success() => {
                response.set_status(StatusCode::SWITCHING_PROTOCOLS)?;
                for name in LENGTHS {
                    response.remove_header(name);
                }
                response.insert_header(CONNECTION, UPGRADE_OPTION)?;
                response.insert_header(UPGRADE, WEBSOCKET_TOKEN)?;
                response.insert_header(SEC_WEBSOCKET_ACCEPT, accept.clone())
            }
            Bridge::ToUpgrade { accept } if status == StatusCode::SWITCHING_PROTOCOLS => {
                if response.headers.get(SEC_WEBSOCKET_ACCEPT) != Some(accept) {
                    return refuse("the upstream answered a WebSocket upgrade with a wrong key");
                }
                for name in [&SEC_WEBSOCKET_ACCEPT, &UPGRADE, &CONNECTION] {
                    response.remove_header(name);
                }
                for name in LENGTHS {
                    response.remove_header(name);
                }
                response.set_status(StatusCode::OK)
            }
            Bridge::ToUpgrade { .. } if status.is_success() => {
                refuse("the upstream answered a WebSocket upgrade with a success that is none")
            }
            _ => Ok(()),
        }
    }
}

/// Fields that have no meaning where a tunnel begins (RFC 9110 sections 8.6 and 9.3.6).
const LENGTHS: [&HeaderName; 2] = [
    &http::header::CONTENT_LENGTH,
    &http::header::TRANSFER_ENCODING,
];

#[cold]
fn refuse(context: &'static str) -> Result<()> {
    Err(Error::explain(ErrorType::InvalidHTTPHeader, context).into_up())
}

/// The answer to a key (RFC 6455 section 4.2.2).
fn accept_for(key: &[u8]) -> Result<HeaderValue> {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.trim_ascii());
    hash.update(ACCEPT_SUFFIX);
    let accept = BASE64.encode(hash.digest().bytes());
    HeaderValue::from_str(&accept)
        .map_err(|e| Error::because(ErrorType::InternalError, "answering a WebSocket key", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and its answer in RFC 6455 section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn upgrade() -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/chat?room=1", None).unwrap();
        for (name, value) in [
            ("Host", "a.test"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", "chat"),
        ] {
            request.append_header(name, value).unwrap();
        }
        request
    }

    fn connect(protocol: &'static str) -> RequestHeader {
        let mut request = RequestHeader::build("CONNECT", b"/chat", None).unwrap();
        request
            .extensions_mut()
            .insert(Protocol::from_static(protocol));
        request
            .append_header("sec-websocket-version", "13")
            .unwrap();
        request
    }

    fn response(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    #[test]
    fn an_upgrade_becomes_extended_connect_and_its_answer_an_upgrade() {
        let mut request = upgrade();
        assert!(asks_for_upgrade(&request));
        let bridge = Bridge::to_connect(&mut request).unwrap();
        assert_eq!(request.method, Method::CONNECT);
        assert_eq!(connect_protocol(&request), Some("websocket"));
        assert_eq!(request.raw_path(), b"/chat?room=1");
        let mut names: Vec<_> = request.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["host", "sec-websocket-protocol", "sec-websocket-version"]
        );

        let mut answer = response(200, &[("sec-websocket-protocol", "chat")]);
        bridge.answer(&mut answer).unwrap();
        assert_eq!(answer.status, 101);
        assert_eq!(answer.headers[SEC_WEBSOCKET_ACCEPT], ACCEPT);
        assert_eq!(answer.headers[UPGRADE], "websocket");
        assert_eq!(answer.headers["sec-websocket-protocol"], "chat");

        let mut refused = response(403, &[("content-length", "0")]);
        bridge.answer(&mut refused).unwrap();
        assert_eq!(refused.status, 403);
        assert_eq!(refused.headers["content-length"], "0");
    }

    #[test]
    fn an_upgrade_without_one_key_is_refused() {
        let mut request = upgrade();
        request.remove_header("Sec-WebSocket-Key");
        assert!(Bridge::to_connect(&mut request).is_err());
        let mut request = upgrade();
        request.append_header("Sec-WebSocket-Key", KEY).unwrap();
        assert!(Bridge::to_connect(&mut request).is_err());
    }

    #[test]
    fn extended_connect_becomes_an_upgrade_and_its_answer_a_success() {
        let mut request = connect("websocket");
        let nonce = *b"the sample nonce";
        let bridge = Bridge::to_upgrade(&mut request, nonce).unwrap();
        assert_eq!(request.method, Method::GET);
        assert_eq!(connect_protocol(&request), None);
        assert_eq!(request.headers[SEC_WEBSOCKET_KEY], KEY);
        assert!(asks_for_upgrade(&request));

        let fields = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", ACCEPT),
            ("sec-websocket-protocol", "chat"),
        ];
        let mut answer = response(101, &fields);
        bridge.answer(&mut answer).unwrap();
        assert_eq!(answer.status, 200);
        let names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["sec-websocket-protocol"]);
    }

    #[test]
    fn what_is_no_tunnel_is_not_taken_for_one() {
        let bridge = Bridge::to_upgrade(&mut connect("websocket"), [7; 16]).unwrap();
        for (status, fields, passes) in [
            (404, &[][..], true),
            (302, &[], true),
            (200, &[], false),
            (204, &[], false),
            (101, &[], false),
            (101, &[("sec-websocket-accept", ACCEPT)], false),
            (103, &[], true),
        ] {
            let mut answer = response(status, fields);
            assert_eq!(bridge.answer(&mut answer).is_ok(), passes, "{status}");
            assert_eq!(answer.status, status);
        }
    }

    #[test]
    fn other_protocols_stay_within_http2() {
        for protocol in ["connect-udp", ""] {
            let error = Bridge::to_upgrade(&mut connect(protocol), [0; 16]).unwrap_err();
            assert_eq!(error.etype(), &ErrorType::HTTPStatus(501));
        }
        let mut plain = RequestHeader::build("CONNECT", b"a.test:443", None).unwrap();
        assert!(Bridge::to_upgrade(&mut plain, [0; 16]).is_err());
    }
}
