//! `thalweg run`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::arguments::RunArguments;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::ingester::{self, Run};

/// A second signal ends the process at once, undrained.
const ABORTED: i32 = 130;

pub fn run(arguments: &RunArguments) -> Result<()> {
    let config = super::config_argument::load_config(&arguments.config)?;
    if arguments.accept_loss {
        super::offsets::pass_lost(&config)?;
    }
    let stop = stop_signals()?;
    ingester::run(&Run { config, until_end: arguments.until_end, clock: Arc::new(SystemClock), stop })
}

/// SIGTERM and SIGINT ask for a drain; the second of them aborts.
pub(super) fn stop_signals() -> Result<Receiver<()>> {
    let failed =
        |error: std::io::Error| Error::new(ErrorKind::Io, format!("signals cannot be handled: {error}"));
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered in this order: the first signal finds the flag down and raises it.
        signal_hook::flag::register_conditional_shutdown(signal, ABORTED, Arc::clone(&seen))
            .map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&seen)).map_err(failed)?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (asked, stop) = bounded(1);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                // Asking once is enough.
                let _ = asked.try_send(());
            }
        })
        .map_err(failed)?;
    Ok(stop)
}
