//! Stories of the config: what a file means.
