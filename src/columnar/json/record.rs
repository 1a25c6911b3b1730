//! What one record leaves behind while it is read, and where in it we are.
//!
//! It owns the path for explanations, and what happens to members that the
//! schema does not know. It fills no column.

use std::ops::Range;

use serde::de::{self, MapAccess};
use serde_json::value::RawValue;

use super::super::bad::{BadReason, BadRecord, excerpt};
use super::super::rescue::{self, Rescued, Unfit};
use super::plan::{Plan, StructPlan};
use crate::config::{Decoding, OnNewField};
use crate::schema::names::push_name;

/// Columns of structs that one record may fill: below arrays a few bytes can fill hundreds.
const VALUES_MAX: usize = 4 << 20;

/// What a record may always rescue, however small `max_record_size` is: paths make it longer than it came.
const RESCUED_BYTES_MIN: usize = 1 << 20;

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
    /// What the open objects have rescued so far, by the field or entry that held it.
    pub(super) origins: Vec<Origin>,
    depth_max: usize,
    values_left: usize,
    pub(super) failure: Option<(BadReason, String)>,
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    Field(usize),
    Index(usize),
    /// A map entry, its key from here on in `keys`.
    Key(usize),
}

/// A field of a struct or an entry of a map, and the marks around what it rescued.
pub(super) struct Origin {
    pub(super) at: usize,
    pub(super) marks: Range<usize>,
}

impl State {
    pub(super) fn new(on_new_field: OnNewField, decoding: &Decoding) -> State {
        State {
            on_new_field,
            path: Vec::new(),
            keys: String::new(),
            unknown: String::new(),
            rescued: Rescued::new(decoding.max_record_size.max(RESCUED_BYTES_MIN)),
            origins: Vec::new(),
            depth_max: decoding.max_depth,
            values_left: VALUES_MAX,
            failure: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.path.clear();
        self.keys.clear();
        self.rescued.clear();
        self.origins.clear();
        self.values_left = VALUES_MAX;
        self.failure = None;
    }

    /// An object or array opens at the path.
    pub(super) fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        // Open around it: the record, and a container for each further step.
        if self.path.len() < self.depth_max {
            return Ok(());
        }
        Err(self.too_deep())
    }

    fn too_deep<E: de::Error>(&mut self) -> E {
        self.fail(
            BadReason::TooDeep,
            format!("more than {} objects and arrays inside each other", self.depth_max),
        )
    }

    /// A struct fills so many columns.
    pub(super) fn charge<E: de::Error>(&mut self, values: usize) -> Result<(), E> {
        match self.values_left.checked_sub(values) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => {
                let detail = format!("its structs fill more than {VALUES_MAX} values");
                Err(self.fail(BadReason::TooLarge, detail))
            }
        }
    }

    /// Notes what a field or entry has rescued since a mark.
    pub(super) fn note_origin(&mut self, at: usize, mark: usize) {
        if self.rescued.mark() > mark {
            self.origins.push(Origin { at, marks: mark..self.rescued.mark() });
        }
    }

    /// Forgets what some of the origins from `base` on have rescued: their values are replaced by later ones.
    #[cold]
    pub(super) fn forget_origins(&mut self, base: usize, replaced: impl Fn(usize) -> bool) {
        let mut kept = base;
        for index in base..self.origins.len() {
            if replaced(self.origins[index].at) {
                self.rescued.forget(self.origins[index].marks.clone());
            } else {
                self.origins.swap(kept, index);
                kept += 1;
            }
        }
        self.origins.truncate(kept);
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
            push_name(&mut path, &self.state.unknown);
            let detail = format!("`{}`: the schema has no such field", excerpt(&path));
            self.state.path.clear();
            return Err(self.state.fail(BadReason::UnknownField, detail));
        }
        let value: &RawValue = members.next_value()?;
        // Containers open around this value: the record, and one for each step.
        let depth_max = self.state.depth_max.saturating_sub(self.state.path.len() + 1);
        rescue::check(value.get(), depth_max).map_err(|unfit| match unfit {
            Unfit::Surrogate => {
                self.state.fail(BadReason::Syntax, "half a surrogate pair in a string".to_owned())
            }
            Unfit::Depth => self.state.too_deep(),
        })?;
        if self.state.on_new_field == OnNewField::Rescue {
            let State { path, keys, unknown, rescued, .. } = &mut *self.state;
            let write_path = |out: &mut String| {
                write_path(self.root, path, keys, out);
                push_name(out, unknown);
            };
            if !rescued.add(write_path, value.get()) {
                let detail = "the fields that the schema does not know are too many to rescue".to_owned();
                return Err(self.state.fail(BadReason::TooLarge, detail));
            }
        }
        Ok(())
    }

    pub(super) fn bad_record(&mut self, error: &serde_json::Error) -> BadRecord {
        let path = path_text(self.root, &self.state.path, &self.state.keys);
        let at = if path.is_empty() { String::new() } else { format!("`{}`: ", excerpt(&path)) };
        match self.state.failure.take() {
            Some((reason, detail)) => BadRecord { reason, detail: at + &detail },
            None => syntax(error.to_string(), at),
        }
    }
}

/// What the parser itself refuses. It knows no other words for it; no payload is in its messages.
fn syntax(message: String, at: String) -> BadRecord {
    if message.starts_with("number out of range") {
        return BadRecord { reason: BadReason::Range, detail: at + "number out of range" };
    }
    let reason = match message.starts_with("recursion limit exceeded") {
        true => BadReason::TooDeep,
        false => BadReason::Syntax,
    };
    BadRecord { reason, detail: message }
}

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
                push_name(out, &keys[*start..end.unwrap_or(keys.len())]);
                Some(&value.plan)
            }
            _ => unreachable!("steps are taken along the plan"),
        };
    }
}

pub(super) fn write_field<'p>(plan: &'p StructPlan, index: usize, out: &mut String) -> &'p Plan {
    let field = &plan.fields[index];
    push_name(out, &field.name);
    &field.plan
}
