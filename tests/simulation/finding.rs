//! What is wrong with a history, and who says so.

use std::fmt;

use thalweg::error::{Error, ErrorKind};

/// Who found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The oracle, or a world in which not all is committed in the end.
    Verdict,
    /// An instance ended with an error that nobody should see now.
    Ended(ErrorKind),
    /// The code's own assertion.
    Panicked,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub class: Class,
    pub said: String,
}

impl Finding {
    pub fn ended(name: &str, error: &Error) -> Finding {
        let said = format!("{name} failed: {:?} {error}", error.kind);
        Finding { class: Class::Ended(error.kind), said }
    }
}

impl From<String> for Finding {
    fn from(said: String) -> Finding {
        Finding { class: Class::Verdict, said }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}
