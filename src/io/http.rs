//! A small HTTP server for machines that read: GET and HEAD, one page each, within bounds.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections served at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// Waiting connections that the system may hold.
const BACKLOG: u32 = 128;
/// How long a request's head may take, and a connection without requests may live.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest request head, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest life of a connection: a reader that takes nothing in is cut off by it.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);
/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who has the pages.
pub trait Answer: Send + Sync + 'static {
    /// The page behind a path; `None` if there is none. `query`: what stands behind the `?`, as it
    /// came.
    fn page(&self, path: &str, query: &str) -> Option<BoxFuture<'static, Page>>;
}

/// What a GET gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub body: String,
}

/// The listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listen on {addr}")]
pub struct HttpError {
    /// The address.
    pub addr: SocketAddr,
    /// The system's words.
    #[source]
    pub source: io::Error,
}

/// A listening socket.
pub struct HttpListener {
    socket: TcpListener,
    addr: SocketAddr,
}

impl HttpListener {
    /// Opens the socket. Port 0 lets the system choose. Nobody is accepted before [`Self::run`].
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed: tell the operator and end the process.
    pub fn open(addr: SocketAddr) -> Result<Self, HttpError> {
        let open = || {
            let socket = if addr.is_ipv6() {
                TcpSocket::new_v6()?
            } else {
                TcpSocket::new_v4()?
            };
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let socket = socket.listen(BACKLOG)?;
            let addr = socket.local_addr()?;
            Ok(Self { socket, addr })
        };
        open().map_err(|source| HttpError { addr, source })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`; what is under way then is cut off.
    pub async fn run(self, answer: Arc<dyn Answer>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&room) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let answer = Arc::clone(&answer);
                    let stop = stop.clone();
                    connections.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = serve(stream, answer) => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }

    async fn accept(
        &self,
        room: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = Arc::clone(room).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let (stream, _peer) = self.socket.accept().await?;
        Ok((stream, place))
    }
}

impl fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpListener").field(&self.addr).finish()
    }
}

async fn serve(stream: TcpStream, answer: Arc<dyn Answer>) {
    let service = service_fn(move |request: Request<_>| {
        let answer = Arc::clone(&answer);
        async move { Ok::<_, Infallible>(respond(&*answer, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection lost"),
        Err(_elapsed) => tracing::debug!("HTTP connection took too long"),
    }
}

async fn respond<B>(answer: &dyn Answer, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let uri = request.uri();
    let Some(page) = answer.page(uri.path(), uri.query().unwrap_or_default()) else {
        return plain(StatusCode::NOT_FOUND);
    };
    let page = page.await;
    let mut response = Response::new(Full::new(Bytes::from(page.body)));
    let content_type = HeaderValue::from_static(page.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
