//! What one record leaves behind while it is read, and where in it we are.
//!
//! It owns the path for explanations, and what happens to members that the
//! schema does not know. It fills no column.

use serde::de::{self, MapAccess};
use serde_json::value::RawValue;

use super::super::bad::{BadReason, BadRecord, excerpt};
use super::super::rescue::{self, Rescued, Unfit};
use super::plan::{Plan, StructPlan};
use crate::config::OnNewField;

/// Buffers that live from record to record.
pub(super) struct State {
    pub(super) on_new_field: OnNewField,
    /// Where in the row we are; on an error it stays where the error was.
    pub(super) path: Vec<Step>,
    /// The map keys that `path` refers to.
    pub(super) keys: String,
    /// The last key that the schema does not know.
    pub(super) unknown: String,
    pub(super) rescued: Rescued,
    pub(super) failure: Option<(BadReason, String)>,
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    Field(usize),
    Index(usize),
    /// A map entry, its key from here on in `keys`.
    Key(usize),
}

impl State {
    pub(super) fn new(on_new_field: OnNewField) -> State {
        State {
            on_new_field,
            path: Vec::new(),
            keys: String::new(),
            unknown: String::new(),
            rescued: Rescued::default(),
            failure: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.path.clear();
        self.keys.clear();
        self.rescued.clear();
        self.failure = None;
    }

    /// Notes why the record is bad; the error only unwinds the parser.
    pub(super) fn fail<E: de::Error>(&mut self, reason: BadReason, detail: String) -> E {
        self.failure = Some((reason, detail));
        E::custom("")
    }
}

/// One record being read.
pub(super) struct Run<'r> {
    pub(super) root: &'r StructPlan,
    pub(super) state: &'r mut State,
}

impl Run<'_> {
    /// Reads over the value of a member that the schema does not know.
    pub(super) fn unknown<'de, A: MapAccess<'de>>(&mut self, members: &mut A) -> Result<(), A::Error> {
        if self.state.on_new_field == OnNewField::Fail {
            let mut path = path_text(self.root, &self.state.path, &self.state.keys);
            rescue::push_name(&mut path, &self.state.unknown);
            let detail = format!("`{}`: the schema has no such field", excerpt(&path));
            self.state.path.clear();
            return Err(self.state.fail(BadReason::UnknownField, detail));
        }
        let value: &RawValue = members.next_value()?;
        // Containers open around this value: the record, and one for each step.
        let depth_max = DEPTH_MAX.saturating_sub(self.state.path.len() + 1);
        rescue::check(value.get(), depth_max).map_err(|unfit| {
            let detail = match unfit {
                Unfit::Surrogate => "half a surrogate pair in a string",
                Unfit::Depth => "recursion limit exceeded",
            };
            self.state.fail(BadReason::Syntax, detail.to_owned())
        })?;
        if self.state.on_new_field == OnNewField::Rescue {
            let State { path, keys, unknown, rescued, .. } = &mut *self.state;
            let write_path = |out: &mut String| {
                write_path(self.root, path, keys, out);
                rescue::push_name(out, unknown);
            };
            rescued.add(write_path, value.get());
        }
        Ok(())
    }

    /// A key came again: what its earlier value had rescued goes.
    pub(super) fn forget_rescued_here(&mut self) {
        let State { path, keys, rescued, .. } = &mut *self.state;
        if !rescued.is_empty() {
            rescued.forget(|out| write_path(self.root, path, keys, out));
        }
    }

    pub(super) fn bad_record(&mut self, error: &serde_json::Error) -> BadRecord {
        let path = path_text(self.root, &self.state.path, &self.state.keys);
        let at = if path.is_empty() { String::new() } else { format!("`{}`: ", excerpt(&path)) };
        match self.state.failure.take() {
            Some((reason, detail)) => BadRecord { reason, detail: at + &detail },
            // serde_json knows no other word for it; no payload is in its messages.
            None if error.to_string().starts_with("number out of range") => {
                BadRecord { reason: BadReason::Range, detail: at + "number out of range" }
            }
            None => BadRecord { reason: BadReason::Syntax, detail: error.to_string() },
        }
    }
}

/// Containers inside each other that serde_json reads.
pub(super) const DEPTH_MAX: usize = 127;

pub(super) fn path_text(root: &StructPlan, path: &[Step], keys: &str) -> String {
    let mut out = String::new();
    write_path(root, path, keys, &mut out);
    out
}

pub(super) fn write_path(root: &StructPlan, path: &[Step], keys: &str, out: &mut String) {
    let mut plan: Option<&Plan> = None;
    for (at, step) in path.iter().enumerate() {
        plan = match (step, plan) {
            (Step::Field(index), None) => Some(write_field(root, *index, out)),
            (Step::Field(index), Some(Plan::Struct(members))) => Some(write_field(members, *index, out)),
            (Step::Index(index), Some(Plan::Array(element))) => {
                out.push_str(&format!("[{index}]"));
                Some(&element.plan)
            }
            (Step::Key(start), Some(Plan::Map(value))) => {
                let end = path[at + 1..].iter().find_map(|step| match step {
                    Step::Key(next) => Some(*next),
                    _ => None,
                });
                rescue::push_name(out, &keys[*start..end.unwrap_or(keys.len())]);
                Some(&value.plan)
            }
            _ => unreachable!("steps are taken along the plan"),
        };
    }
}

pub(super) fn write_field<'p>(plan: &'p StructPlan, index: usize, out: &mut String) -> &'p Plan {
    let field = &plan.fields[index];
    rescue::push_name(out, &field.name);
    &field.plan
}
