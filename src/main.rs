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
    use object_store::{ObjectStoreExt, PutMode};
    use thalweg::host;
    use thalweg::stores::store::Store;

    use super::*;

    /// Memory of this process that no file stands behind.
    fn anonymous_mib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
    }

    /// Writes and reads so many files at once, of sizes as commits and small data files have them.
    async fn files(store: &Store, round: usize, at_once: usize) {
        let one = |number: usize| {
            let (store, bytes) = (store.clone(), 2_000 + (round * 7 + number * 331) % 30_000);
            tokio::spawn(async move {
                let path = store.path(&format!("{}-{number}", round % 50));
                let body = bytes::Bytes::from(vec![7; bytes]);
                store.objects.put_opts(&path, body.into(), PutMode::Overwrite.into()).await.unwrap();
                assert_eq!(store.objects.get(&path).await.unwrap().bytes().await.unwrap().len(), bytes);
            })
        };
        for task in (0..at_once).map(one).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn threads_of_a_burst_keep_no_memory_while_files_are_written_on() {
        #[expect(unsafe_code, reason = "the allocator's options have no safe form")]
        // SAFETY: reads a number of an option that exists.
        let default = unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(default, 1000, "no other option of the allocator has this default");
        keep_little_memory();
        let directory = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(directory.path()).unwrap();
        let store = Store::open(&url, &std::collections::BTreeMap::new()).unwrap();
        host::io_runtime().unwrap().block_on(async {
            let before = anonymous_mib();
            for round in 0..2_000 {
                files(&store, round, if round % 500 == 0 { 64 } else { 4 }).await;
            }
            let after = anonymous_mib();
            println!("{before} MiB before, {after} MiB after");
            assert!(after < before + 80, "{before} MiB before, {after} MiB after");
        });
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
