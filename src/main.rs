//! The program: its allocator, and the way to the command line.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's `purge_delay`. The crate names an older allocator's options only.
const PURGE_DELAY: c_int = 15;

/// How long freed memory stays with the process: by default a second, at full speed 70 MiB of it.
const PURGE_DELAY_MS: c_long = 250;

#[expect(unsafe_code, reason = "the allocator's options have no safe form")]
unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
    #[cfg(test)]
    fn mi_option_get(option: c_int) -> c_long;
    #[cfg(test)]
    fn mi_is_in_heap_region(memory: *const std::ffi::c_void) -> bool;
}

fn main() -> ExitCode {
    keep_little_memory();
    keep_memory_to_ourselves();
    thalweg::cli::main()
}

/// Memory that is freed goes back soon, and none is made up: the kernel fills huge pages where a
/// small part is in use, and what is given back comes again with the rest of its page.
#[expect(unsafe_code, reason = "the allocator's options have no safe form")]
fn keep_little_memory() {
    // SAFETY: the allocator is linked in, the option exists, and no other thread runs yet.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
    #[cfg(target_os = "linux")]
    // SAFETY: sets a flag of this process; a kernel that does not know it says so, and nothing else.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Lets the kernel write core dumps of this process, and others of this user look into it.
const CORE_DUMPS: &str = "THALWEG_CORE_DUMPS";

/// Passwords and payloads stand in memory, ours and that of libraries: no core dump takes them to a
/// disk, and only root may trace the process.
fn keep_memory_to_ourselves() {
    #[cfg(target_os = "linux")]
    if std::env::var_os(CORE_DUMPS).is_none_or(|value| value != "1") {
        #[expect(unsafe_code, reason = "the flag has no safe form")]
        // SAFETY: sets a flag of this process.
        let _ = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_is_set_is_the_delay_of_purging() {
        #[expect(unsafe_code, reason = "the allocator's options have no safe form")]
        // SAFETY: reads a number of an option that exists.
        let default = unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(default, 1000, "no other option of the allocator has this default");
    }

    #[test]
    fn the_memory_of_c_code_comes_from_the_same_allocator() {
        #[expect(unsafe_code, reason = "calls what librdkafka calls")]
        // SAFETY: the memory is given back once and never touched.
        let ours = unsafe {
            let memory = libc::calloc(1, 304);
            let ours = mi_is_in_heap_region(memory);
            libc::free(memory);
            ours
        };
        assert!(ours, "mimalloc's `override` puts its malloc in the place of the system's");
    }
}
