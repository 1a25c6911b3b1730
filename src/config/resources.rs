//! What this process may use of the machine: cores and memory.
//!
//! It owns the reading of the affinity mask, the core topology and the
//! cgroup limits (v2 and v1). It does not pin threads and decides nothing
//! about what the memory is for.

use std::path::{Path, PathBuf};

/// What this process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Physical cores that may be kept busy, at least one.
    pub cores: usize,
    /// CPU ids to pin to, one per core. Empty under a CPU quota that is smaller
    /// than the affinity mask: every container of the machine would choose
    /// the same CPUs, and the scheduler knows better.
    pub pins: Vec<usize>,
    /// Bytes of memory, the smallest cgroup limit respected.
    pub memory: u64,
}

/// When nothing says how much memory there is.
const MEMORY_FALLBACK: u64 = 1 << 30;

impl Machine {
    /// Reads the machine that we run on.
    pub fn this() -> Machine {
        let allowed = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        Machine::read(Path::new("/"), allowed)
    }

    /// `root` holds `proc` and `sys`; `allowed` is the affinity mask.
    fn read(root: &Path, allowed: Vec<usize>) -> Machine {
        let siblings = |cpu: usize| {
            let name = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            read(&root.join(name)).map(|text| cpu_list(&text))
        };
        let mut pins = one_per_core(&allowed, siblings);
        let mut cores = pins.len().max(1);
        let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
        if let Some(quota) = cpu_quota(root, &groups)
            && whole_cores(quota) < cores
        {
            cores = whole_cores(quota);
            pins.clear();
        }
        let total = read(&root.join("proc/meminfo")).and_then(|text| meminfo_total(&text));
        let limit = memory_limit(root, &groups);
        let memory = total.into_iter().chain(limit).min().unwrap_or(MEMORY_FALLBACK);
        Machine { cores, pins, memory }
    }
}

/// The first allowed CPU of every physical core. A CPU whose siblings are unknown counts as a core.
fn one_per_core(allowed: &[usize], siblings: impl Fn(usize) -> Option<Vec<usize>>) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    for &cpu in allowed {
        let taken = siblings(cpu).is_some_and(|list| list.iter().any(|sibling| chosen.contains(sibling)));
        if !taken {
            chosen.push(cpu);
        }
    }
    chosen
}

/// Linux's list format: `0-3,8,10-11`.
fn cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// A quota of 2.5 keeps two cores busy and leaves half of one to everything else.
fn whole_cores(quota: f64) -> usize {
    (quota.floor() as usize).max(1)
}

/// The smallest CPU quota, in cores, on the way from our group to the root.
fn cpu_quota(root: &Path, groups: &str) -> Option<f64> {
    let v2 = group_files(root, groups, None, "cpu.max").into_iter().filter_map(|text| cpu_max(&text));
    let quotas = group_files(root, groups, Some("cpu"), "cpu.cfs_quota_us");
    let periods = group_files(root, groups, Some("cpu"), "cpu.cfs_period_us");
    let v1 = quotas.iter().zip(&periods).filter_map(|(quota, period)| cfs_quota(quota, period));
    v2.chain(v1).min_by(f64::total_cmp)
}

/// v2's `cpu.max`: `150000 100000`, or `max 100000`.
fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    cfs_quota(quota, period)
}

/// A quota of -1 (v1) or `max` (v2) is none.
fn cfs_quota(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// The smallest memory limit in bytes on the way from our group to the root.
fn memory_limit(root: &Path, groups: &str) -> Option<u64> {
    let v2 = group_files(root, groups, None, "memory.max");
    let v1 = group_files(root, groups, Some("memory"), "memory.limit_in_bytes");
    v2.iter().chain(&v1).filter_map(|text| text.trim().parse().ok()).min()
}

/// `MemTotal:       16384 kB`
fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The file `name` of our group and of every group above it. `controller` is
/// `None` for the unified hierarchy (v2).
///
/// Inside a container the path is often the host's while the mount shows our
/// own group as its root: groups that are not there are skipped.
fn group_files(root: &Path, groups: &str, controller: Option<&str>, name: &str) -> Vec<String> {
    let mounts: &[&str] = match controller {
        None => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
        Some("cpu") => &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"],
        Some(_) => &["sys/fs/cgroup/memory"],
    };
    let Some(own) = own_group(groups, controller) else { return Vec::new() };
    let own = PathBuf::from(own.trim_start_matches('/'));
    let files = |mount: &&str| -> Vec<String> {
        own.ancestors().filter_map(|group| read(&root.join(mount).join(group).join(name))).collect()
    };
    mounts.iter().map(files).find(|found| !found.is_empty()).unwrap_or_default()
}

/// Our path in one hierarchy of `/proc/self/cgroup`: lines `id:controllers:path`.
fn own_group<'a>(groups: &'a str, controller: Option<&str>) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = match controller {
            None => controllers.is_empty(),
            Some(controller) => controllers.split(',').any(|name| name == controller),
        };
        ours.then_some(path)
    })
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine in a directory: path and content of each file.
    fn machine(files: &[(&str, &str)], allowed: &[usize]) -> Machine {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Machine::read(root.path(), allowed.to_vec())
    }

    const TWO_THREADS_A_CORE: [(&str, &str); 4] = [
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"),
        ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n"),
        ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n"),
        ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3\n"),
    ];

    #[test]
    fn one_thread_of_each_physical_core_is_used() {
        assert_eq!(machine(&TWO_THREADS_A_CORE, &[0, 1, 2, 3]).pins, [0, 1]);
        assert_eq!(machine(&TWO_THREADS_A_CORE, &[1, 2, 3]).pins, [1, 2]);
        assert_eq!(machine(&TWO_THREADS_A_CORE, &[3]).pins, [3]);
    }

    #[test]
    fn an_unknown_topology_counts_every_cpu() {
        assert_eq!(machine(&[], &[4, 6]).pins, [4, 6]);
        assert_eq!(machine(&[], &[]), Machine { cores: 1, pins: vec![], memory: MEMORY_FALLBACK });
    }

    #[test]
    fn a_quota_bounds_the_cores_and_frees_the_pins() {
        let files = [
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("proc/meminfo", "MemTotal:       33554432 kB\nMemFree: 1 kB\n"),
            ("sys/fs/cgroup/pods/one/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pods/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/memory.max", "4294967296\n"),
        ];
        let expected = Machine { cores: 2, pins: vec![], memory: 4 * GIB };
        assert_eq!(machine(&files, &[0, 1, 2, 3, 4, 5, 6, 7]), expected);
        assert_eq!(machine(&files, &[5, 6]).pins, [5, 6], "a mask within the quota is ours to pin");
    }

    #[test]
    fn less_than_one_core_is_one_shard() {
        let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "50000 100000\n")];
        assert_eq!(machine(&files, &[0, 1]).cores, 1);
    }

    #[test]
    fn version_one_groups_are_read_where_the_container_sees_them() {
        let files = [
            ("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"),
            ("proc/meminfo", "MemTotal: 8388608 kB\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
        ];
        assert_eq!(machine(&files, &[0, 1, 2, 3]), Machine { cores: 3, pins: vec![], memory: GIB });
    }

    #[test]
    fn no_limit_is_the_whole_machine() {
        let files = [
            ("proc/self/cgroup", "4:memory:/\n1:cpu:/\n0::/\n"),
            ("proc/meminfo", "MemTotal: 8388608 kB\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(machine(&files, &[0, 1]), Machine { cores: 2, pins: vec![0, 1], memory: 8 * GIB });
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0-2,8,10-11\n"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(cpu_list(""), Vec::<usize>::new());
        assert_eq!(cpu_list("x,3"), [3]);
    }

    #[test]
    fn this_machine_has_a_core_and_memory() {
        let machine = Machine::this();
        assert!(machine.cores >= 1 && machine.pins.len() <= machine.cores);
        assert!(machine.memory > 1 << 20);
    }
}
