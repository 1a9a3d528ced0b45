//! A real S3 server in this process, which a test can break.
//!
//! Behind is `s3s-fs`, which checks signatures and keeps objects as files; in front is what a
//! network and a bad store do to requests and answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use sluice::config::{Blobs, Credentials, S3};
use tokio::net::TcpListener;

const BUCKET: &str = "modules";
const PREFIX: &str = "sluice/blobs";
const ACCESS_KEY: &str = "AKIATEST";
const SECRET_KEY: &str = "secret-of-a-test";

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What goes wrong, until a test says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// So many requests are answered 500, and then none.
    Errors(usize),
    /// Requests are taken and never answered.
    Hangs,
    /// Connections are closed at once.
    Refuses,
    /// So many objects are broken off in the middle, and then none.
    HalfBodies(usize),
    /// Objects come with a bit that is not theirs.
    WrongBytes,
}

/// The server. Its objects go with it.
pub struct S3Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    fault: Mutex<Fault>,
    objects_read: AtomicUsize,
    lists: AtomicUsize,
    service: S3Service,
}

impl S3Server {
    /// With an empty bucket.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let state = Arc::new(State {
            fault: Mutex::new(Fault::None),
            objects_read: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
            service: service.build(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, folder, state, task }
    }

    /// From now on.
    pub fn break_with(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// How many components were asked for so far.
    pub fn objects_read(&self) -> usize {
        self.state.objects_read.load(Ordering::SeqCst)
    }

    /// How often its objects were listed so far.
    pub fn lists(&self) -> usize {
        self.state.lists.load(Ordering::SeqCst)
    }

    /// How a gateway reaches it: not for long, since a test waits for that.
    pub fn config(&self) -> Blobs {
        Blobs::S3(S3 {
            bucket: BUCKET.to_owned(),
            prefix: PREFIX.to_owned(),
            endpoint: Some(format!("http://{}", self.address)),
            region: Some("eu-test-1".to_owned()),
            credentials: Some(Credentials {
                access_key_id: ACCESS_KEY.to_owned(),
                secret_access_key: SECRET_KEY.to_owned(),
                session_token: None,
            }),
            timeout_ms: 1000,
            total_timeout_ms: 10_000,
        })
    }

    /// The same as a section of a `sluice.toml`, with the times for real work.
    pub fn toml(&self) -> String {
        format!(
            "[blobs]\nurl = \"s3://{BUCKET}/{PREFIX}?endpoint=http://{}&region=eu-test-1\"\n\
             access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = \"{SECRET_KEY}\"\n",
            self.address
        )
    }

    /// Where the object of a digest is.
    pub fn object(&self, digest: &str) -> PathBuf {
        self.objects().join(&digest[..2]).join(&digest[2..4]).join(digest)
    }

    /// Digests of all objects.
    pub fn digests(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.objects()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if name.len() == 64 {
                    found.push(name);
                }
            }
        }
        found.sort();
        found
    }

    /// Makes an object look as if it was put two hours ago.
    pub fn age(&self, digest: &str) {
        let file = std::fs::File::options().write(true).open(self.object(digest)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(2)).unwrap();
    }

    fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET).join(Path::new(PREFIX))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        if *state.fault.lock().unwrap() == Fault::Refuses {
            continue;
        }
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            // A connection that is broken on purpose is no failure of the server.
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let is_list = request.uri().query().is_some_and(|query| query.contains("list-type"));
    // What names the bucket's store is read whenever a sweep comes, and by no request.
    let is_object = request.method() == Method::GET && !is_list && !request.uri().path().ends_with("sluice-store-id");
    if is_list {
        state.lists.fetch_add(1, Ordering::SeqCst);
    }
    if is_object {
        state.objects_read.fetch_add(1, Ordering::SeqCst);
    }
    let fault = state.take_fault(is_object);
    match fault {
        Fault::Errors(_) => {
            request.into_body().collect().await?;
            return Ok(Response::builder().status(500).body(whole(Bytes::from_static(b"out of order")))?);
        }
        Fault::Hangs => std::future::pending().await,
        Fault::Refuses => return Err("refused".into()),
        Fault::None | Fault::HalfBodies(_) | Fault::WrongBytes => {}
    }
    let response = state.service.call(request.map(s3s::Body::from)).await.map_err(|error| format!("{error:?}"))?;
    let (head, body) = response.into_parts();
    let broken = is_object && head.status.is_success();
    let body = match fault {
        Fault::HalfBodies(_) if broken => half(body.collect().await?.to_bytes()),
        Fault::WrongBytes if broken => {
            let mut bytes = body.collect().await?.to_bytes().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            whole(bytes.into())
        }
        _ => body.boxed_unsync(),
    };
    Ok(Response::from_parts(head, body))
}

impl State {
    /// What happens to this request; faults that are counted are used up.
    fn take_fault(&self, is_object: bool) -> Fault {
        let mut fault = self.fault.lock().unwrap();
        let taken = *fault;
        match taken {
            Fault::Errors(0) | Fault::HalfBodies(0) => return Fault::None,
            Fault::Errors(left) => *fault = Fault::Errors(left - 1),
            Fault::HalfBodies(left) if is_object => *fault = Fault::HalfBodies(left - 1),
            _ => {}
        }
        taken
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn half(mut bytes: Bytes) -> Body {
    bytes.truncate(bytes.len() / 2);
    let frames: [Result<_, BoxError>; 2] = [Ok(Frame::data(bytes)), Err("broken off".into())];
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}
