//! Which members an object may have, and the columns that they fill.
//!
//! It owns the search for a field by its name, and what was learned about the
//! order of fields: after each one, which came next the last time. While
//! records keep their shape, a name is one comparison with the bytes that are
//! expected; when they change it, the table of names finds the field and the
//! new order is learned. It reads no JSON.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::input::Literal;
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
    /// Columns of all levels that one row of it fills.
    pub(super) width: usize,
}

pub(super) struct FieldPlan {
    pub(super) name: Box<str>,
    /// The name as it is expected in a payload.
    pub(super) literal: Literal,
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
            name: field.name.as_str().into(),
            literal: Literal::of_name(&field.name),
            column,
            ..FieldPlan::new(field.nullable, &field.data_type, &below(path, &field.name), timestamps)
        };
        let fields: Vec<FieldPlan> = fields.enumerate().map(plan).collect();
        let width = fields.iter().map(|field| field.plan.width()).sum();
        StructPlan { names: NameTable::new(&fields), fields, first: Cell::new(0), width }
    }

    /// The field called `key`.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        self.names.find(&self.fields, key)
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
            literal: Literal::of_name(""),
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
            let mut at = hash(&field.name) & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = u32::try_from(index + 1).expect("a schema has fewer fields");
        }
        NameTable { slots }
    }

    fn find(&self, fields: &[FieldPlan], key: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash(key) & mask;
        while let Some(index) = (self.slots[at] as usize).checked_sub(1) {
            if *fields[index].name == *key {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

/// Of the length and the bytes at both ends: enough for names. Only names of the schema are ever
/// entered, so payloads cannot build collisions.
fn hash(name: &str) -> usize {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let bytes = name.as_bytes();
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    };
    let mixed = (first ^ last.rotate_left(23) ^ bytes.len() as u64).wrapping_mul(MIX);
    (mixed ^ mixed >> 32) as usize
}
