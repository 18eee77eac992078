//! What a panic costs. It is made by an application of the test's own, on Pingora's real proxy and real sockets: a hook
//! for it in the product would be a way to end requests.
use std::sync::Mutex;

use pingora_core::{
    apps::HttpServerOptions, protocols::l4::stream::Stream as TcpConnection, server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{config::settings::ConnectionLimits, edge::metrics::InFlight};

/// What no output may hold.
const SECRET: &str = "c2VjcmV0LW9mLWEtdG9rZW4";

/// Answers `/`, and panics where the path says so.
struct Fragile {
    metrics: Arc<Metrics>,
}

struct Context {
    identifiers: Identifiers,
    _in_flight: InFlight,
}

#[async_trait]
impl ProxyHttp for Fragile {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context { identifiers: Identifiers::random(), _in_flight: self.metrics.in_flight() }
    }

    async fn early_request_filter(&self, session: &mut Session, context: &mut Context) -> pingora_core::Result<()> {
        Connection::note_request(session, context.identifiers);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> pingora_core::Result<bool> {
        assert_ne!(session.req_header().uri.path(), "/before", "{SECRET}");
        let head = respond::fixed(200, Some("whole"))?;
        respond::answer(session, head, Some("whole"), context.identifiers.request()).await?;
        assert_ne!(session.req_header().uri.path(), "/after", "{SECRET}");
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Context) -> pingora_core::Result<Box<HttpPeer>> {
        Err(pingora_core::Error::new(pingora_core::ErrorType::InternalError))
    }

    async fn logging(&self, session: &mut Session, _: Option<&pingora_core::Error>, _: &mut Context) {
        assert_ne!(session.req_header().uri.path(), "/logging", "{SECRET}");
        Connection::expect_request(session);
    }
}

/// The proxy and all that its guard told.
struct Site {
    guarded: Arc<Guarded<pingora_proxy::HttpProxy<Fragile>>>,
    metrics: Arc<Metrics>,
    told: Arc<Mutex<Vec<Incident>>>,
}

impl Site {
    fn new() -> Self {
        Self::with(Duration::from_secs(10), HttpServerOptions::default())
    }

    fn with(head: Duration, options: HttpServerOptions) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let second = Duration::from_secs(1);
        let guard = Guard {
            timeouts: ClientTimeouts { head, body: 10 * second, keepalive: 10 * second },
            head_bounds: HeadBounds::new(8192, 8192),
            connections: Arc::new(Connections::new(ConnectionLimits { total: 1, per_address: None })),
            metrics: Arc::clone(&metrics),
            trust: Box::new(|_| false),
            tell: Box::new({
                let told = Arc::clone(&told);
                move |incident| told.lock().unwrap().push(incident.clone())
            }),
        };
        let mut proxy = http_proxy(&Arc::new(ServerConf::default()), Fragile { metrics: Arc::clone(&metrics) });
        let entrance = Entrance { tls: None, http2: options.h2c, proxy_protocol: false };
        proxy.server_options = Some(options);
        Self { guarded: Arc::new(Guarded::new(proxy, Arc::new(guard), entrance)), metrics, told }
    }

    /// Sends a request on a connection of its own, and gives all that comes back until that is closed.
    async fn answer(&self, path: &str, more: &str) -> String {
        self.answer_to(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n")).await
    }

    async fn answer_to(&self, sent: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let guarded = Arc::clone(&self.guarded);
        // As Pingora's listener does: a task of its own for each connection.
        let served = tokio::spawn(async move {
            let (_stop, shutdown) = tokio::sync::watch::channel(false);
            guarded.process_new(Box::new(TcpConnection::from(accepted)), &shutdown).await
        });
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let _ = served.await;
        answer
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_connection_and_leaves_nothing_behind() {
    let site = Site::new();
    for (path, answered) in [("/before", false), ("/after", true), ("/logging", true)] {
        let answer = site.answer(path, "").await;
        let status = if answered { "HTTP/1.1 200 " } else { "HTTP/1.1 500 " };
        assert!(answer.starts_with(status), "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{path}: {answer}");
        assert!(!answer.contains(SECRET));
        let told = std::mem::take(&mut *site.told.lock().unwrap());
        let [incident] = told.as_slice() else { panic!("{path}: {told:?}") };
        assert_eq!((incident.rejection, incident.is_request), (Rejection::Internal, true), "{path}");
        assert!(answer.contains(incident.identifiers.request()), "{path}: {answer}");
        assert_eq!((site.metrics.requests_in_flight(), site.metrics.connections_open()), (0, 0), "{path}");
        // Its place is free again: there is room for one connection only.
        let next = site.answer("/", "Connection: close\r\n").await;
        assert!(next.starts_with("HTTP/1.1 200 ") && next.ends_with("whole"), "{path}: {next}");
        assert!(site.told.lock().unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn who_could_speak_either_version_and_speaks_none_has_no_more_time() {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    let site = Site::with(Duration::from_millis(200), options);
    // Nothing, the beginning of the preface of HTTP/2, and of a request.
    for sent in ["", "PRI * HTTP/2.0\r\n", "GET / HT"] {
        let answer = tokio::time::timeout(Duration::from_secs(60), site.answer_to(sent)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{sent:?} holds a connection"));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{sent:?}: {answer}");
        assert_eq!(site.metrics.connections_open(), 0, "{sent:?}");
    }
    let answer = site.answer("/", "Connection: close\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn of_a_panic_its_place_is_told_and_not_what_it_says() {
    let told = Arc::new(Mutex::new(String::new()));
    let before = std::panic::take_hook();
    let (here, kept) = (std::thread::current().id(), Arc::clone(&told));
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == here {
            kept.lock().unwrap().push_str(&panics::told(panic));
        }
    }));
    let result = std::panic::catch_unwind(|| panic!("{SECRET}"));
    std::panic::set_hook(before);
    assert!(result.is_err());
    let told = told.lock().unwrap();
    assert!(told.contains(file!()) && !told.contains(SECRET), "{told}");
}
