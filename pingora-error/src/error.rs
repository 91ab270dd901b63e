//! The error type: what went wrong, whose fault it is, and whether to try again.

use crate::{ErrorSource, ErrorTrait, ErrorType, ImmutStr, RetryType};
use std::fmt;

/// An [`Error`] on the heap: one pointer wide, so that [`Result`] stays small.
pub type BError = Box<Error>;

/// The framework's result type.
pub type Result<T, E = BError> = std::result::Result<T, E>;

/// Says what went wrong, whose fault it is, whether to retry, and what caused it.
///
/// The constructors follow one scheme: [`new`](Error::new) and its variants return a [`BError`]; those
/// whose names begin with `e_` or `err` return it wrapped in `Err`, ready for `return`.
///
/// `Debug` shows the same line as `Display`, because programs that unwrap a result print it.
pub struct Error {
    /// The kind of error.
    pub etype: ErrorType,
    /// The side at fault.
    pub esource: ErrorSource,
    /// Whether the request may be retried.
    pub retry: RetryType,
    /// The underlying error.
    pub cause: Option<Box<dyn ErrorTrait + Send + Sync>>,
    /// A sentence for the log.
    pub context: Option<ImmutStr>,
}

impl Error {
    /// An error from all its parts. It is not retried unless [`Error::set_retry`] allows it.
    ///
    /// If `cause` is itself an [`Error`], its source and its retry decision carry over.
    pub fn create(
        etype: ErrorType,
        esource: ErrorSource,
        context: Option<ImmutStr>,
        cause: Option<Box<dyn ErrorTrait + Send + Sync>>,
    ) -> BError {
        let inherited = cause.as_ref().and_then(|c| c.downcast_ref::<BError>());
        let retry = inherited.map_or(RetryType::Decided(false), |e| e.retry);
        let esource = match (esource, inherited) {
            (ErrorSource::Unset, Some(inner)) => inner.esource.clone(),
            (source, _) => source,
        };
        Box::new(Error {
            etype,
            esource,
            retry,
            cause,
            context,
        })
    }

    #[inline]
    fn bare(etype: ErrorType, esource: ErrorSource) -> BError {
        Error::create(etype, esource, None, None)
    }

    /// An error of this type, with no further information.
    #[inline]
    pub fn new(e: ErrorType) -> BError {
        Error::bare(e, ErrorSource::Unset)
    }

    /// An error with a sentence for the log and the error that caused it.
    pub fn because<S, E>(e: ErrorType, context: S, cause: E) -> BError
    where
        S: Into<ImmutStr>,
        E: Into<Box<dyn ErrorTrait + Send + Sync>>,
    {
        Error::create(
            e,
            ErrorSource::Unset,
            Some(context.into()),
            Some(cause.into()),
        )
    }

    /// [`Error::because`], wrapped in `Err`.
    pub fn e_because<T, S, E>(e: ErrorType, context: S, cause: E) -> Result<T>
    where
        S: Into<ImmutStr>,
        E: Into<Box<dyn ErrorTrait + Send + Sync>>,
    {
        Err(Error::because(e, context, cause))
    }

    /// An error with a sentence for the log.
    pub fn explain<S: Into<ImmutStr>>(e: ErrorType, context: S) -> BError {
        Error::create(e, ErrorSource::Unset, Some(context.into()), None)
    }

    /// [`Error::explain`], wrapped in `Err`.
    pub fn e_explain<T, S: Into<ImmutStr>>(e: ErrorType, context: S) -> Result<T> {
        Err(Error::explain(e, context))
    }

    /// An error that is the upstream's fault.
    #[inline]
    pub fn new_up(e: ErrorType) -> BError {
        Error::bare(e, ErrorSource::Upstream)
    }

    /// An error that is the downstream's fault.
    #[inline]
    pub fn new_down(e: ErrorType) -> BError {
        Error::bare(e, ErrorSource::Downstream)
    }

    /// An error of this process.
    #[inline]
    pub fn new_in(e: ErrorType) -> BError {
        Error::bare(e, ErrorSource::Internal)
    }

    /// A user-defined error, by name ([`ErrorType::Custom`]).
    #[inline]
    pub fn new_str(s: &'static str) -> BError {
        Error::new(ErrorType::Custom(s))
    }

    /// [`Error::new`], wrapped in `Err`.
    #[inline]
    pub fn err<T>(e: ErrorType) -> Result<T> {
        Err(Error::new(e))
    }

    /// [`Error::new_up`], wrapped in `Err`.
    #[inline]
    pub fn err_up<T>(e: ErrorType) -> Result<T> {
        Err(Error::new_up(e))
    }

    /// [`Error::new_down`], wrapped in `Err`.
    #[inline]
    pub fn err_down<T>(e: ErrorType) -> Result<T> {
        Err(Error::new_down(e))
    }

    /// [`Error::new_in`], wrapped in `Err`.
    #[inline]
    pub fn err_in<T>(e: ErrorType) -> Result<T> {
        Err(Error::new_in(e))
    }

    /// The kind of error.
    pub fn etype(&self) -> &ErrorType {
        &self.etype
    }

    /// The side at fault.
    pub fn esource(&self) -> &ErrorSource {
        &self.esource
    }

    /// Whether the request may be retried. `false` while undecided.
    pub fn retry(&self) -> bool {
        self.retry.retry()
    }

    /// Decides whether the request may be retried.
    pub fn set_retry(&mut self, retry: bool) {
        self.retry = retry.into();
    }

    /// The name of the type, for the log.
    pub fn reason_str(&self) -> &str {
        self.etype.as_str()
    }

    /// The name of the source, for the log.
    pub fn source_str(&self) -> &str {
        self.esource.as_str()
    }

    /// Marks the error as the upstream's fault.
    pub fn as_up(&mut self) {
        self.esource = ErrorSource::Upstream;
    }

    /// Marks the error as the downstream's fault.
    pub fn as_down(&mut self) {
        self.esource = ErrorSource::Downstream;
    }

    /// Marks the error as this process's fault.
    pub fn as_in(&mut self) {
        self.esource = ErrorSource::Internal;
    }

    /// Marks the error as the upstream's fault and passes it on.
    pub fn into_up(mut self: BError) -> BError {
        self.as_up();
        self
    }

    /// Marks the error as the downstream's fault and passes it on.
    pub fn into_down(mut self: BError) -> BError {
        self.as_down();
        self
    }

    /// Marks the error as this process's fault and passes it on.
    pub fn into_in(mut self: BError) -> BError {
        self.as_in();
        self
    }

    /// The error wrapped in `Err`.
    pub fn into_err<T>(self: BError) -> Result<T> {
        Err(self)
    }

    /// Sets the underlying error.
    pub fn set_cause<C: Into<Box<dyn ErrorTrait + Send + Sync>>>(&mut self, cause: C) {
        self.cause = Some(cause.into());
    }

    /// Sets the sentence for the log.
    pub fn set_context<T: Into<ImmutStr>>(&mut self, context: T) {
        self.context = Some(context.into());
    }

    /// A new error of the same type, source and retry decision that has this one as its cause.
    pub fn more_context<T: Into<ImmutStr>>(self: BError, context: T) -> BError {
        let (etype, esource, retry) = (self.etype.clone(), self.esource.clone(), self.retry);
        let mut outer = Error::create(etype, esource, Some(context.into()), Some(Box::new(self)));
        outer.retry = retry;
        outer
    }

    /// The type of the innermost error of this crate in the chain of causes.
    pub fn root_etype(&self) -> &ErrorType {
        self.inner().map_or(&self.etype, Error::root_etype)
    }

    /// The innermost cause; the error itself if it has none.
    pub fn root_cause(&self) -> &(dyn ErrorTrait + Send + Sync + 'static) {
        match (self.inner(), self.cause.as_deref()) {
            (Some(inner), _) => inner.root_cause(),
            (None, Some(foreign)) => foreign,
            (None, None) => self,
        }
    }

    /// The cause, if it is an error of this crate.
    fn inner(&self) -> Option<&Error> {
        self.cause
            .as_deref()
            .and_then(|c| c.downcast_ref::<BError>())
            .map(|b| &**b)
    }

    /// Writes type, source, context and cause along the chain. Type and source of an inner error are
    /// written only if they differ from the outer one's.
    fn write_chain(&self, f: &mut fmt::Formatter<'_>, outer: Option<&Error>) -> fmt::Result {
        let mut separator = "";
        let told = |o: &Error| {
            o.etype == self.etype
                && (o.esource == self.esource || self.esource == ErrorSource::Unset)
        };
        if !outer.is_some_and(told) {
            if self.esource != ErrorSource::Unset {
                write!(f, "{} ", self.source_str())?;
            }
            f.write_str(&self.etype_text())?;
            separator = " ";
        }
        if let Some(context) = &self.context {
            write!(f, "{separator}context: {context}")?;
            separator = " ";
        }
        if let Some(inner) = self.inner() {
            write!(f, "{separator}cause: ")?;
            return inner.write_chain(f, Some(self));
        }
        match &self.cause {
            Some(cause) => write!(f, "{separator}cause: {cause}"),
            None => Ok(()),
        }
    }

    fn etype_text(&self) -> std::borrow::Cow<'static, str> {
        match self.etype {
            ErrorType::HTTPStatus(code) => format!("HTTPStatus({code})").into(),
            ErrorType::CustomCode(name, code) => format!("{name}({code})").into(),
            _ => self.etype.as_str().into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_chain(f, None)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ErrorTrait for Error {
    fn source(&self) -> Option<&(dyn ErrorTrait + 'static)> {
        self.cause
            .as_deref()
            .map(|c| c as &(dyn ErrorTrait + 'static))
    }
}
