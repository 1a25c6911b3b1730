//! Which members an object may have, and the columns that they fill.
//!
//! It owns the search for a field by its name. It reads no JSON.

use std::collections::BTreeMap;

use crate::config::EpochUnit;
use crate::schema::names::{below, elements};
use crate::schema::{DataType, Field};

/// The TIMESTAMP columns that take numbers, by path.
pub(super) type Timestamps = BTreeMap<String, EpochUnit>;

/// What a struct's members are called and where they go.
pub(super) struct StructPlan {
    pub(super) fields: Vec<FieldPlan>,
    pub(super) names: NameTable,
    /// Columns of all levels that one row of it fills.
    pub(super) width: usize,
}

pub(super) struct FieldPlan {
    pub(super) name: Box<str>,
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
        let plan = |(column, field): (usize, &Field)| FieldPlan {
            name: field.name.as_str().into(),
            column,
            ..FieldPlan::new(field.nullable, &field.data_type, &below(path, &field.name), timestamps)
        };
        let fields: Vec<FieldPlan> = fields.map(plan).collect();
        let width = fields.iter().map(|field| field.plan.width()).sum();
        StructPlan { names: NameTable::new(&fields), fields, width }
    }

    /// The field called `key`; `guess` is the one that would come next.
    pub(super) fn find(&self, key: &str, guess: usize) -> Option<usize> {
        match self.fields.get(guess) {
            Some(field) if *field.name == *key => Some(guess),
            _ => self.names.find(&self.fields, key),
        }
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
        FieldPlan { name: "".into(), column: 0, nullable, plan, expected }
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
pub(super) struct NameTable {
    /// Field index + 1; 0 is empty. The length is a power of two.
    pub(super) slots: Vec<u32>,
}

impl NameTable {
    pub(super) fn new(fields: &[FieldPlan]) -> NameTable {
        let mut slots = vec![0; (fields.len() * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (index, field) in fields.iter().enumerate() {
            let mut at = NameTable::hash(&field.name) & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = u32::try_from(index + 1).expect("a schema has fewer fields");
        }
        NameTable { slots }
    }

    pub(super) fn find(&self, fields: &[FieldPlan], key: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = NameTable::hash(key) & mask;
        while let Some(index) = (self.slots[at] as usize).checked_sub(1) {
            if *fields[index].name == *key {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// FNV-1a. Only names of the schema are ever entered, so payloads cannot build collisions.
    pub(super) fn hash(name: &str) -> usize {
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        });
        (hash ^ (hash >> 32)) as usize
    }
}
