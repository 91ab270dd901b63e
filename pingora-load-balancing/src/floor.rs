//! Isolates user code on which much depends: a panic in a discovery, check or selector becomes an
//! error of that one call, and ends no task.

use futures::future::FutureExt;
use pingora_error::{BError, Error, ErrorType, Result};
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Calls `work`; the error names `what`.
///
/// # Errors
/// `InternalError` if `work` panicked.
pub(crate) fn caught<T>(what: &str, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panicked(what, &*panic))
}

/// Awaits the future that `work` returns; a panic in either is an error.
///
/// # Errors
/// The error of `work`; `InternalError` if it panicked.
pub(crate) async fn caught_async<T, F>(what: &str, work: impl FnOnce() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let work = AssertUnwindSafe(caught(what, work)?).catch_unwind();
    work.await.map_err(|panic| panicked(what, &*panic))?
}

/// Awaits `work` for at most `limit`; `None` means without limit.
///
/// # Errors
/// The error of `work`; `InternalError` if it took longer.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    what: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let context = format!("{what} was not done within {limit:?}");
        Err(Error::explain(ErrorType::InternalError, context).into_in())
    })
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> BError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    Error::explain(ErrorType::InternalError, format!("{what} panicked: {text}")).into_in()
}
