//! The chain of modules: order, skipped modules, state after a failure.

use super::*;
use futures::FutureExt;
use std::any::TypeId;
use std::sync::{Arc, Mutex};

type Journal = Arc<Mutex<Vec<String>>>;

/// Records its calls, and returns data at the end.
struct Scribe<const N: usize> {
    journal: Journal,
    fail: bool,
}

impl<const N: usize> Scribe<N> {
    fn note(&self, what: &str) -> Result<()> {
        self.journal.lock().unwrap().push(format!("{N} {what}"));
        if self.fail {
            return Err(pingora_error::Error::new_str("told to fail"));
        }
        Ok(())
    }
}

#[async_trait]
impl<const N: usize> HttpModule for Scribe<N> {
    async fn request_header_filter(&mut self, _req: &mut RequestHeader) -> Result<()> {
        self.note("request head")
    }
    async fn request_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.note(&format!("request body {body:?} {end}"))
    }
    async fn response_header_filter(&mut self, _: &mut ResponseHeader, end: bool) -> Result<()> {
        self.note(&format!("response head {end}"))
    }
    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.note(&format!("response body {body:?} {end}"))
    }
    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        Ok(Some(format!("<{N}>").into()))
    }
    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        Ok((N == 2).then(|| "bye".into()))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct ScribeBuilder<const N: usize> {
    journal: Journal,
    order: i16,
    fail: bool,
}

impl<const N: usize> HttpModuleBuilder for ScribeBuilder<N> {
    fn order(&self) -> i16 {
        self.order
    }
    fn init(&self) -> Module {
        Box::new(Scribe::<N> {
            journal: self.journal.clone(),
            fail: self.fail,
        })
    }
}

fn scribe<const N: usize>(journal: &Journal, order: i16) -> ModuleBuilder {
    Box::new(ScribeBuilder::<N> {
        journal: journal.clone(),
        order,
        fail: false,
    })
}

/// Leaves everything to the defaults.
struct Idle;
#[async_trait]
impl HttpModule for Idle {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn request() -> RequestHeader {
    RequestHeader::build("GET", b"/", None).unwrap()
}

fn response() -> ResponseHeader {
    ResponseHeader::build(200, None).unwrap()
}

#[test]
fn nothing_runs_and_nothing_waits_without_modules() {
    let modules = HttpModules::new();
    assert!(modules.is_empty());
    let mut ctx = modules.build_ctx();
    assert!(ctx.is_empty() && HttpModuleCtx::empty().is_empty());
    // The modules, and the state of compression.
    assert!(size_of::<HttpModuleCtx>() <= 3 * size_of::<usize>());
    let done = |r: Option<Result<()>>| assert!(r.unwrap().is_ok());
    done(ctx.request_header_filter(&mut request()).now_or_never());
    done(ctx.request_body_filter(&mut None, true).now_or_never());
    done(
        ctx.response_header_filter(&mut response(), false)
            .now_or_never(),
    );
    ctx.response_body_filter(&mut None, true).unwrap();
    assert!(ctx.response_trailer_filter(&mut None).unwrap().is_none());
    assert!(ctx.response_done_filter().unwrap().is_none());
    assert!(ctx.get::<Idle>().is_none());
}

#[test]
fn the_default_of_an_asynchronous_method_does_not_allocate() {
    let mut idle = Idle;
    let mut head = request();
    let future = idle.request_header_filter(&mut head);
    assert_eq!(size_of_val(&*future), 0);
    assert!(future.now_or_never().unwrap().is_ok());
    let mut body = None;
    assert_eq!(size_of_val(&*idle.request_body_filter(&mut body, false)), 0);
    let mut head = response();
    assert_eq!(
        size_of_val(&*idle.response_header_filter(&mut head, false)),
        0
    );
}

#[tokio::test]
async fn a_higher_order_runs_before_a_lower_one() {
    let journal = Journal::default();
    let mut modules = HttpModules::new();
    modules.add_module(scribe::<1>(&journal, 0));
    modules.add_module(scribe::<2>(&journal, i16::MIN));
    modules.add_module(scribe::<3>(&journal, i16::MAX));
    modules.add_module(scribe::<4>(&journal, 0));
    let mut ctx = modules.build_ctx();
    ctx.request_header_filter(&mut request()).await.unwrap();
    let ran: Vec<String> = journal.lock().unwrap().drain(..).collect();
    assert_eq!(
        ran,
        [
            "3 request head",
            "1 request head",
            "4 request head",
            "2 request head"
        ]
    );
    let mut body = Some(Bytes::from("x"));
    ctx.request_body_filter(&mut body, true).await.unwrap();
    ctx.response_header_filter(&mut response(), false)
        .await
        .unwrap();
    ctx.response_body_filter(&mut body, true).unwrap();
    assert_eq!(journal.lock().unwrap().len(), 12);
}

#[tokio::test]
async fn the_first_that_fails_ends_it() {
    let journal = Journal::default();
    let mut modules = HttpModules::new();
    modules.add_module(scribe::<1>(&journal, 3));
    modules.add_module(Box::new(ScribeBuilder::<2> {
        journal: journal.clone(),
        order: 2,
        fail: true,
    }));
    modules.add_module(scribe::<3>(&journal, 1));
    let mut ctx = modules.build_ctx();
    assert!(ctx.request_header_filter(&mut request()).await.is_err());
    assert_eq!(journal.lock().unwrap().len(), 2);
}

#[test]
fn a_type_is_there_once_and_the_later_one_counts() {
    let (old, new) = (Journal::default(), Journal::default());
    let mut modules = HttpModules::new();
    modules.add_module(scribe::<1>(&old, 0));
    modules.add_module(scribe::<1>(&new, 0));
    let mut ctx = modules.build_ctx();
    ctx.response_body_filter(&mut None, true).unwrap();
    assert_eq!(
        (old.lock().unwrap().len(), new.lock().unwrap().len()),
        (0, 1)
    );
    assert!(ctx.get::<Scribe<1>>().is_some());
    assert!(ctx.get::<Scribe<2>>().is_none());
    ctx.get_mut::<Scribe<1>>().unwrap().fail = true;
    assert!(ctx.response_body_filter(&mut None, true).is_err());
    assert_eq!(
        ctx.get::<Scribe<1>>().unwrap().as_any().type_id(),
        TypeId::of::<Scribe<1>>()
    );
}

#[test]
fn last_words_are_body_to_the_modules_after() {
    let journal = Journal::default();
    let mut modules = HttpModules::new();
    modules.add_module(scribe::<2>(&journal, 1));
    modules.add_module(scribe::<1>(&journal, 0));
    let mut ctx = modules.build_ctx();
    let words = ctx.response_trailer_filter(&mut None).unwrap();
    assert_eq!(words.unwrap(), "<2><1>");
    assert_eq!(
        *journal.lock().unwrap(),
        [r#"1 response body Some(b"<2>") false"#]
    );
    assert_eq!(ctx.response_done_filter().unwrap().unwrap(), "bye");
}

#[test]
fn compression_that_waits_is_a_module_with_nothing_to_do() {
    let mut modules = HttpModules::new();
    assert!(!modules.build_ctx().has_modules());
    modules.add_module(compression::ResponseCompressionBuilder::enable(0));
    let ctx = modules.build_ctx();
    assert!(ctx.is_empty() && ctx.has_modules());
    modules.add_module(scribe::<1>(&Journal::default(), 0));
    assert!(modules.build_ctx().has_modules());
}
