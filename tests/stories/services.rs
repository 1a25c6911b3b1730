//! One real broker and one real S3 server for all stories of this process.
//!
//! It owns their start, their end with this process, and the rule for machines
//! where they cannot run: THALWEG_SKIP_SERVICES=1 leaves a story out loudly,
//! without it the story fails.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub struct S3 {
    pub endpoint: String,
    /// What `tools/s3 start` printed.
    pub line: String,
    dir: PathBuf,
}

/// The broker's addresses, and where its certificates are.
pub struct Kafka {
    pub bootstrap: String,
    pub sasl_ssl: String,
    pub ssl: String,
    pub tls: String,
    /// What `tools/kafka start` printed.
    pub line: String,
}

/// The broker's plain address; `None` when services are left out.
pub fn kafka(story: &str) -> Option<&'static str> {
    secured_kafka(story).map(|kafka| kafka.bootstrap.as_str())
}

/// The same broker with its listeners for secured clients.
pub fn secured_kafka(story: &str) -> Option<&'static Kafka> {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    (!left_out(story)).then(|| {
        KAFKA.get_or_init(|| {
            let line = started("kafka", &["start", "--sasl-ssl", "--dir", &path(&scratch().join("kafka"))]);
            Kafka {
                bootstrap: word(&line, "bootstrap="),
                sasl_ssl: word(&line, "sasl_ssl="),
                ssl: word(&line, "ssl="),
                tls: word(&line, "tls="),
                line,
            }
        })
    })
}

/// A broker that one story may end or freeze.
pub struct OwnKafka {
    pub bootstrap: String,
    dir: PathBuf,
}

impl OwnKafka {
    pub fn start(name: &str) -> OwnKafka {
        let dir = scratch().join(name);
        let line = started("kafka", &["start", "--dir", &path(&dir)]);
        OwnKafka { bootstrap: word(&line, "bootstrap="), dir }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        tool("kafka", &["kill", "--dir", &path(&self.dir)]);
    }

    /// The file in which the first records of a partition lie.
    pub fn segment(&self, topic: &str, partition: i32) -> PathBuf {
        self.dir.join(format!("data/{topic}-{partition}/{:020}.log", 0))
    }

    /// With the topics and at the address of before.
    pub fn start_again(&self) {
        started("kafka", &["start", "--dir", &path(&self.dir)]);
    }
}

impl Drop for OwnKafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The S3 server of all stories.
pub fn s3() -> &'static S3 {
    static S3: OnceLock<S3> = OnceLock::new();
    S3.get_or_init(|| own_s3("s3", "s3proxy"))
}

/// A server that one story may end or stall.
pub fn own_s3(name: &str, server: &str) -> S3 {
    let dir = scratch().join(name);
    let line = started("s3", &["start", "--dir", &path(&dir), "--server", server]);
    S3 { endpoint: word(&line, "endpoint="), line, dir }
}

impl S3 {
    pub fn bucket(&self, name: &str) {
        tool("s3", &["bucket", "--dir", &path(&self.dir), name]);
    }

    pub fn kill(&self) {
        tool("s3", &["kill", "--dir", &path(&self.dir)]);
    }

    /// The config's section that reaches it.
    pub fn options(&self) -> String {
        self.options_with_secret("testtest1")
    }

    pub fn options_with_secret(&self, secret: &str) -> String {
        options_at(&self.endpoint, secret)
    }
}

fn options_at(endpoint: &str, secret: &str) -> String {
    format!(
        "[storage.options]\nendpoint = \"{endpoint}\"\naccess_key_id = \"test\"\n\
         secret_access_key = \"{secret}\"\nregion = \"us-east-1\"\n"
    )
}

/// A proxy in front of an S3 server that answers some requests with scripted faults.
pub struct Faults {
    pub endpoint: String,
    dir: PathBuf,
}

impl Faults {
    /// No faults until some are set.
    pub fn before(s3: &S3, name: &str) -> Faults {
        let dir = scratch().join(name);
        let line = started("faults", &["start", "--dir", &path(&dir), "--upstream", &s3.endpoint]);
        Faults { endpoint: word(&line, "endpoint="), dir }
    }

    pub fn set(&self, settings: &[&str]) {
        tool("faults", &[&["set", "--dir", &path(&self.dir)][..], settings].concat());
    }

    pub fn options(&self) -> String {
        options_at(&self.endpoint, "testtest1")
    }

    /// A line of the log for each request so far.
    pub fn requests(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.dir.join("requests.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The fault of each request, if it met one.
    pub fn kinds(&self) -> Vec<Option<String>> {
        self.requests().iter().map(|one| one["kind"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        tool("faults", &["stop", "--dir", &path(&self.dir)]);
    }
}

/// A directory of this process. Those of processes that are gone are removed.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix("stories-"));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // What is left of an old run may still be in use by its dying servers.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = parent.join(format!("stories-{}", std::process::id()));
        fs::create_dir_all(&own).unwrap();
        own
    })
}

/// Runs a program of `tools/` and returns what it printed.
pub fn tool(name: &str, arguments: &[&str]) -> String {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name);
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "tools/{name} {arguments:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a few lines of Python with the oracles' packages and returns what they
/// printed. They end without an orderly exit, which threads of a reader may abort.
pub fn python(lines: &str, arguments: &[&str]) -> String {
    let ending = "import os, sys; sys.stdout.flush(); os._exit(0)";
    tool("python", &[&["-c", &format!("{lines}\n{ending}\n")], arguments].concat())
}

pub fn path(path: &Path) -> String {
    path.to_str().expect("scratch paths are UTF-8").to_owned()
}

/// Starts a server that ends with this process, and returns the line that it prints.
fn started(name: &str, arguments: &[&str]) -> String {
    let pid = std::process::id().to_string();
    tool(name, &[arguments, &["--while", &pid]].concat()).trim().to_owned()
}

/// The word of a line that begins with `key`.
fn word(line: &str, key: &str) -> String {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(key));
    found.unwrap_or_else(|| panic!("no {key:?} in {line:?}")).to_owned()
}

fn left_out(story: &str) -> bool {
    if std::env::var("THALWEG_SKIP_SERVICES").as_deref() != Ok("1") {
        return false;
    }
    leave_out(story, "THALWEG_SKIP_SERVICES=1");
    true
}

/// Says that a story was not told, where `tools/check` counts it.
pub fn leave_out(story: &str, because: &str) {
    eprintln!("LEFT OUT, because {because}: {story}");
    if let Some(log) = std::env::var_os("THALWEG_SKIPPED_LOG") {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "{story}: {because}").unwrap();
    }
}
