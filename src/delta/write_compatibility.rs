//! Whether we can write a table correctly: asked at start, and again when
//! another writer changes protocol or schema.
//!
//! It owns which properties and columns an appending writer can honour, and
//! refuses by name. Which features: [`features`](super::features).

use crate::config::{self, MetadataColumn, RESCUED_COLUMN};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{DataType, Field, Indexed, Schema};

use crate::delta::action::{MetaData, Protocol};

/// The schema to write, if the table can be written.
pub fn check(protocol: &Protocol, metadata: &MetaData) -> Result<Schema> {
    if let Some(obstacle) = protocol.obstacle() {
        return Err(refused(obstacle));
    }
    check_properties(metadata)?;
    if !metadata.partition_columns.is_empty() {
        return Err(refused(format!(
            "the table is partitioned by {}",
            metadata.partition_columns.join(", ")
        ))
        .remedy("this version writes unpartitioned tables only"));
    }
    if metadata.format.provider != "parquet" {
        return Err(refused(format!("its files are {}, not parquet", metadata.format.provider)));
    }
    let mut schema =
        Schema::from_delta(&metadata.schema_string).map_err(|error| refused(error.to_string()))?;
    schema.indexed = Indexed::of(&metadata.configuration);
    check_names(&schema)?;
    for field in &schema.fields {
        check_column(field, &field.name)?;
    }
    Ok(schema)
}

/// Rows of ours can be told apart in a table with these columns.
pub fn has_offset_columns(schema: &Schema) -> bool {
    [MetadataColumn::Partition, MetadataColumn::Offset]
        .iter()
        .all(|column| schema.field(column.name()).is_some())
}

fn check_properties(metadata: &MetaData) -> Result<()> {
    for (key, value) in &metadata.configuration {
        let value = value.as_deref().unwrap_or_default();
        let on = value.eq_ignore_ascii_case("true");
        let refused_because = match key.as_str() {
            "delta.columnMapping.mode" if !value.eq_ignore_ascii_case("none") => "column mapping",
            "delta.enableInCommitTimestamps" if on => "in-commit timestamps",
            "delta.enableRowTracking" if on => "row tracking",
            "delta.enableIcebergCompatV1" | "delta.enableIcebergCompatV2" if on => "Iceberg compatibility",
            "delta.setTransactionRetentionDuration" => {
                "a table that forgets `txn` entries would forget our offsets"
            }
            _ if key.starts_with("delta.constraints.") => "check constraints",
            _ => continue,
        };
        return Err(refused(format!("{refused_because} (`{key}` = `{value}`)"))
            .remedy(format!("unset the table property `{key}`, or choose another location")));
    }
    Ok(())
}

/// The rules for new tables hold for those of others, too: a name that means two columns to a reader, or
/// a column of ours that holds something else, would be filled wrongly in silence.
fn check_names(schema: &Schema) -> Result<()> {
    if let Some((path, reason)) = schema.wrong_name() {
        return Err(refused(format!("column `{path}` has {reason}")).remedy("rename the column"));
    }
    for field in schema.fields.iter().filter(|field| config::is_reserved(&field.name)) {
        let rescued = field.name == RESCUED_COLUMN && field.data_type == DataType::String;
        if !rescued && MetadataColumn::of(field).is_none() {
            return Err(refused(format!(
                "column `{} {}` has the name of a column that thalweg fills, and not its type",
                field.name, field.data_type
            ))
            .remedy("rename the column"));
        }
    }
    Ok(())
}

fn check_column(field: &Field, path: &str) -> Result<()> {
    const REFUSED: [(&str, &str); 5] = [
        ("delta.invariants", "an invariant"),
        ("delta.generationExpression", "a generation expression"),
        ("delta.identity.start", "identity values"),
        ("delta.columnMapping.id", "column mapping"),
        ("__CHAR_VARCHAR_TYPE_STRING", "a CHAR or VARCHAR length"),
    ];
    for (key, what) in REFUSED {
        if field.metadata.contains_key(key) {
            return Err(refused(format!("column `{path}` has {what} (`{key}`)")));
        }
    }
    // A record without the field would get null, and its readers would not know that from a null of the record.
    if let Some(default) = field.metadata.get(COLUMN_DEFAULT) {
        return Err(refused(format!("column `{path}` has a default (`{COLUMN_DEFAULT}` = {default})"))
            .remedy(format!(
                "drop the default (ALTER COLUMN {path} DROP DEFAULT), or choose another location"
            )));
    }
    check_type(&field.data_type, path)
}

/// The value of a column that a writer leaves out, as SQL.
const COLUMN_DEFAULT: &str = "CURRENT_DEFAULT";

fn check_type(data_type: &DataType, path: &str) -> Result<()> {
    match data_type {
        DataType::Struct(fields) if fields.is_empty() => {
            Err(refused(format!("column `{path}` is a struct without fields, which Parquet cannot hold")))
        }
        DataType::Struct(fields) => {
            fields.iter().try_for_each(|field| check_column(field, &format!("{path}.{}", field.name)))
        }
        DataType::Array { element, .. } => check_type(element, &format!("{path}.element")),
        DataType::Map { key, value, .. } => {
            check_type(key, &format!("{path}.key"))?;
            check_type(value, &format!("{path}.value"))
        }
        _ => Ok(()),
    }
}

/// Files written with `ours` are still right for a table that now has `theirs`:
/// every column of ours is there unchanged, and what was added may be null.
pub fn still_fits(ours: &Schema, theirs: &Schema) -> bool {
    fields_fit(&ours.fields, &theirs.fields)
}

fn fields_fit(ours: &[Field], theirs: &[Field]) -> bool {
    let kept = ours.iter().all(|our| {
        theirs.iter().any(|their| {
            their.name == our.name
                && (their.nullable || !our.nullable)
                && type_fits(&our.data_type, &their.data_type)
        })
    });
    let added_may_be_null = theirs
        .iter()
        .filter(|their| !ours.iter().any(|our| our.name == their.name))
        .all(|their| their.nullable);
    kept && added_may_be_null
}

fn type_fits(ours: &DataType, theirs: &DataType) -> bool {
    match (ours, theirs) {
        (DataType::Struct(ours), DataType::Struct(theirs)) => fields_fit(ours, theirs),
        (
            DataType::Array { element: ours, contains_null: our_nulls },
            DataType::Array { element: theirs, contains_null: their_nulls },
        ) => (*their_nulls || !our_nulls) && type_fits(ours, theirs),
        (
            DataType::Map { key: our_key, value: ours, value_contains_null: our_nulls },
            DataType::Map { key: their_key, value: theirs, value_contains_null: their_nulls },
        ) => (*their_nulls || !our_nulls) && type_fits(our_key, their_key) && type_fits(ours, theirs),
        _ => ours == theirs,
    }
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::CannotWrite, format!("the table cannot be written correctly: {what}"))
        .remedy("write into another location, or turn the feature off in the table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::action::FileFormat;
    use crate::delta::features::tests::listing;

    fn metadata(schema: &str) -> MetaData {
        MetaData {
            id: "m".into(),
            name: None,
            description: None,
            format: FileFormat { provider: "parquet".into(), options: Default::default() },
            schema_string: Schema::from_ddl(schema).unwrap().to_delta(),
            partition_columns: vec![],
            configuration: Default::default(),
            created_time: None,
        }
    }

    #[test]
    fn what_we_cannot_honour_is_refused_by_name() {
        let refused =
            |protocol: &Protocol, metadata: &MetaData| check(protocol, metadata).unwrap_err().message;
        assert!(refused(&listing(&["rowTracking"]), &metadata("id BIGINT")).contains("rowTracking"));
        for (key, value) in [
            ("delta.columnMapping.mode", "name"),
            ("delta.constraints.positive", "id > 0"),
            ("delta.enableInCommitTimestamps", "true"),
            ("delta.setTransactionRetentionDuration", "interval 7 days"),
        ] {
            let mut metadata = metadata("id BIGINT");
            metadata.configuration.insert(key.into(), Some(value.into()));
            assert!(refused(&listing(&[]), &metadata).contains(key));
        }
        let mut partitioned = metadata("id BIGINT");
        partitioned.partition_columns.push("id".into());
        assert!(refused(&listing(&[]), &partitioned).contains("partitioned by id"));
        let mut schema = Schema::from_ddl("s STRUCT<n: BIGINT>").unwrap();
        let DataType::Struct(fields) = &mut schema.fields[0].data_type else { panic!() };
        fields[0].metadata.insert("delta.invariants".into(), "n > 0".into());
        let invariant = MetaData { schema_string: schema.to_delta(), ..metadata("id BIGINT") };
        assert!(refused(&listing(&[]), &invariant).contains("`s.n` has an invariant"));
        schema.fields[0].metadata.clear();
        let DataType::Struct(fields) = &mut schema.fields[0].data_type else { panic!() };
        fields[0].metadata = serde_json::from_str(r#"{"CURRENT_DEFAULT": "5"}"#).unwrap();
        let default = MetaData { schema_string: schema.to_delta(), ..metadata("id BIGINT") };
        let listed = refused(&listing(&["allowColumnDefaults"]), &default);
        assert!(listed.contains("`s.n` has a default (`CURRENT_DEFAULT` = \"5\")"), "{listed}");
        let unknown = MetaData {
            schema_string: r#"{"type":"struct","fields":[{"name":"t","type":"timestamp_ntz","nullable":true,"metadata":{}}]}"#
                .into(),
            ..metadata("id BIGINT")
        };
        assert!(refused(&listing(&[]), &unknown).contains("column `t`: type timestamp_ntz"));
    }

    #[test]
    fn statistics_are_of_the_columns_that_the_table_names() {
        let mut metadata = metadata("a INT, b INT");
        metadata.configuration.insert("delta.dataSkippingStatsColumns".into(), Some("b".into()));
        let schema = check(&listing(&[]), &metadata).unwrap();
        assert_eq!(schema.indexed, Indexed::Named(vec![vec!["b".to_owned()]]));
    }

    #[test]
    fn only_added_nullable_columns_leave_our_files_right() {
        let schema = |text| Schema::from_ddl(text).unwrap();
        let ours = schema("id BIGINT NOT NULL, s STRUCT<a: INT>");
        for same in
            ["id BIGINT NOT NULL, s STRUCT<a: INT>", "id BIGINT, s STRUCT<a: INT, b: INT>, new STRING"]
        {
            assert!(still_fits(&ours, &schema(same)), "{same}");
        }
        for changed in [
            "id INT NOT NULL, s STRUCT<a: INT>",
            "s STRUCT<a: INT>",
            "id BIGINT NOT NULL, s STRUCT<a: INT NOT NULL>",
            "id BIGINT NOT NULL, s STRUCT<a: INT>, new STRING NOT NULL",
        ] {
            assert!(!still_fits(&ours, &schema(changed)), "{changed}");
        }
    }
}
