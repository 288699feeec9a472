//! A small HTTP server for machines that read: one page for each path, within bounds.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tcp;
use crate::telemetry::Seldom;

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
/// Longest form that is read, bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// The media type of one; a character set may follow.
const FORM: &[u8] = b"application/x-www-form-urlencoded";
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
        let socket = tcp::listen(addr, BACKLOG, |_| Ok(()));
        let opened = socket.and_then(|socket| {
            let addr = socket.local_addr()?;
            Ok(Self { socket, addr })
        });
        opened.map_err(|source| HttpError { addr, source })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`; what is under way then is cut off.
    pub async fn run(self, answer: Arc<dyn Answer>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let complaint = Seldom::default();
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
                    if complaint.is_due() {
                        tracing::warn!(%error, "accept failed");
                    }
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
        async move { Ok::<_, Infallible>(respond(&*answer, request).await) }
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

/// zk: io.prometheus.client.exporter.MetricsServlet: POST is GET, with names in its form, too;
/// HttpServlet.doOptions. zk-differs: what is not allowed is 405; Jetty has 403 and 501 for some.
async fn respond(answer: &dyn Answer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut query = head.uri.query().unwrap_or_default().to_owned();
    match head.method {
        Method::GET | Method::HEAD => {}
        Method::POST => match form(&head.headers, body).await {
            Ok(form) => {
                query.push('&');
                query.push_str(&form);
            }
            Err(status) => return plain(status),
        },
        Method::OPTIONS => return allowing(StatusCode::OK),
        _ => return allowing(StatusCode::METHOD_NOT_ALLOWED),
    }
    let Some(page) = answer.page(head.uri.path(), &query) else {
        return plain(StatusCode::NOT_FOUND);
    };
    let page = page.await;
    let mut response = Response::new(Full::new(Bytes::from(page.body)));
    let content_type = HeaderValue::from_static(page.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The fields of a form, in the form of a query; none where the body is something else.
///
/// # Errors
/// The answer to a body that is too long, or that breaks off.
async fn form(headers: &HeaderMap, body: Incoming) -> Result<String, StatusCode> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = kind.is_some_and(|kind| kind.starts_with(FORM));
    match Limited::new(body, FORM_BYTES_MAX).collect().await {
        Ok(body) if is_form => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Ok(_) => Ok(String::new()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

fn allowing(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = plain(status);
    let allowed = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
