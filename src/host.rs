//! Who this process is, whether another one is still running, its I/O threads, and how it ends when a thread
//! of it fails.
//!
//! It owns the writer's identity as the machine tells it, and how many threads
//! stay. What follows from an identity is `protocol::fence`.

use std::fs;
use std::panic::PanicHookInfo;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::fence::Writer;

/// How long a thread that waited for a disk is kept for the next who waits.
const IDLE_FOR: Duration = Duration::from_millis(20);

/// The threads that carry files and commits into stores: two that run requests, and as many as wait for a
/// disk now.
///
/// What a thread allocated and another one freed comes back to the allocator only when the first allocates
/// again, or ends. A burst makes many threads, the runtime takes them in turn, and each of them would hold
/// megabytes for as long as anything is written: they end soon instead.
pub fn io_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .thread_keep_alive(IDLE_FOR)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Io, format!("the I/O threads cannot start: {error}")))
}

/// This process, as it signs its commits; the group is the config's.
pub fn this_process(clock: &dyn Clock) -> Writer {
    let pid = std::process::id();
    Writer { instance: clock.fresh_id(), host: host(), pid, started: started(pid).unwrap_or(0), group: None }
}

/// Whether the writer runs on this machine right now. False also where we
/// cannot know: a process of another host.
pub fn is_alive(writer: &Writer) -> bool {
    writer.host == host()
        && writer.pid != std::process::id()
        && writer.started != 0
        && started(writer.pid) == Some(writer.started)
}

/// Has a panic of any thread end the process. Others would wait for what that thread was to do, for ever;
/// whoever starts the process again reads on from the tables, and nothing is lost.
pub fn end_on_panic(tell: impl Fn(&PanicHookInfo<'_>) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        #[expect(unsafe_code, reason = "what runs at an orderly exit may wait for the thread that panics")]
        // SAFETY: ends the process; nothing of it runs afterwards.
        unsafe {
            libc::_exit(ErrorKind::Internal.exit_code().into())
        }
    }));
}

/// The host's name and, since containers may share it, the process namespace.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").ok();
    let namespace = namespace.as_ref().and_then(|link| link.to_str()).unwrap_or_default();
    format!("{} {namespace}", name.trim()).trim().to_owned()
}

/// The start time of a process in clock ticks since boot; `None` where there is none.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: fields are counted after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::process::Command;

    #[test]
    fn a_panic_of_one_thread_ends_the_process_as_an_internal_error() {
        const IS_CHILD: &str = "THALWEG_TEST_PANICS";
        if std::env::var_os(IS_CHILD).is_some() {
            end_on_panic(|panic| eprintln!("{panic}"));
            let _ = std::thread::Builder::new().spawn(|| panic!("of one thread")).unwrap().join();
            return;
        }
        let name = "host::tests::a_panic_of_one_thread_ends_the_process_as_an_internal_error";
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", name, "--nocapture"]).env(IS_CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(70));
        assert!(String::from_utf8_lossy(&output.stderr).contains("of one thread"), "it is told why");
    }

    #[test]
    fn a_running_process_is_alive_and_a_killed_one_is_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let writer =
            Writer { pid: child.id(), started: started(child.id()).unwrap(), ..this_process(&SystemClock) };
        assert!(is_alive(&writer));
        assert!(!is_alive(&Writer { host: "elsewhere".into(), ..writer.clone() }));
        assert!(!is_alive(&Writer { started: writer.started + 1, ..writer.clone() }), "a reused pid");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(&writer));
    }
}
