//! `pingora_proxy::subrequest`.

mod subrequest {
    use crate::any;
    use pingora_cache::CacheKey;
    use pingora_cache::lock::{CacheKeyLockImpl, WritePermit};
    use pingora_proxy::subrequest::*;
    use std::any::Any;

    fn the_body_mode(it: &mut BodyMode) {
        match it {
            BodyMode::NoBody => {}
            BodyMode::ExpectBody => {}
        }
        is_default::<BodyMode>();
        is_eq::<BodyMode>();
        is_partial_eq::<BodyMode>();
    }

    fn the_ctx_builder() {
        let _: CtxBuilder = CtxBuilder::new();
        let _: CtxBuilder = any::<CtxBuilder>().cache_write_lock(
            any::<&'static CacheKeyLockImpl>(),
            any::<CacheKey>(),
            any::<WritePermit>(),
        );
        let _: CtxBuilder = any::<CtxBuilder>().user_ctx(any::<UserCtx>());
        let _: CtxBuilder = any::<CtxBuilder>().body_mode(any::<BodyMode>());
        let _: Ctx = any::<CtxBuilder>().build();
        is_default::<CtxBuilder>();
    }

    fn the_ctx(it: &mut Ctx) {
        let _: CtxBuilder = Ctx::builder();
        let _: Option<&UserCtx> = it.user_ctx();
        let _: Option<&mut UserCtx> = it.user_ctx_mut();
        it.release_write_lock();
        let _: Option<WritePermit> = it.take_write_lock();
        let _: BodyMode = it.body_mode();
    }

    fn functions_and_constants() {
        let _: UserCtx = any::<Box<dyn Any + Sync + Send>>();
    }

    fn is_default<T: Default>() {}
    fn is_eq<T: Eq>() {}
    fn is_partial_eq<T: PartialEq>() {}
}

mod pipe {
    use crate::any;
    use bytes::Bytes;
    use pingora_core::protocols::http::HttpTask;
    use pingora_core::protocols::http::subrequest::server::SubrequestHandle;
    use pingora_error::Error;
    use pingora_proxy::subrequest::pipe::*;
    use pingora_proxy::{PreparedSubrequest, Session};
    use tokio::sync::mpsc::Receiver;
    use tokio::task::JoinHandle;

    fn the_input_body_type(it: &mut InputBodyType) {
        match it {
            InputBodyType::Preset(a) => {
                let _: &mut InputBody = a;
            }
            InputBodyType::SaveBody(a) => {
                let _: &mut usize = a;
            }
        }
    }

    fn the_pipe_subrequest_state(it: &mut PipeSubrequestState) {
        let _ = PipeSubrequestState {
            saved_body: any::<Option<SavedBody>>(),
            header_received: any::<bool>(),
            join_handle: any::<Option<JoinHandle<()>>>(),
            pipe_rx: any::<Option<Receiver<HttpTask>>>(),
        };
        let _: &Option<SavedBody> = &it.saved_body;
        let _: &bool = &it.header_received;
        let _: &Option<JoinHandle<()>> = &it.join_handle;
        let _: &Option<Receiver<HttpTask>> = &it.pipe_rx;
        let _: PipeSubrequestState = it.snapshot_for_error();
        is_default::<PipeSubrequestState>();
    }

    fn the_pipe_subrequest_error(it: &mut PipeSubrequestError) {
        let _ = PipeSubrequestError {
            state: any::<PipeSubrequestState>(),
            from_subreq: any::<bool>(),
            error: any::<Box<Error>>(),
        };
        let _: &PipeSubrequestState = &it.state;
        let _: &bool = &it.from_subreq;
        let _: &Box<Error> = &it.error;
        let _: PipeSubrequestError =
            PipeSubrequestError::new(any::<Box<Error>>(), true, any::<PipeSubrequestState>());
    }

    fn the_saved_body(it: &mut SavedBody) {
        let _: SavedBody = SavedBody::new(1);
        let _: bool = it.save_body_bytes(Bytes::new());
        let _: bool = it.is_body_complete();
        it.set_body_complete();
    }

    fn the_input_body(it: &mut InputBody) {
        match it {
            InputBody::NoBody => {}
            InputBody::Bytes(a) => {
                let _: &mut Vec<Bytes> = a;
            }
        }
        let _: bool = it.is_body_empty();
    }

    async fn functions_and_constants() {
        let _: Result<PipeSubrequestState, PipeSubrequestError> = pipe_subrequest(
            any::<&mut Session>(),
            any::<PreparedSubrequest>(),
            any::<SubrequestHandle>(),
            |task| Ok(Some(task)),
            any::<InputBodyType>(),
        )
        .await;
    }

    fn is_default<T: Default>() {}
}
