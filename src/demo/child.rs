//! The ingesting process: started, killed, started again, ended in order.
//!
//! It owns a real process, `thalweg run`, and that it never outlives us. What
//! it logs goes to a file.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::pause::pause;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

/// How long an orderly end may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub struct Ingester {
    config: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Ingester {
    pub fn start(config: &Path, log: &Path) -> Result<Ingester> {
        let child = spawn(config, log)?;
        Ok(Ingester { config: config.to_owned(), log: log.to_owned(), child })
    }

    /// SIGKILL, and a new process at once.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.signal(libc::SIGKILL)?;
        self.child.wait().map_err(|error| cannot("wait for", &error))?;
        self.child = spawn(&self.config, &self.log)?;
        Ok(())
    }

    /// An error if the process has ended, which nobody asked of it.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(|error| cannot("look at", &error))? {
            None => Ok(()),
            Some(status) => Err(self.ended_badly(status)),
        }
    }

    /// SIGTERM; the process must write and commit what it has, and exit with 0.
    pub fn drain(&mut self) -> Result<()> {
        self.signal(libc::SIGTERM)?;
        let deadline = SystemClock.boot() + DRAIN_TIMEOUT;
        loop {
            match self.child.try_wait().map_err(|error| cannot("wait for", &error))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.ended_badly(status)),
                None if SystemClock.boot() > deadline => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("the ingesting process did not end within {} s", DRAIN_TIMEOUT.as_secs()),
                    ));
                }
                None => pause(LOOK_EVERY),
            }
        }
    }

    #[expect(unsafe_code, reason = "std sends SIGKILL only")]
    fn signal(&self, signal: i32) -> Result<()> {
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: no memory is involved; the pid is our child's, which was not waited for yet and so
        // cannot be somebody else's.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(cannot("signal", &std::io::Error::last_os_error())),
        }
    }

    fn ended_badly(&self, status: ExitStatus) -> Error {
        Error::new(ErrorKind::Internal, format!("the ingesting process ended with {status}"))
            .remedy(format!("its last lines are in {}", self.log.display()))
    }
}

impl Drop for Ingester {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(unsafe_code, reason = "only the kernel can end a child whose parent was killed")]
fn spawn(config: &Path, log: &Path) -> Result<Child> {
    let program = std::env::current_exe().map_err(|error| cannot("find", &error))?;
    let log = File::options().create(true).append(true).open(log).map_err(|error| cannot("log", &error))?;
    let mut command = Command::new(program);
    command.arg("run").arg("-c").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // Ctrl-C is for us; we pass on what is meant.
    command.process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"THALWEG__") {
            command.env_remove(name);
        }
    }
    let parent = std::process::id() as libc::pid_t;
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have died before the kernel was asked.
            if libc::getppid() == parent { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
        });
    }
    command.spawn().map_err(|error| cannot("start", &error))
}

fn cannot(what: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} the ingesting process: {error}"))
}
