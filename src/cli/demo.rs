//! `thalweg demo`.

use super::arguments::DemoArguments;
use crate::demo::{self, Demo};
use crate::error::Result;

pub fn demo(arguments: &DemoArguments) -> Result<()> {
    let stop = super::run::stop_signals()?;
    demo::run(
        &Demo { dir: arguments.dir.clone(), seconds: arguments.seconds, tamper: arguments.tamper },
        &stop,
    )
}
