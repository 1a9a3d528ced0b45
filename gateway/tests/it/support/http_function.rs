//! A server in small for components of `wasi:http/proxy`, made of wasmtime's own: what an author runs them with until
//! the gateway does.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// A component that answers requests, each in an instance of its own.
pub struct HttpFunction {
    proxy: ProxyPre<State>,
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    way_out: NoWayOut,
}

impl HttpFunction {
    pub fn of(component: &[u8]) -> Self {
        let engine = Engine::default();
        let component = Component::new(&engine, component).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        Self { proxy: ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap() }
    }

    /// Asks for a path, and gives the whole response.
    pub async fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> http::Response<Bytes> {
        let uri = format!("http://function.test{path}");
        let request = http::Request::builder().method(method).uri(uri).body(Full::new(Bytes::from(body))).unwrap();
        let (wasi, http) = (WasiCtx::builder().build(), WasiHttpCtx::new());
        let state = State { wasi, http, table: ResourceTable::new(), way_out: NoWayOut };
        let mut store = Store::new(self.proxy.engine(), state);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request).unwrap();
        let out = store.data_mut().http().new_response_outparam(sender).unwrap();
        let proxy = self.proxy.instantiate_async(&mut store).await.unwrap();
        // The function may go on after it has begun its response, until its body is taken.
        let call =
            tokio::spawn(async move { proxy.wasi_http_incoming_handler().call_handle(store, request, out).await });
        let Ok(response) = receiver.await else { panic!("no response: {:?}", call.await.unwrap()) };
        let (parts, body) = response.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        call.await.unwrap().unwrap();
        http::Response::from_parts(parts, body)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.way_out }
    }
}

/// The examples ask nobody.
struct NoWayOut;

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Sent), Error>> + Send>;

impl WasiHttpHooks for NoWayOut {
    fn send_request(&mut self, _: http::Request<WasiBody>, _: Option<RequestOptions>, _: Sent) -> Answer {
        Box::new(async { Err(Error::HttpProtocolError) })
    }
}
