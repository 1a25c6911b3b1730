//! The schema of a config, or of a table: what is printed is read back the same.

use thalweg::schema::Schema;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Schema::from_ddl(text) {
        Ok(schema) => {
            let printed = schema.to_string();
            assert_eq!(Schema::from_ddl(&printed).as_ref(), Ok(&schema), "{printed}");
            assert_eq!(Schema::from_delta(&schema.to_delta()).as_ref(), Ok(&schema));
            assert_eq!(schema.wrong_name(), None, "{printed}");
            assert_eq!(schema.to_arrow().fields().len(), schema.fields.len());
            schema.timestamps();
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.position), "{error:?}");
            assert!(!error.message.is_empty());
        }
    }
    if let Ok(schema) = Schema::from_delta(text) {
        assert_eq!(Schema::from_delta(&schema.to_delta()).as_ref(), Ok(&schema));
        assert_eq!(schema.to_arrow().fields().len(), schema.fields.len());
        // A table of another writer may have names that DDL has no form for; what has one is read back.
        if schema.wrong_name().is_none()
            && let Ok(printed) = Schema::from_ddl(&schema.to_string())
        {
            assert_eq!(printed.to_string(), schema.to_string());
        }
    }
}
