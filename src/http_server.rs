//! The administration port: metrics, liveness and readiness over HTTP.
//!
//! It owns the address and the three answers. It only reads: what it serves
//! others put on the [`Board`] and into the metrics recorder.

use std::future::Future;
use std::io::ErrorKind as IoKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tracing::warn;

use crate::error::{Error, ErrorKind, Result};
use crate::status::Board;

/// How often samples of histograms are folded into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Binds the address. A default address that is taken gives way to a free
/// port on loopback; an explicit one is an error.
///
/// # Errors
/// `Unavailable` if the explicit address cannot be bound.
pub fn bind(listen: SocketAddr, explicit: bool) -> Result<TcpListener> {
    let listener = match TcpListener::bind(listen) {
        Ok(listener) => listener,
        Err(error) if explicit => return Err(refused(listen, &error)),
        Err(error) => elsewhere(listen, &error)?,
    };
    listener.set_nonblocking(true).map_err(|error| refused(listen, &error))?;
    Ok(listener)
}

/// A free port instead. Probes and scrapers still ask the default one, and whoever has it answers them.
fn elsewhere(listen: SocketAddr, taken: &std::io::Error) -> Result<TcpListener> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(free).map_err(|error| refused(free, &error))?;
    let address = listener.local_addr().map_err(|error| refused(free, &error))?;
    let why = refused(listen, taken);
    warn!(
        %address,
        "{why}: /metrics, /livez and /readyz are on {address} until the next start, and what asks {listen} \
         is answered by another process; give each process an `admin.listen` of its own"
    );
    Ok(listener)
}

/// Whether other machines reach the port: whoever does reads what it serves, for there is no login.
pub fn is_open_to_others(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn refused(listen: SocketAddr, error: &std::io::Error) -> Error {
    let (what, remedy) = match error.kind() {
        IoKind::AddrInUse => (
            "another process listens there".to_owned(),
            "stop it, or choose another port in `admin.listen`; without `admin.listen` a free port is used",
        ),
        IoKind::AddrNotAvailable => (
            "this machine does not have the address".to_owned(),
            "write `127.0.0.1` for this machine only, or `0.0.0.0` for every interface, in `admin.listen`",
        ),
        IoKind::PermissionDenied => {
            ("not permitted".to_owned(), "choose a port from 1024 up in `admin.listen`")
        }
        _ => (error.to_string(), "choose another address in `admin.listen`"),
    };
    Error::new(ErrorKind::Unavailable, format!("cannot listen on {listen}: {what}")).remedy(remedy)
}

/// Serves until `stop` is ready. The listener comes from [`bind`].
///
/// # Errors
/// `Io` if the listener fails.
pub async fn serve(
    listener: TcpListener,
    board: Arc<Board>,
    metrics: PrometheusHandle,
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(ErrorKind::Io, format!("administration port: {error}"));
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let server = axum::serve(listener, router(board, metrics.clone()));
    tokio::select! {
        ended = async { server.await } => ended.map_err(failed),
        never = upkeep(metrics) => match never {},
        () = stop => Ok(()),
    }
}

async fn upkeep(metrics: PrometheusHandle) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

fn router(board: Arc<Board>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(board)
        .route("/metrics", get(move || std::future::ready(rendered(&metrics))))
}

async fn livez(State(board): State<Arc<Board>>) -> Response {
    let stalled = board.stalled();
    let body = json!({"live": stalled.is_empty(), "reasons": stalled});
    (status(stalled.is_empty()), Json(body)).into_response()
}

async fn readyz(State(board): State<Arc<Board>>) -> Response {
    let waiting = board.not_ready();
    let body = json!({"ready": waiting.is_empty(), "reasons": waiting});
    (status(waiting.is_empty()), Json(body)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn rendered(metrics: &PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::clock::SystemClock;
    use crate::status::{Part, State};

    /// Asks a server that runs for the length of the call.
    fn answers(board: Arc<Board>, requests: &[&str]) -> Vec<String> {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::gauge!(crate::metrics::TABLE_VERSION).set(7.0));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let handle = recorder.handle();
        let server = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(serve(listener, board, handle, async { stopped.await.unwrap() }))
        });
        let answers = requests.iter().map(|request| ask(address, request)).collect();
        stop.send(()).unwrap();
        server.unwrap().join().unwrap().unwrap();
        answers
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_part_that_waits_makes_us_unready_and_not_dead() {
        let board = Arc::new(Board::new(Arc::new(SystemClock)));
        board.set(Part::Kafka, State::Waiting("no broker answers".into()));
        let answers = answers(board, &["GET /readyz", "GET /livez", "GET /metrics"]);
        assert!(answers[0].starts_with("HTTP/1.1 503"), "{}", answers[0]);
        let body = r#"{"ready":false,"reasons":[{"component":"kafka","reason":"no broker answers","seconds":0,"since":"2"#;
        assert!(answers[0].contains(body), "{}", answers[0]);
        assert!(answers[1].starts_with("HTTP/1.1 200"), "{}", answers[1]);
        assert!(answers[2].contains("\nthalweg_table_version 7\n"), "{}", answers[2]);
    }

    #[test]
    fn a_silent_part_makes_us_dead_and_a_ready_one_ready() {
        let board = Arc::new(Board::new(Arc::new(SystemClock)));
        board.set(Part::Kafka, State::Reading);
        board.heartbeat(&Part::Commits("orders".to_owned()), Duration::ZERO);
        let answers = answers(board, &["GET /readyz", "GET /livez"]);
        assert!(answers[0].starts_with("HTTP/1.1 200"), "{}", answers[0]);
        assert!(answers[1].starts_with("HTTP/1.1 503"), "{}", answers[1]);
        assert!(answers[1].contains("commits of table orders"), "{}", answers[1]);
    }

    #[test]
    fn nothing_can_be_changed_through_the_port() {
        let board = Arc::new(Board::new(Arc::new(SystemClock)));
        let answers = answers(board, &["POST /readyz", "DELETE /metrics", "GET /other"]);
        assert!(answers[0].starts_with("HTTP/1.1 405"), "{}", answers[0]);
        assert!(answers[1].starts_with("HTTP/1.1 405"), "{}", answers[1]);
        assert!(answers[2].starts_with("HTTP/1.1 404"), "{}", answers[2]);
    }

    #[test]
    fn only_loopback_is_closed_to_others() {
        for (address, open) in [
            ("127.0.0.1:9600", false),
            ("[::1]:9600", false),
            ("[::ffff:127.0.0.1]:9600", false),
            ("0.0.0.0:9600", true),
            ("[::]:9600", true),
            ("192.168.0.1:9600", true),
        ] {
            assert_eq!(is_open_to_others(address.parse().unwrap()), open, "{address}");
        }
    }

    #[test]
    fn a_taken_address_is_an_error_only_if_it_was_asked_for() {
        let taken = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert_eq!(error.message, format!("cannot listen on {address}: another process listens there"));
        let moved = bind(address, false).unwrap().local_addr().unwrap();
        assert!(moved.ip().is_loopback() && moved != address, "{moved}");
    }
}
