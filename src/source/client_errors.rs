//! What librdkafka says in passing: why a broker cannot be talked to, and
//! what the operator does about it.
//!
//! It owns the reading of these lines, their words on a screen, and the limit
//! on how often they are logged. The answer to a question only says that it
//! failed (`catalog`); what happens to a partition is `kafka`.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::clock::{Clock, SystemClock};
use crate::config::{Kafka, Security};
use crate::error::{Error, ErrorKind};

/// The same line is logged at most this often.
const SAME_LINE_EVERY: Duration = Duration::from_secs(30);
/// Different lines that are remembered; librdkafka's vary in a few words only.
const LINES_MAX: usize = 64;

/// Why a broker cannot be talked to, the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// User and password are not accepted.
    Refused,
    /// The broker does not offer the SASL mechanism.
    Mechanism,
    /// The broker wants another client certificate, or any.
    ClientCertificate,
    /// The broker's certificate is not accepted by us.
    Untrusted,
    /// The broker does not answer in TLS.
    NoTls,
    /// The broker breaks off at once, as one does that expects TLS.
    WantsTls,
    /// The broker breaks off after the TLS handshake, as one does that expects SASL.
    WantsSasl,
    /// Any other failure.
    Other,
}

impl Cause {
    /// Asking again will not help: what is wrong is on our side of the line.
    fn is_final(self) -> bool {
        self <= Cause::Untrusted
    }
}

/// One line of librdkafka's, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientError {
    pub cause: Cause,
    /// `host:port`, where the line names it.
    broker: Option<String>,
    text: String,
}

/// Hears what a client of librdkafka's says.
pub struct ClientErrors {
    is_logged: bool,
    state: Mutex<ClientState>,
}

#[derive(Default)]
struct ClientState {
    heard: Vec<ClientError>,
    /// When a line was last logged, in boot time, and how often it was held back since.
    logged: HashMap<String, (Duration, u64)>,
}

impl ClientErrors {
    /// For a client whose failures are reported by whoever asks it.
    pub fn silent() -> ClientErrors {
        ClientErrors { is_logged: false, state: Mutex::default() }
    }

    /// For a client that runs on its own.
    pub fn logged() -> ClientErrors {
        ClientErrors { is_logged: true, state: Mutex::default() }
    }

    /// The surest client error since the last [`forget`](ClientErrors::forget); of equals the newest.
    pub fn worst(&self) -> Option<ClientError> {
        self.lock().heard.iter().rev().min_by_key(|client_error| client_error.cause).cloned()
    }

    pub fn is_final(&self) -> bool {
        self.worst().is_some_and(|client_error| client_error.cause.is_final())
    }

    /// A broker has answered.
    pub fn forget(&self) {
        self.lock().heard.clear();
    }

    /// Logs a line, unless the same was logged a moment ago.
    pub fn tell(&self, line: &str) {
        if !self.is_logged {
            tracing::debug!(error = line, "kafka");
            return;
        }
        let now = SystemClock.boot();
        let mut state = self.lock();
        if state.logged.len() >= LINES_MAX {
            state.logged.clear();
        }
        let (last, held_back) = state.logged.entry(without_times(line).to_owned()).or_default();
        if !last.is_zero() && now.saturating_sub(*last) < SAME_LINE_EVERY {
            *held_back += 1;
            return;
        }
        tracing::warn!(error = line, repeated = *held_back, "kafka");
        (*last, *held_back) = (now, 0);
    }

    fn hear(&self, code: Option<RDKafkaErrorCode>, line: &str) {
        // That no broker is left says nothing that its own lines do not.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let mut state = self.lock();
        if state.heard.len() >= LINES_MAX {
            state.heard.remove(0);
        }
        state.heard.push(read(code, line));
    }

    fn lock(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientErrors {
    /// Called on librdkafka's own threads.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let line = message.split_once("]: ").filter(|_| message.starts_with("[thrd:"));
        let line = line.map_or(message, |(_, line)| line);
        if facility == "FAIL" {
            self.hear(None, line);
        }
        if (level as i32) <= RDKafkaLogLevel::Warning as i32 {
            self.tell(line);
        } else {
            tracing::debug!(target: "librdkafka", "{facility}: {message}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear(error.rdkafka_error_code(), reason);
    }
}

impl ConsumerContext for ClientErrors {}

/// A client all of whose lines go to its context. What is logged goes through `tracing` from there: where
/// librdkafka serves its queues by itself, as while it closes, it would print lines of its own to stderr.
pub fn client<C: ConsumerContext>(config: &ClientConfig, context: C) -> KafkaResult<BaseConsumer<C>> {
    let client: BaseConsumer<C> = config.create_with_context(context)?;
    #[expect(unsafe_code, reason = "rdkafka has no safe form of the logger")]
    // SAFETY: the handle is valid, and its opaque pointer is the context, which `client` keeps for longer.
    unsafe {
        c::rd_kafka_set_logger(client.client().native_ptr(), Some(logger::<C>));
    }
    Ok(client)
}

#[expect(unsafe_code, reason = "librdkafka calls it")]
/// # Safety
/// The opaque pointer of `client` is a `C` that outlives it, and the texts are C strings or null.
unsafe extern "C" fn logger<C: ClientContext>(
    client: *const c::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    if client.is_null() || facility.is_null() || message.is_null() {
        return;
    }
    // SAFETY: the caller's promise; contexts are shared between threads.
    let context = unsafe { &*c::rd_kafka_opaque(client).cast::<C>() };
    // SAFETY: the caller's promise.
    let (facility, message) = unsafe { (CStr::from_ptr(facility), CStr::from_ptr(message)) };
    context.log(level_of(level), &facility.to_string_lossy(), message.to_string_lossy().trim());
}

/// By its number in syslog.
fn level_of(level: c_int) -> RDKafkaLogLevel {
    match level {
        ..=2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        7.. => RDKafkaLogLevel::Debug,
    }
}

/// `[protocol://]host:port/name: text (after 3ms in state NAME)`
fn read(code: Option<RDKafkaErrorCode>, line: &str) -> ClientError {
    let (place, text) = match line.split_once(": ") {
        Some((place, text)) if place.contains('/') => (Some(place), text),
        _ => (None, line),
    };
    let protocol = place.and_then(|place| place.split_once("://")).map_or("", |(protocol, _)| protocol);
    let broker = place.map(|place| place.rsplit("://").next().unwrap_or(place));
    let broker = broker.and_then(|address| address.split('/').next()).map(str::to_owned);
    ClientError { cause: cause(code, protocol, text), broker, text: without_times(text).to_owned() }
}

fn cause(code: Option<RDKafkaErrorCode>, protocol: &str, text: &str) -> Cause {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let in_state = |name: &str| text.contains(&format!("in state {name}"));
    let refused =
        matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed));
    if says(&["supported mechanisms", "Unsupported SASL mechanism"]) {
        Cause::Mechanism
    } else if refused || says(&["SASL authentication error", "Authentication failed"]) {
        Cause::Refused
    } else if says(&["certificate verify failed", "verify broker certificate"]) {
        Cause::Untrusted
    } else if says(&[
        "alert bad certificate",
        "alert certificate",
        "alert unknown ca",
        "client SSL authentication",
    ]) {
        Cause::ClientCertificate
    } else if says(&["PLAINTEXT broker listener", "wrong version number", "packet length too long"])
        || (says(&["Disconnected"]) && in_state("SSL_HANDSHAKE"))
    {
        Cause::NoTls
    } else if says(&["Disconnected"]) && in_state("APIVERSION_QUERY") && !protocol.ends_with("ssl") {
        Cause::WantsTls
    } else if says(&["Disconnected"]) && protocol == "ssl" {
        Cause::WantsSasl
    } else {
        Cause::Other
    }
}

/// librdkafka's lines end in how long it took.
fn without_times(text: &str) -> &str {
    text.split(" (after ").next().unwrap_or(text)
}

impl ClientError {
    /// As a person sees it.
    pub fn explained(&self, kafka: &Kafka) -> Error {
        let broker = self.broker.as_deref().unwrap_or(&kafka.brokers);
        let section = |ours: &'static str| match kafka.security {
            Security::None => "[kafka.librdkafka]",
            _ => ours,
        };
        let (kind, what, remedy) = match self.cause {
            Cause::Refused => (
                ErrorKind::Denied,
                format!("the broker at {broker} refuses the credentials: {}", self.text),
                format!("check `username`, `password` and `mechanism` under {}", section("[kafka.sasl]")),
            ),
            Cause::Mechanism => (
                ErrorKind::Denied,
                format!("the broker at {broker} does not offer this way to log in: {}", self.text),
                format!("choose one of its mechanisms as `mechanism` under {}", section("[kafka.sasl]")),
            ),
            Cause::ClientCertificate => (
                ErrorKind::Denied,
                format!("the broker at {broker} wants a client certificate that it knows"),
                format!("give `cert` and `key` that its authority signed under {}", section("[kafka.tls]")),
            ),
            Cause::Untrusted => (
                ErrorKind::Unavailable,
                format!("the certificate of the broker at {broker} is not signed by an authority that we trust"),
                trust(kafka),
            ),
            Cause::NoTls => (
                ErrorKind::Unavailable,
                format!("the broker at {broker} does not speak TLS"),
                "use the port of its TLS listener, or write `auth = \"none\"` if it has none".to_owned(),
            ),
            Cause::WantsTls => (
                ErrorKind::Unavailable,
                format!("the broker at {broker} breaks off before it answers, as TLS listeners do"),
                "write `auth = \"tls\"` or `auth = \"sasl\"` under [kafka], or use the port of its plain listener"
                    .to_owned(),
            ),
            Cause::WantsSasl => (
                ErrorKind::Unavailable,
                format!("the broker at {broker} breaks off after the TLS handshake, as SASL listeners do"),
                "write `auth = \"sasl\"` under [kafka], with a [kafka.sasl]".to_owned(),
            ),
            Cause::Other => return unreachable(broker, &self.text),
        };
        Error::new(kind, what).remedy(remedy)
    }

    /// A certificate that is good but for its name.
    pub fn of_another_host(&self, kafka: &Kafka) -> Error {
        let broker = self.broker.as_deref().unwrap_or(&kafka.brokers);
        let what = format!("the certificate of the broker at {broker} is for another host name");
        Error::new(ErrorKind::Unavailable, what).remedy(format!(
            "write the name that its certificate has in `brokers` (and in its advertised listeners): \
             `openssl s_client -connect {broker}` shows it"
        ))
    }
}

fn trust(kafka: &Kafka) -> String {
    let tls = match &kafka.security {
        Security::Tls(tls) | Security::Sasl(_, tls) => Some(tls),
        Security::None => None,
    };
    match tls.map(|tls| &tls.ca) {
        Some(Some(ca)) => format!("put the authority that signed it into {ca}, the `ca` under [kafka.tls]"),
        Some(None) => "name the file of its authority as `ca` under [kafka.tls]: \
             without it the system's authorities are trusted"
            .to_owned(),
        None => "name the file of its authority in `ssl.ca.location` under [kafka.librdkafka]".to_owned(),
    }
}

pub fn unreachable(broker: &str, reason: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no answer from the broker at {broker}: {reason}"))
        .remedy("check that `brokers` is right and that the broker is running and reachable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::prefetch::Prefetch;

    /// Lines as librdkafka 2.12 wrote them.
    #[test]
    fn a_line_tells_whose_fault_it_is() {
        use RDKafkaErrorCode as Code;
        let at = "sasl_ssl://localhost:9093/bootstrap: ";
        let cases = [
            (
                Some(Code::Authentication),
                at,
                "SASL authentication error: Authentication failed: Invalid username or password (after 302ms in state AUTH_REQ)",
                Cause::Refused,
            ),
            (
                None,
                at,
                "SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 360ms in state AUTH_REQ)",
                Cause::Refused,
            ),
            (
                Some(Code::Authentication),
                at,
                "SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN (after 3ms in state AUTH_HANDSHAKE)",
                Cause::Mechanism,
            ),
            (
                Some(Code::SSL),
                at,
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA certificates are installed (install ca-certificates package) (after 12ms in state SSL_HANDSHAKE)",
                Cause::Untrusted,
            ),
            (
                None,
                "ssl://localhost:9094/1: ",
                "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 7ms in state APIVERSION_QUERY)",
                Cause::ClientCertificate,
            ),
            (
                None,
                at,
                "SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
                Cause::NoTls,
            ),
            (
                None,
                at,
                "Disconnected: SSL connection closed by peer (after 1ms in state SSL_HANDSHAKE)",
                Cause::NoTls,
            ),
            (
                None,
                "localhost:9093/bootstrap: ",
                "Disconnected: connection closed by peer: receive 0 after POLLIN (after 3ms in state APIVERSION_QUERY)",
                Cause::WantsTls,
            ),
            (
                None,
                "ssl://localhost:9093/bootstrap: ",
                "Disconnected: SSL connection closed by peer (after 0ms in state UP)",
                Cause::WantsSasl,
            ),
            (
                None,
                "localhost:9092/bootstrap: ",
                "Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)",
                Cause::Other,
            ),
        ];
        for (code, place, text, cause) in cases {
            let client_error = read(code, &format!("{place}{text}"));
            assert_eq!(client_error.cause, cause, "{text}");
            assert!(client_error.broker.as_deref().is_some_and(|broker| broker.starts_with("localhost:909")));
            assert!(!client_error.text.contains("(after"), "{}", client_error.text);
        }
    }

    /// What a client writes to stderr while nobody answers, and when it ends, in a process of its own.
    #[test]
    fn every_line_of_a_client_goes_through_tracing() {
        const IS_CHILD: &str = "THALWEG_TEST_LINES";
        if std::env::var_os(IS_CHILD).is_some() {
            tracing_subscriber::fmt()
                .json()
                .with_writer(std::io::stderr)
                .with_max_level(tracing::Level::DEBUG)
                .init();
            let kafka = Kafka {
                brokers: "127.0.0.1:1".to_owned(),
                security: Security::None,
                group: None,
                librdkafka: [("debug".to_owned(), crate::config::Secret::new("broker,consumer"))].into(),
            };
            let mut source = super::super::kafka::KafkaSource::new(&kafka, Prefetch::for_a_sample()).unwrap();
            let begun = SystemClock.boot();
            while SystemClock.boot() - begun < Duration::from_secs(2) {
                source.poll(Duration::from_millis(100));
            }
            return;
        }
        let name = "source::client_errors::tests::every_line_of_a_client_goes_through_tracing";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", name, "--nocapture"]).env(IS_CHILD, "1").output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        let raw: Vec<&str> = text.lines().filter(|line| !line.starts_with('{')).collect();
        assert!(raw.is_empty(), "{raw:#?}");
        assert!(text.contains("Connection refused"), "and they are not lost: {text}");
    }

    #[test]
    fn the_surest_cause_wins_and_an_answer_forgets_it() {
        let client_errors = ClientErrors::silent();
        client_errors.hear(None, "h:1/bootstrap: Connect to ipv4#1 failed: Connection refused");
        assert!(!client_errors.is_final());
        client_errors.hear(Some(RDKafkaErrorCode::Authentication), "h:1/bootstrap: no");
        client_errors.hear(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        client_errors.hear(None, "h:1/bootstrap: Connect to ipv4#1 failed: Connection refused");
        assert!(client_errors.is_final());
        assert_eq!(client_errors.worst().unwrap().cause, Cause::Refused);
        client_errors.forget();
        assert_eq!(client_errors.worst(), None);
    }

    #[test]
    fn what_is_heard_has_a_limit() {
        let client_errors = ClientErrors::logged();
        for number in 0..1_000 {
            client_errors.hear(None, &format!("h:{number}/1: no"));
            client_errors.tell(&format!("line {number}"));
        }
        let state = client_errors.lock();
        assert!(state.heard.len() <= LINES_MAX && state.logged.len() <= LINES_MAX);
    }

    #[test]
    fn a_line_that_repeats_is_held_back_and_counted() {
        let client_errors = ClientErrors::logged();
        for milliseconds in 0..50 {
            client_errors.tell(&format!("the same (after {milliseconds}ms in state CONNECT)"));
        }
        assert_eq!(client_errors.lock().logged["the same"].1, 49);
    }
}
