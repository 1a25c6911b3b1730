//! Which members an object may have, and the columns that they fill.
//!
//! It owns the search for a field by its name, and what was learned about the
//! shape of records: after each field, which came next the last time, and the
//! bytes that led to its value. While records keep their shape, all that stands
//! between two values is one comparison; when they change it, the table of names
//! finds the field and the new shape is learned. It reads no JSON.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::input::{Lead, NAME_HEAD};
use crate::config::EpochUnit;
use crate::schema::names::{below, elements};
use crate::schema::{DataType, Field};

/// The TIMESTAMP columns that take numbers, by path.
pub(super) type Timestamps = BTreeMap<String, EpochUnit>;

/// The index of the field that is expected somewhere; learned, and at first the order of the schema.
pub(super) type Follower = Cell<usize>;

/// What a struct's members are called and where they go.
pub(super) struct StructPlan {
    pub(super) fields: Vec<FieldPlan>,
    names: NameTable,
    /// The field that came first the last time.
    pub(super) first: Follower,
    /// What led to it, from the brace on.
    pub(super) opening: Lead,
    /// The set of all fields; no set is this where there are too many.
    pub(super) all: u64,
    /// Columns of all levels that one row of it fills.
    pub(super) width: usize,
}

/// Fields that a set of them can hold; the last bit of the set is never one.
pub(super) const SET_MAX: usize = u64::BITS as usize - 1;

pub(super) struct FieldPlan {
    pub(super) name: Box<str>,
    /// Its place among its struct's fields.
    pub(super) index: usize,
    /// Stands for it in a set of fields; nothing where sets do not reach ([`SET_MAX`]).
    pub(super) bit: u64,
    /// See [`head`].
    head: u128,
    /// What led to its value the last time that it was not the first one.
    pub(super) lead: Lead,
    /// The field that came after it the last time.
    pub(super) follower: Follower,
    /// Which child column it fills.
    pub(super) column: usize,
    pub(super) nullable: bool,
    pub(super) plan: Plan,
    /// The type's name, for explanations.
    pub(super) expected: Box<str>,
}

pub(super) enum Plan {
    Scalar,
    Float,
    /// A TIMESTAMP that takes numbers, too.
    Epoch(EpochUnit),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Struct(StructPlan),
    Array(Box<FieldPlan>),
    /// With STRING keys: the plan of its values.
    Map(Box<FieldPlan>),
    /// A map whose keys JSON cannot spell.
    ForeignMap,
}

impl StructPlan {
    /// `path` is the struct's own; it ends in nothing but members, so that theirs follow from it.
    pub(super) fn new<'a>(
        fields: impl Iterator<Item = (usize, &'a Field)>,
        path: &str,
        timestamps: &Timestamps,
    ) -> StructPlan {
        let plan = |(index, (column, field)): (usize, (usize, &Field))| FieldPlan {
            follower: Cell::new(index + 1),
            index,
            bit: if index < SET_MAX { 1 << index } else { 0 },
            name: field.name.as_str().into(),
            head: head(field.name.as_bytes()),
            column,
            ..FieldPlan::new(field.nullable, &field.data_type, &below(path, &field.name), timestamps)
        };
        let fields: Vec<FieldPlan> = fields.enumerate().map(plan).collect();
        let all = if fields.len() <= SET_MAX { (1 << fields.len()) - 1 } else { u64::MAX };
        let width = fields.iter().map(|field| field.plan.width()).sum();
        StructPlan {
            names: NameTable::new(&fields),
            fields,
            first: Cell::new(0),
            opening: Lead::unknown(),
            all,
            width,
        }
    }

    /// The field called `key`.
    pub(super) fn find(&self, key: &[u8]) -> Option<&FieldPlan> {
        let is_it = |field: &FieldPlan| field.name.as_bytes() == key;
        self.names.find(&self.fields, head(key), key.len(), is_it)
    }

    /// The same for a name that is shorter than its head.
    #[inline]
    pub(super) fn find_short(&self, head: u128, len: usize) -> Option<&FieldPlan> {
        let is_it = |field: &FieldPlan| field.head == head && field.name.len() == len;
        self.names.find(&self.fields, head, len, is_it)
    }
}

impl FieldPlan {
    fn new(nullable: bool, data_type: &DataType, path: &str, timestamps: &Timestamps) -> FieldPlan {
        let inner =
            |nullable, data_type| Box::new(FieldPlan::new(nullable, data_type, &elements(path), timestamps));
        let plan = match data_type {
            DataType::Float => Plan::Float,
            DataType::Timestamp => timestamps.get(path).map_or(Plan::Scalar, |unit| Plan::Epoch(*unit)),
            DataType::Decimal { precision, scale } => Plan::Decimal { precision: *precision, scale: *scale },
            DataType::Struct(fields) => {
                Plan::Struct(StructPlan::new(fields.iter().enumerate(), path, timestamps))
            }
            DataType::Array { element, contains_null } => Plan::Array(inner(*contains_null, element)),
            DataType::Map { key, value, value_contains_null } if **key == DataType::String => {
                Plan::Map(inner(*value_contains_null, value))
            }
            DataType::Map { .. } => Plan::ForeignMap,
            _ => Plan::Scalar,
        };
        let expected = match data_type {
            DataType::Struct(_) => "STRUCT".into(),
            DataType::Array { .. } => "ARRAY".into(),
            DataType::Map { .. } => "MAP".into(),
            other => other.to_string().into(),
        };
        FieldPlan {
            name: "".into(),
            index: 0,
            bit: 0,
            head: 0,
            lead: Lead::unknown(),
            follower: Cell::new(0),
            column: 0,
            nullable,
            plan,
            expected,
        }
    }
}

impl Plan {
    /// Columns of all levels that one value fills, null or not.
    pub(super) fn width(&self) -> usize {
        match self {
            Plan::Struct(members) => members.width,
            _ => 1,
        }
    }
}

/// Finds a field by name: open addressing, at most half full, so that a foreign key ends its search soon.
struct NameTable {
    /// Field index + 1; 0 is empty. The length is a power of two.
    slots: Vec<u32>,
}

impl NameTable {
    fn new(fields: &[FieldPlan]) -> NameTable {
        let mut slots = vec![0; (fields.len() * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (index, field) in fields.iter().enumerate() {
            let mut at = hash(field.head, field.name.len()) & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = u32::try_from(index + 1).expect("a schema has fewer fields");
        }
        NameTable { slots }
    }

    #[inline]
    fn find<'f>(
        &self,
        fields: &'f [FieldPlan],
        head: u128,
        len: usize,
        is_it: impl Fn(&FieldPlan) -> bool,
    ) -> Option<&'f FieldPlan> {
        let mask = self.slots.len() - 1;
        let mut at = hash(head, len) & mask;
        while let Some(index) = (self.slots[at] as usize).checked_sub(1) {
            let field = &fields[index];
            if is_it(field) {
                return Some(field);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

/// The first bytes of a name, as many as are compared at once, and zeros behind it.
fn head(name: &[u8]) -> u128 {
    let mut head = [0; NAME_HEAD];
    let len = name.len().min(NAME_HEAD);
    head[..len].copy_from_slice(&name[..len]);
    u128::from_le_bytes(head)
}

/// Of a name's head and length. Only names of the schema are ever entered, so payloads cannot build
/// collisions.
#[inline]
fn hash(head: u128, len: usize) -> usize {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let (first, second) = (head as u64, (head >> 64) as u64);
    let mixed = (first ^ second.rotate_left(23) ^ len as u64).wrapping_mul(MIX);
    (mixed ^ mixed >> 32) as usize
}
