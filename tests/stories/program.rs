//! The built program, run and watched from outside.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, select};

/// Longer than anything here takes on a loaded machine.
pub const TIMEOUT: Duration = Duration::from_secs(90);

/// A run of the program that has not ended, as far as we know.
pub struct Running {
    child: Child,
    lines: Receiver<(Stream, String)>,
    stdout: String,
    stderr: String,
}

/// How it ended. Signals have no code: -1.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

pub fn run_until_end(config: &Path) -> Ended {
    start(&["run", "--until-end"], config).end(TIMEOUT)
}

pub fn run(config: &Path) -> Running {
    start(&["run"], config)
}

pub fn start(command: &[&str], config: &Path) -> Running {
    program(&[command, &["-c", config.to_str().expect("scratch paths are UTF-8")]].concat())
}

/// The program with these arguments and no variable that changes what it does.
pub fn program(arguments: &[&str]) -> Running {
    program_with(&[], arguments)
}

/// The same with variables of its own.
pub fn program_with(environment: &[(&str, &str)], arguments: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .envs(environment.iter().copied())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, lines) = bounded(100_000);
    forward(child.stdout.take().expect("it is piped"), Stream::Out, out.clone());
    forward(child.stderr.take().expect("it is piped"), Stream::Err, out);
    Running { child, lines, stdout: String::new(), stderr: String::new() }
}

fn forward(from: impl Read + Send + 'static, stream: Stream, to: Sender<(Stream, String)>) {
    let body = move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send((stream, line)).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("lines".to_owned()).spawn(body).unwrap();
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stderr that holds the text, and returns it.
    pub fn until(&mut self, text: &str) -> String {
        let deadline = after(TIMEOUT);
        loop {
            match self.next_line(&deadline) {
                Next::Line(Stream::Err, line) if line.contains(text) => return line,
                Next::Line(..) => {}
                Next::Closed => panic!("it ended without {text:?}:\n{}", self.stderr),
                Next::Late => panic!("no {text:?} in time:\n{}", self.stderr),
            }
        }
    }

    /// Watches for a while. False when it has ended meanwhile.
    pub fn watch(&mut self, time: Duration) -> bool {
        let deadline = after(time);
        loop {
            match self.next_line(&deadline) {
                Next::Line(..) => {}
                Next::Closed => return false,
                Next::Late => return true,
            }
        }
    }

    /// Whether it has said this on stderr by now.
    pub fn has_said(&mut self, text: &str) -> bool {
        assert!(self.watch(Duration::from_millis(50)), "it ended:\n{}", self.stderr);
        self.stderr.contains(text)
    }

    /// How often it has said this on stderr by now.
    pub fn times_said(&mut self, text: &str) -> usize {
        assert!(self.watch(Duration::from_millis(50)), "it ended:\n{}", self.stderr);
        self.stderr.matches(text).count()
    }

    /// Watches until the condition holds.
    pub fn watch_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = after(TIMEOUT);
        while !holds() {
            assert!(self.watch(Duration::from_millis(50)), "it ended before {what}:\n{}", self.stderr);
            assert!(deadline.is_empty(), "not in time: {what}\n{}", self.stderr);
        }
    }

    /// The address of its administration port.
    pub fn address(&mut self) -> String {
        let line = self.until("serving /metrics");
        let text = line.split_whitespace().find_map(|word| word.strip_prefix("address=").map(str::to_owned));
        let json =
            || serde_json::from_str::<serde_json::Value>(&line).ok()?["address"].as_str().map(str::to_owned);
        text.or_else(json).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success(), "kill {name}: {status}");
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asked to end, it does so within its time, and says that all went well.
    pub fn ends_in_order(self) -> Ended {
        self.signal("-TERM");
        self.end(Duration::from_secs(12)).with(0)
    }

    /// Waits for its end, at most so long.
    pub fn end(mut self, limit: Duration) -> Ended {
        let deadline = after(limit);
        loop {
            match self.next_line(&deadline) {
                Next::Line(..) => {}
                Next::Closed => break,
                Next::Late => panic!("it did not end within {limit:?}:\n{}", self.stderr),
            }
        }
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = (std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr));
        assert!(!stderr.contains("panicked at"), "a panic was shown:\n{stderr}");
        Ended { code: status.code().unwrap_or(-1), stdout, stderr }
    }

    fn next_line(&mut self, deadline: &Receiver<std::time::Instant>) -> Next {
        select! {
            recv(self.lines) -> line => match line {
                Err(_) => Next::Closed,
                Ok((stream, line)) => {
                    let seen = match stream { Stream::Out => &mut self.stdout, Stream::Err => &mut self.stderr };
                    seen.push_str(&line);
                    seen.push('\n');
                    Next::Line(stream, line)
                }
            },
            recv(deadline) -> _ => Next::Late,
        }
    }
}

/// A failing story leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub fn with(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn saying(self, text: &str) -> Ended {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
        self
    }
}

impl Ended {
    /// Its log, where every line on stderr is one JSON object.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let read = |line: &str| match serde_json::from_str(line) {
            Ok(serde_json::Value::Object(fields)) => serde_json::Value::Object(fields),
            other => panic!("{line:?} is no JSON object: {other:?}\n{}", self.stderr),
        };
        self.stderr.lines().map(read).collect()
    }
}

enum Next {
    Line(Stream, String),
    Closed,
    Late,
}

/// Status line and body.
pub fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// The sum over the labels of a metric; 0 where it is absent.
pub fn metric(address: &str, name: &str) -> f64 {
    let (_, text) = get(address, "/metrics");
    let values = text.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
