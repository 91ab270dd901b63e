//! Sessions over protocols that this crate does not know: the traits that another crate implements
//! to have them served and proxied to.
//!
//! | side | trait | made by |
//! |---|---|---|
//! | of clients | [`SessionCustom`] | the code that accepts the connection; [`serve_custom`](crate::apps::serve_custom) serves it |
//! | of upstreams | [`ClientSessionCustom`] | a [connector](crate::connectors::http::custom::Connector) |
//!
//! Both extend the two halves of an exchange ([`exchange`](super::exchange)), which the engine
//! drives. They add what phases need from any session, and what keeps a connection for its next
//! exchange.

mod client;
mod messages;
mod server;

pub use super::session_options::SessionOptions;
pub use client::ClientSessionCustom;
pub use messages::{
    BodyWrite, CUSTOM_MESSAGE_QUEUE_SIZE, CustomMessageWrite, drain_custom_messages,
};
pub use server::SessionCustom;

/// Whether a status is informational, except for 101, which switches protocols.
pub fn is_informational_except_101<T: PartialOrd<u32>>(code: T) -> bool {
    code > 99 && code < 200 && code != 101
}
