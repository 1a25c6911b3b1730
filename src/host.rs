//! Who this process is, and whether another one is still running.
//!
//! It owns the writer's identity as the machine tells it. What follows from
//! it is `protocol::fence`.

use std::fs;

use crate::clock::Clock;
use crate::protocol::fence::Writer;

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
