//! Which members an object may have, and the columns that they fill.
//!
//! It owns the search for a field by its name. It reads no JSON.

use crate::schema::{DataType, Field};

/// What a struct's members are called and where they go.
pub(super) struct StructPlan {
    pub(super) fields: Vec<FieldPlan>,
    pub(super) names: NameTable,
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
    pub(super) fn new<'a>(fields: impl Iterator<Item = (usize, &'a Field)>) -> StructPlan {
        let fields: Vec<FieldPlan> = fields
            .map(|(column, field)| FieldPlan::new(&field.name, column, field.nullable, &field.data_type))
            .collect();
        StructPlan { names: NameTable::new(&fields), fields }
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
    pub(super) fn new(name: &str, column: usize, nullable: bool, data_type: &DataType) -> FieldPlan {
        let plan = match data_type {
            DataType::Decimal { precision, scale } => Plan::Decimal { precision: *precision, scale: *scale },
            DataType::Struct(fields) => Plan::Struct(StructPlan::new(fields.iter().enumerate())),
            DataType::Array { element, contains_null } => {
                Plan::Array(Box::new(FieldPlan::new("", 0, *contains_null, element)))
            }
            DataType::Map { key, value, value_contains_null } if **key == DataType::String => {
                Plan::Map(Box::new(FieldPlan::new("", 0, *value_contains_null, value)))
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
        FieldPlan { name: name.into(), column, nullable, plan, expected }
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
