//! Making errors, adding context, and how they are shown.

use crate::*;

#[test]
fn an_undecided_retry_is_a_no_and_never_a_panic() {
    let mut err = Error::new_up(ErrorType::ReadError);
    err.retry = RetryType::ReusedOnly;
    assert!(!err.retry());
    err.retry.decide_reuse(true);
    assert!(err.retry());
    err.retry.decide_reuse(false);
    assert!(err.retry(), "a decision that was made stays");
}

#[test]
fn decide_reuse_says_no_for_a_fresh_connection() {
    let mut retry = RetryType::ReusedOnly;
    retry.decide_reuse(false);
    assert_eq!(retry, RetryType::Decided(false));
}

#[test]
fn display_tells_the_whole_chain_once() {
    let io = std::io::Error::other("boom");
    let err = Error::because(ErrorType::ReadError, "reading the head", io)
        .into_down()
        .more_context("while serving /x");
    let text = err.to_string();
    assert_eq!(
        text,
        "Downstream ReadError context: while serving /x cause: context: reading the head cause: boom"
    );
}

#[test]
fn a_cause_that_blames_nobody_is_not_told_twice() {
    let inner = Error::explain(ErrorType::ConnectRefused, "connecting to 127.0.0.1:1");
    let outer = inner.into_up().more_context("peer: a");
    assert_eq!(
        outer.to_string(),
        "Upstream ConnectRefused context: peer: a cause: context: connecting to 127.0.0.1:1"
    );
    let inner = Error::explain(ErrorType::ConnectRefused, "connecting");
    let outer = Error::because(ErrorType::ConnectRefused, "peer: a", inner).into_up();
    assert_eq!(
        outer.to_string(),
        "Upstream ConnectRefused context: peer: a cause: context: connecting"
    );
}

#[test]
fn codes_are_shown() {
    assert!(
        Error::new(ErrorType::HTTPStatus(503))
            .to_string()
            .contains("HTTPStatus(503)")
    );
    let own = Error::new(ErrorType::new_code("Quota", 7));
    assert!(own.to_string().contains("Quota(7)"));
    assert_eq!(ErrorType::new("Mine").as_str(), "Mine");
}

#[test]
fn more_context_keeps_type_source_and_retry() {
    let mut inner = Error::new_up(ErrorType::ConnectRefused);
    inner.set_retry(true);
    let outer = inner.more_context("peer 127.0.0.1:1");
    assert_eq!(outer.etype(), &ErrorType::ConnectRefused);
    assert_eq!(outer.esource(), &ErrorSource::Upstream);
    assert!(outer.retry());
    assert_eq!(outer.root_etype(), &ErrorType::ConnectRefused);
}

#[test]
fn a_cause_of_ours_hands_on_source_and_retry() {
    let mut inner = Error::new_up(ErrorType::ReadError);
    inner.set_retry(true);
    let outer = Error::because(ErrorType::InternalError, "outer", inner);
    assert_eq!(outer.esource(), &ErrorSource::Upstream);
    assert!(outer.retry());
    assert_eq!(outer.root_etype(), &ErrorType::ReadError);
    assert!(outer.root_cause().downcast_ref::<Error>().is_some());
}

#[test]
fn the_root_cause_of_a_foreign_error_is_that_error() {
    let err = Error::because(ErrorType::ReadError, "x", std::io::Error::other("boom"));
    assert_eq!(err.root_cause().to_string(), "boom");
}

#[test]
fn results_and_options_convert() {
    let parsed: Result<u8> = "300"
        .parse::<u8>()
        .or_err(ErrorType::InternalError, "too big");
    assert_eq!(parsed.unwrap_err().context.unwrap().as_str(), "too big");
    let with: Result<u8> = "300"
        .parse::<u8>()
        .or_err_with(ErrorType::InternalError, || format!("{}", 300));
    assert!(with.unwrap_err().context.unwrap().is_owned());
    let plain: Result<u8> = Err::<u8, _>(7).explain_err(ErrorType::UnknownError, |n| n.to_string());
    assert_eq!(plain.unwrap_err().context.unwrap(), ImmutStr::from("7"));
    let failed: Result<u8> = "300".parse::<u8>().or_fail();
    assert_eq!(failed.unwrap_err().esource(), &ErrorSource::Internal);
    let none: Result<u8> = None.or_err(ErrorType::InternalError, "nothing there");
    assert!(none.is_err());
    let context: Result<u8> = Error::err_in(ErrorType::InternalError);
    let context = context.err_context(|| "outer").unwrap_err();
    assert_eq!(context.context.unwrap().as_str(), "outer");
}

#[test]
fn an_error_is_one_pointer_wide() {
    assert_eq!(size_of::<BError>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), BError>>(), size_of::<usize>());
}
