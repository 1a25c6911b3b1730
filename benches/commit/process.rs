//! What a process has used: CPU to the nanosecond, memory by its peak.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// Wall time from when it is made.
pub struct Stopwatch(Instant);

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The allocator and the kernel as the program has them: see its `main.rs`.
#[expect(unsafe_code, reason = "the allocator's options have no safe form")]
pub fn keep_little_memory() {
    unsafe extern "C" {
        fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
    }
    // SAFETY: the allocator is linked in, the option (its delay of purging) exists, no other thread
    // runs yet; the second call sets a flag of this process.
    unsafe {
        mi_option_set(15, 250);
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// CPU time of the whole process, all threads, user and system.
#[expect(unsafe_code, reason = "std has no clock of the process")]
pub fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// KiB resident at most so far, the program's own pages included.
pub fn peak() -> u64 {
    status("VmHWM:")
}

/// Watches how much memory the process has for itself: what of the program is paged in does not count.
pub struct Watch {
    before: u64,
    most: Arc<AtomicU64>,
    _end: Sender<()>,
}

impl Watch {
    pub fn start() -> Watch {
        let before = status("RssAnon:");
        let most = Arc::new(AtomicU64::new(before));
        let (end, ended) = bounded::<()>(0);
        let seen = Arc::clone(&most);
        let look = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(2)) {
                seen.fetch_max(status("RssAnon:"), Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().name("watch".to_owned()).spawn(look).expect("one more thread");
        Watch { before, most, _end: end }
    }

    /// KiB at most above what it was at the start.
    pub fn more(&self) -> u64 {
        self.most.load(Ordering::Relaxed).max(status("RssAnon:")).saturating_sub(self.before)
    }
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
