//! `pingora_error`: how programs create, inspect and extend errors.

use crate::any;
use pingora_error::*;

fn contexts_of_results() {
    let _: Result<u8> = any::<Result<u8>>().err_context(|| "a");
    let io = any::<Result<u8, std::io::Error>>;
    let _: Result<u8> = io().or_err(ErrorType::ReadError, "a");
    let _: Result<u8> = io().or_err_with(ErrorType::ReadError, || "a");
    let _: Result<u8> = io().or_err_with(ErrorType::ReadError, || format!("{}", 1));
    let _: Result<u8> = io().or_fail();
    let _: Result<u8> =
        any::<Result<u8, u16>>().explain_err(ErrorType::ReadError, |e| format!("{e}"));
    let _: Result<u8> = any::<Option<u8>>().or_err(ErrorType::ReadError, "a");
    let _: Result<u8> = any::<Option<u8>>().or_err_with(ErrorType::ReadError, || "a");
    let _ = (
        ImmutStr::from("a"),
        ImmutStr::from(String::new()),
        RetryType::from(true),
    );
}

fn the_immut_str(it: &mut ImmutStr) {
    match it {
        ImmutStr::Static(a) => {
            let _: &mut &'static str = a;
        }
        ImmutStr::Owned(a) => {
            let _: &mut Box<str> = a;
        }
    }
    let _: &str = it.as_str();
    let _: bool = it.is_owned();
    is_display::<ImmutStr>();
    is_eq::<ImmutStr>();
    is_partial_eq::<ImmutStr>();
}

fn the_error(it: &mut Error) {
    let _ = Error {
        etype: any::<ErrorType>(),
        esource: any::<ErrorSource>(),
        retry: any::<RetryType>(),
        cause: any::<Option<Box<dyn ErrorTrait + Send + Sync>>>(),
        context: any::<Option<ImmutStr>>(),
    };
    let _: &ErrorType = &it.etype;
    let _: &ErrorSource = &it.esource;
    let _: &RetryType = &it.retry;
    let _: &Option<Box<dyn ErrorTrait + Send + Sync>> = &it.cause;
    let _: &Option<ImmutStr> = &it.context;
    let _: BError = Error::create(
        any::<ErrorType>(),
        any::<ErrorSource>(),
        any::<Option<ImmutStr>>(),
        any::<Option<Box<dyn ErrorTrait + Send + Sync>>>(),
    );
    let _: BError = Error::new(any::<ErrorType>());
    let _: BError = Error::because(any::<ErrorType>(), "context", any::<std::io::Error>());
    let _: Result<u8> = Error::e_because(any::<ErrorType>(), "a", any::<std::io::Error>());
    let _: BError = Error::explain(any::<ErrorType>(), "context");
    let _: Result<u8> = Error::e_explain(any::<ErrorType>(), "a");
    let _: BError = Error::new_up(any::<ErrorType>());
    let _: BError = Error::new_down(any::<ErrorType>());
    let _: BError = Error::new_in(any::<ErrorType>());
    let _: BError = Error::new_str(any::<&'static str>());
    let _: Result<u8> = Error::err(any::<ErrorType>());
    let _: Result<u8> = Error::err_up(any::<ErrorType>());
    let _: Result<u8> = Error::err_down(any::<ErrorType>());
    let _: Result<u8> = Error::err_in(any::<ErrorType>());
    let _: &ErrorType = it.etype();
    let _: &ErrorSource = it.esource();
    let _: bool = it.retry();
    it.set_retry(true);
    let _: &str = it.reason_str();
    let _: &str = it.source_str();
    it.as_up();
    it.as_down();
    it.as_in();
    let _: BError = any::<BError>().into_up();
    let _: BError = any::<BError>().into_down();
    let _: BError = any::<BError>().into_in();
    let _: Result<u8> = any::<BError>().into_err();
    it.set_cause(any::<std::io::Error>());
    it.set_context("context");
    let _: BError = any::<BError>().more_context("context");
    let _: &ErrorType = it.root_etype();
    let _: &(dyn ErrorTrait + Send + Sync) = it.root_cause();
    is_display::<Error>();
    is_error::<Error>();
}

fn the_error_source(it: &mut ErrorSource) {
    match it {
        ErrorSource::Upstream => {}
        ErrorSource::Downstream => {}
        ErrorSource::Internal => {}
        ErrorSource::Unset => {}
    }
    let _: &'static str = it.as_str();
    is_eq::<ErrorSource>();
    is_partial_eq::<ErrorSource>();
}

fn the_retry_type(it: &mut RetryType) {
    match it {
        RetryType::Decided(a) => {
            let _: &mut bool = a;
        }
        RetryType::ReusedOnly => {}
    }
    it.decide_reuse(true);
    let _: bool = it.retry();
    is_eq::<RetryType>();
    is_partial_eq::<RetryType>();
}

fn the_error_type(it: &mut ErrorType) {
    match it {
        ErrorType::ConnectTimedout => {}
        ErrorType::ConnectRefused => {}
        ErrorType::ConnectNoRoute => {}
        ErrorType::TLSWantX509Lookup => {}
        ErrorType::TLSHandshakeFailure => {}
        ErrorType::TLSHandshakeTimedout => {}
        ErrorType::InvalidCert => {}
        ErrorType::HandshakeError => {}
        ErrorType::ConnectError => {}
        ErrorType::BindError => {}
        ErrorType::AcceptError => {}
        ErrorType::SocketError => {}
        ErrorType::ConnectProxyFailure => {}
        ErrorType::InvalidHTTPHeader => {}
        ErrorType::H1Error => {}
        ErrorType::H2Error => {}
        ErrorType::H2Downgrade => {}
        ErrorType::InvalidH2 => {}
        ErrorType::ReadError => {}
        ErrorType::WriteError => {}
        ErrorType::ReadTimedout => {}
        ErrorType::WriteTimedout => {}
        ErrorType::ConnectionClosed => {}
        ErrorType::HTTPStatus(a) => {
            let _: &mut u16 = a;
        }
        ErrorType::FileOpenError => {}
        ErrorType::FileCreateError => {}
        ErrorType::FileReadError => {}
        ErrorType::FileWriteError => {}
        ErrorType::InternalError => {}
        ErrorType::UnknownError => {}
        ErrorType::Custom(a) => {
            let _: &mut &'static str = a;
        }
        ErrorType::CustomCode(a, b) => {
            let _: (&mut &'static str, &mut u16) = (a, b);
        }
    }
    let _: ErrorType = ErrorType::new(any::<&'static str>());
    let _: ErrorType = ErrorType::new_code(any::<&'static str>(), 502);
    let _: &'static str = it.as_str();
    is_eq::<ErrorType>();
    is_partial_eq::<ErrorType>();
}

fn functions_and_constants() {
    let _: BError = any::<Box<Error>>();
}

fn is_display<T: std::fmt::Display>() {}
fn is_eq<T: Eq>() {}
fn is_partial_eq<T: PartialEq>() {}
fn is_error<T: std::error::Error>() {}
