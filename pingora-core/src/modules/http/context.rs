//! The modules of one proxy, and the chain of them that each request passes through.

use super::compression::{self, ResponseCompression};
use super::{Module, ModuleBuilder, Surroundings};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::{Any, TypeId};
use std::cmp::Reverse;
use std::fmt;

/// The modules that each request gets.
#[derive(Default)]
pub struct HttpModules {
    builders: Vec<Registered>,
    /// Whether compression is inactive until a request asks for it.
    compression_waits: bool,
}

struct Registered {
    module: TypeId,
    order: i16,
    builder: ModuleBuilder,
}

impl HttpModules {
    /// No modules.
    pub const fn new() -> Self {
        HttpModules {
            builders: Vec::new(),
            compression_waits: false,
        }
    }

    /// Adds a module. Each type of module exists at most once: a later one of the same type
    /// replaces the earlier one.
    ///
    /// Compression at level 0 costs a request nothing: its module is created when
    /// [`HttpModuleCtx::get_mut`] asks for it, or when the chain sees the request's head.
    pub fn add_module(&mut self, builder: ModuleBuilder) {
        let sample = builder.init();
        let module = sample.as_any().type_id();
        let order = builder.order();
        self.builders.retain(|b| b.module != module);
        if let Some(compression) = sample.as_any().downcast_ref::<ResponseCompression>() {
            self.compression_waits = compression.is_as_by_default();
            if self.compression_waits {
                return;
            }
        }
        self.builders.push(Registered {
            module,
            order,
            builder,
        });
        // Stable: modules of the same order keep the order in which they were added.
        self.builders.sort_by_key(|b| Reverse(b.order));
    }

    /// Whether no module was added.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.builders.is_empty() && !self.compression_waits
    }

    fn init_all(&self) -> Box<[Module]> {
        self.builders.iter().map(|b| b.builder.init()).collect()
    }

    /// A fresh module of each kind, for one request. Does not allocate if there are none.
    #[inline]
    pub fn build_ctx(&self) -> HttpModuleCtx {
        HttpModuleCtx {
            modules: if self.builders.is_empty() {
                Box::default()
            } else {
                self.init_all()
            },
            compression: if self.compression_waits {
                Compression::Waits
            } else {
                Compression::AsAdded
            },
        }
    }
}

impl fmt::Debug for HttpModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpModules")
            .field("count", &self.builders.len())
            .finish()
    }
}

/// The modules of one request, in the order in which they run.
///
/// If it is [empty](Self::is_empty), the filters return at once, without an allocation and without
/// a dynamic call. The asynchronous ones are cancel-safe if the modules' own are.
#[derive(Default)]
pub struct HttpModuleCtx {
    modules: Box<[Module]>,
    compression: Compression,
}

/// The state of compression at level 0.
///
/// ```text
/// Waits ── the request's head passes ─────────► AsAdded
///   └── asked for ──► Newcomer ── introduced ─────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Compression {
    /// Among the modules, or not present.
    #[default]
    AsAdded,
    /// Not created yet.
    Waits,
    /// Created, and the last of the modules; it did not see the request's head.
    Newcomer,
}

impl HttpModuleCtx {
    /// No modules.
    #[inline]
    pub fn empty() -> Self {
        HttpModuleCtx::default()
    }

    /// Whether no module has anything to do. Compression at level 0 has nothing to do until
    /// [`HttpModuleCtx::get_mut`] asked for it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Whether there is any module, even if it has nothing to do yet.
    #[inline]
    pub fn has_modules(&self) -> bool {
        !self.is_empty() || self.compression == Compression::Waits
    }

    /// The module of type `T`, if there is one.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        let made = self
            .modules
            .iter()
            .find_map(|m| m.as_any().downcast_ref::<T>());
        match self.compression {
            Compression::Waits => {
                made.or_else(|| (&compression::IDLE as &dyn Any).downcast_ref::<T>())
            }
            _ => made,
        }
    }

    /// The module of type `T`, if there is one.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        if self.compression == Compression::Waits
            && TypeId::of::<T>() == TypeId::of::<ResponseCompression>()
        {
            self.make_compression();
            self.compression = Compression::Newcomer;
        }
        self.modules
            .iter_mut()
            .find_map(|m| m.as_any_mut().downcast_mut::<T>())
    }

    #[cold]
    fn make_compression(&mut self) {
        let mut modules = std::mem::take(&mut self.modules).into_vec();
        modules.push(compression::module());
        self.modules = modules.into_boxed_slice();
    }

    /// Shows the request's head to a module that was created after the others had seen it. Code that
    /// stores a request with its modules calls it before
    /// [`response_header_filter`](Self::response_header_filter).
    #[inline]
    pub fn introduce(&mut self, req: &RequestHeader) {
        if self.compression == Compression::Newcomer {
            self.compression = Compression::AsAdded;
            if let Some(newcomer) = self.get_mut::<ResponseCompression>() {
                newcomer.request_filter(req);
            }
        }
    }

    /// Shows each module the surroundings of the request. Code that stores a request with its modules
    /// calls it before [`request_header_filter`](Self::request_header_filter).
    ///
    /// # Errors
    /// The error of the first module that fails.
    pub fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        for module in &mut self.modules {
            module.request_begins(around)?;
        }
        Ok(())
    }

    /// Shows the request's head to each module.
    ///
    /// # Errors
    /// The error of the first module that fails; later modules don't see the request.
    pub async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        if self.compression == Compression::Waits {
            self.make_compression();
        }
        self.compression = Compression::AsAdded;
        for module in &mut self.modules {
            module.request_header_filter(req).await?;
        }
        Ok(())
    }

    /// Tells each module that the request's body begins, for the first time or again.
    #[inline]
    pub fn request_body_begins(&mut self) {
        for module in &mut self.modules {
            module.request_body_begins();
        }
    }

    /// Passes a part of the request's body through each module, in order.
    ///
    /// # Errors
    /// The error of the first module that fails.
    pub async fn request_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        for module in &mut self.modules {
            module.request_body_filter(body, end_of_stream).await?;
        }
        Ok(())
    }

    /// Tells each module that the response whose head it may have seen will not be sent.
    pub fn response_discarded(&mut self) {
        for module in &mut self.modules {
            module.response_discarded();
        }
    }

    /// Shows the response's head to each module.
    ///
    /// # Errors
    /// The error of the first module that fails.
    pub async fn response_header_filter(
        &mut self,
        req: &mut ResponseHeader,
        end_of_stream: bool,
    ) -> Result<()> {
        for module in &mut self.modules {
            module.response_header_filter(req, end_of_stream).await?;
        }
        Ok(())
    }

    /// Passes a part of the response's body through each module, in order.
    ///
    /// # Errors
    /// The error of the first module that fails.
    #[inline]
    pub fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        for module in &mut self.modules {
            module.response_body_filter(body, end_of_stream)?;
        }
        Ok(())
    }

    /// Shows the response's trailers to each module. Returns data that has to be sent before them.
    ///
    /// # Errors
    /// The error of the first module that fails.
    #[inline]
    pub fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.last_words(|module| module.response_trailer_filter(trailers))
    }

    /// Tells each module that the response is over. Returns data that still has to be sent.
    ///
    /// # Errors
    /// The error of the first module that fails.
    #[inline]
    pub fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.last_words(|module| module.response_done_filter())
    }

    /// The rest of one module's output is body data for the modules after it.
    #[inline]
    fn last_words(
        &mut self,
        mut ask: impl FnMut(&mut Module) -> Result<Option<Bytes>>,
    ) -> Result<Option<Bytes>> {
        let mut said: Option<Bytes> = None;
        for module in &mut self.modules {
            if said.is_some() {
                module.response_body_filter(&mut said, false)?;
            }
            said = joined(said, ask(module)?);
        }
        Ok(said)
    }
}

fn joined(first: Option<Bytes>, second: Option<Bytes>) -> Option<Bytes> {
    match (first, second) {
        (Some(first), Some(second)) => {
            let mut both = BytesMut::with_capacity(first.len() + second.len());
            both.extend_from_slice(&first);
            both.extend_from_slice(&second);
            Some(both.freeze())
        }
        (first, second) => first.or(second),
    }
}

impl fmt::Debug for HttpModuleCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpModuleCtx")
            .field("count", &self.modules.len())
            .finish()
    }
}
