//! What one record leaves behind while it is read, and where in it we are.
//!
//! It owns the path for explanations, the limits of one record, and what
//! happens to members that the schema does not know. It fills no column. What
//! is no JSON at all is `explain`'s.

use std::cell::Cell;
use std::ops::Range;

use super::super::bad::{BadReason, BadRecord, excerpt};
use super::super::rescue::{KEPT_BYTES_MAX, Rescued};
use super::explain;
use super::input::{Parsed, Stop};
use super::plan::StructPlan;
use crate::config::{Decoding, OnNewField};
use crate::schema::names::push_name;

/// Columns of structs that one record may fill: below arrays a few bytes can fill hundreds.
const VALUES_MAX: usize = 4 << 20;

/// What a record may always rescue, however small `max_record_size` is: paths make it longer than it came.
const RESCUED_BYTES_MIN: usize = 1 << 20;

/// Buffers that live from record to record.
pub(super) struct RecordState {
    pub(super) on_new_field: OnNewField,
    /// The keys of the maps that are open.
    pub(super) keys: String,
    /// A string that does not go into a column, once its escapes are resolved.
    pub(super) scratch: Vec<u8>,
    /// The entries of a map by their keys, while equal ones are looked for.
    pub(super) order: Vec<usize>,
    pub(super) rescued: Rescued,
    /// What the open objects have rescued so far, by the field or entry that held it.
    pub(super) origins: Vec<Origin>,
    pub(super) depth_max: usize,
    values_left: usize,
    failure: Option<BadRecord>,
}

/// A field of a struct or an entry of a map, and the marks around what it rescued.
pub(super) struct Origin {
    at: usize,
    marks: Range<usize>,
}

/// An object or array that is open, and the ones around it.
pub(super) struct Frame<'f> {
    around: Option<&'f Frame<'f>>,
    pub(super) container: Container<'f>,
    /// Objects and arrays open here, this one counted.
    pub(super) depth: usize,
    /// Where in it we are: a field, an element, or where in [`RecordState::keys`] the entry's key begins.
    pub(super) at: Cell<usize>,
}

#[derive(Clone, Copy)]
pub(super) enum Container<'f> {
    Struct(&'f StructPlan),
    Array,
    Map,
}

impl<'f> Frame<'f> {
    /// The record's own object.
    pub(super) fn root(plan: &'f StructPlan) -> Frame<'f> {
        Frame { around: None, container: Container::Struct(plan), depth: 1, at: Cell::new(0) }
    }

    pub(super) fn inside(&'f self, container: Container<'f>) -> Frame<'f> {
        Frame { around: Some(self), container, depth: self.depth + 1, at: Cell::new(0) }
    }

    /// Writes the path of this container.
    pub(super) fn write_path(&self, keys: &str, out: &mut String) {
        if let Some(around) = self.around {
            around.write_place(keys, keys.len(), out);
        }
    }

    /// Writes the path of the value at hand. Keys up to `keys_end` are of this frame and those around.
    pub(super) fn write_place(&self, keys: &str, keys_end: usize, out: &mut String) {
        let keys_before = if let Container::Map = self.container { self.at.get() } else { keys_end };
        if let Some(around) = self.around {
            around.write_place(keys, keys_before, out);
        }
        match self.container {
            Container::Struct(plan) => push_name(out, &plan.fields[self.at.get()].name),
            Container::Array => out.push_str(&format!("[{}]", self.at.get())),
            Container::Map => push_name(out, &keys[self.at.get()..keys_end]),
        }
    }
}

impl RecordState {
    pub(super) fn new(on_new_field: OnNewField, decoding: &Decoding) -> RecordState {
        RecordState {
            on_new_field,
            keys: String::new(),
            scratch: Vec::new(),
            order: Vec::new(),
            rescued: Rescued::new(decoding.max_record_size.max(RESCUED_BYTES_MIN)),
            origins: Vec::new(),
            depth_max: decoding.max_depth,
            values_left: VALUES_MAX,
            failure: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.keys.shrink_to(KEPT_BYTES_MAX);
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_BYTES_MAX);
        self.order.clear();
        self.order.shrink_to(KEPT_BYTES_MAX / size_of::<usize>());
        self.rescued.clear();
        self.origins.clear();
        self.values_left = VALUES_MAX;
        self.failure = None;
    }

    /// An object or array has opened.
    #[inline]
    pub(super) fn enter(&mut self, frame: &Frame<'_>) -> Parsed<()> {
        if frame.depth <= self.depth_max { Ok(()) } else { Err(self.too_deep(frame)) }
    }

    /// In a container, or in an unknown member of it, something is too deep.
    #[cold]
    pub(super) fn too_deep(&mut self, frame: &Frame<'_>) -> Stop {
        let mut path = String::new();
        frame.write_path(&self.keys, &mut path);
        let at = if path.is_empty() { String::new() } else { format!("`{}`: ", excerpt(&path)) };
        let detail = format!("{at}more than {} objects and arrays inside each other", self.depth_max);
        self.refuse(BadReason::TooDeep, detail)
    }

    /// A struct fills so many columns.
    #[inline]
    pub(super) fn charge(&mut self, frame: &Frame<'_>, values: usize) -> Parsed<()> {
        match self.values_left.checked_sub(values) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => {
                let detail = format!("its structs fill more than {VALUES_MAX} values");
                Err(self.fail(frame, BadReason::TooLarge, &detail))
            }
        }
    }

    /// Notes what the value at hand has rescued since a mark; `entry` is its place in a map.
    #[inline(always)]
    pub(super) fn note_origin(&mut self, frame: &Frame<'_>, entry: usize, mark: usize) {
        if self.rescued.mark() > mark {
            let at = if let Container::Map = frame.container { entry } else { frame.at.get() };
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

    /// The value at hand makes the record bad.
    #[cold]
    pub(super) fn fail(&mut self, frame: &Frame<'_>, reason: BadReason, detail: &str) -> Stop {
        let mut path = String::new();
        frame.write_place(&self.keys, self.keys.len(), &mut path);
        self.refuse(reason, format!("`{}`: {detail}", excerpt(&path)))
    }

    #[cold]
    pub(super) fn refuse(&mut self, reason: BadReason, detail: String) -> Stop {
        self.failure = Some(BadRecord { reason, detail });
        Stop
    }

    /// What a member means that the schema does not know, read or refused.
    pub(super) fn check_unknown(&mut self, frame: &Frame<'_>, name: &str) -> Parsed<()> {
        if self.on_new_field != OnNewField::Fail {
            return Ok(());
        }
        let mut path = String::new();
        frame.write_path(&self.keys, &mut path);
        push_name(&mut path, name);
        let detail = format!("`{}`: the schema has no such field", excerpt(&path));
        Err(self.refuse(BadReason::UnknownField, detail))
    }

    /// Keeps the value of such a member, where there is a place for it.
    pub(super) fn keep_unknown(&mut self, frame: &Frame<'_>, name: &str, value: &str) -> Parsed<()> {
        if self.on_new_field != OnNewField::Rescue {
            return Ok(());
        }
        let keys = &self.keys;
        let write_path = |out: &mut String| {
            frame.write_path(keys, out);
            push_name(out, name);
        };
        if self.rescued.add(write_path, value) {
            return Ok(());
        }
        let detail = "the fields that the schema does not know are too many to rescue".to_owned();
        Err(self.refuse(BadReason::TooLarge, detail))
    }

    /// Why a record is bad: what was noted, or else it is no JSON.
    #[cold]
    pub(super) fn bad_record(&mut self, payload: &[u8]) -> BadRecord {
        self.failure.take().unwrap_or_else(|| explain::no_json(payload))
    }
}
