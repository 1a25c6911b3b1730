//! Reads Spark DDL: `id BIGINT NOT NULL, tags ARRAY<STRING>, actor STRUCT<id: BIGINT>`.
//!
//! It owns the grammar. It does not judge names or types against a table.

use super::limits::STRUCTS_MAX;
use super::names::Names;
use super::types::{DataType, DdlError, Field, Schema};

/// Nesting beyond this is refused rather than recursed into.
const DEPTH_MAX: usize = 64;

const TYPES: &str = "BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), STRING, \
                     BINARY, DATE, TIMESTAMP, STRUCT<…>, ARRAY<…> or MAP<…>";

pub fn parse(text: &str) -> Result<Schema, DdlError> {
    let mut parser = Parser { text, position: 0, depth: 0 };
    let fields = parser.fields(Separator::Space)?;
    parser.skip_space();
    if parser.position < text.len() {
        return Err(parser.error("a comma is missing"));
    }
    let schema = Schema::of(fields);
    if let Some(deep) = schema.too_deep() {
        let message = format!(
            "column `{}` nests deeper than readers of Delta tables take: {STRUCTS_MAX} structs",
            deep.name
        );
        let position = text.find(&deep.name).unwrap_or_default();
        return Err(DdlError { position, message });
    }
    Ok(schema)
}

/// What stands between a name and its type: a space at the top, a colon in a struct.
#[derive(Clone, Copy, PartialEq)]
enum Separator {
    Space,
    Colon,
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
}

impl Parser<'_> {
    fn fields(&mut self, separator: Separator) -> Result<Vec<Field>, DdlError> {
        let mut fields: Vec<Field> = Vec::new();
        let mut names = Names::default();
        loop {
            let start = self.after_space();
            let name = self.name()?;
            if fields.iter().any(|field| field.name == name) {
                return Err(DdlError { position: start, message: format!("column `{name}` appears twice") });
            }
            if let Err(reason) = names.add(&name) {
                return Err(DdlError { position: start, message: format!("column `{name}` has {reason}") });
            }
            if separator == Separator::Colon {
                self.take(':');
            }
            let data_type = self.data_type()?;
            let nullable = !self.not_null()?;
            fields.push(Field::new(name, data_type, nullable));
            if !self.take(',') {
                return Ok(fields);
            }
        }
    }

    fn data_type(&mut self) -> Result<DataType, DdlError> {
        let start = self.after_space();
        let word = self.word();
        match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" => Ok(DataType::Boolean),
            "TINYINT" | "BYTE" => Ok(DataType::Byte),
            "SMALLINT" | "SHORT" => Ok(DataType::Short),
            "INT" | "INTEGER" => Ok(DataType::Integer),
            "BIGINT" | "LONG" => Ok(DataType::Long),
            "FLOAT" | "REAL" => Ok(DataType::Float),
            "DOUBLE" => Ok(DataType::Double),
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal(),
            "STRING" => Ok(DataType::String),
            "BINARY" => Ok(DataType::Binary),
            "DATE" => Ok(DataType::Date),
            "TIMESTAMP" => Ok(DataType::Timestamp),
            "STRUCT" => self.nested(|parser| {
                if parser.after_space() < parser.text.len() && parser.rest().starts_with('>') {
                    return Err(parser.error("a struct needs at least one field"));
                }
                Ok(DataType::Struct(parser.fields(Separator::Colon)?))
            }),
            "ARRAY" => self.nested(|parser| {
                Ok(DataType::Array { element: Box::new(parser.data_type()?), contains_null: true })
            }),
            "MAP" => self.nested(|parser| {
                let key = Box::new(parser.data_type()?);
                parser.expect(',')?;
                let value = Box::new(parser.data_type()?);
                Ok(DataType::Map { key, value, value_contains_null: true })
            }),
            "" => Err(DdlError { position: start, message: format!("expected a type: {TYPES}") }),
            _ => {
                Err(DdlError { position: start, message: format!("unknown type `{word}`: expected {TYPES}") })
            }
        }
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<DataType, DdlError>,
    ) -> Result<DataType, DdlError> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(&format!("types nest deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        self.expect('<')?;
        let data_type = inner(self)?;
        self.expect('>')?;
        self.depth -= 1;
        Ok(data_type)
    }

    fn decimal(&mut self) -> Result<DataType, DdlError> {
        if !self.take('(') {
            return Ok(DataType::Decimal { precision: 10, scale: 0 });
        }
        let start = self.after_space();
        let precision = self.number()?;
        let scale = if self.take(',') { self.number()? } else { 0 };
        self.expect(')')?;
        if !(1..=38).contains(&precision) || scale > precision {
            let message = "a decimal has 1 to 38 digits, and no more after the point than in all".to_owned();
            return Err(DdlError { position: start, message });
        }
        Ok(DataType::Decimal { precision, scale })
    }

    fn number(&mut self) -> Result<u8, DdlError> {
        self.skip_space();
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let value = self.rest()[..digits].parse().map_err(|_| self.error("expected a number"))?;
        self.position += digits;
        Ok(value)
    }

    fn not_null(&mut self) -> Result<bool, DdlError> {
        self.skip_space();
        let before = self.position;
        if !self.word().eq_ignore_ascii_case("not") {
            self.position = before;
            return Ok(false);
        }
        self.skip_space();
        if self.word().eq_ignore_ascii_case("null") { Ok(true) } else { Err(self.error("expected NOT NULL")) }
    }

    fn name(&mut self) -> Result<String, DdlError> {
        self.skip_space();
        if !self.rest().starts_with('`') {
            let word = self.word().to_owned();
            return if word.is_empty() { Err(self.error("expected a column name")) } else { Ok(word) };
        }
        let mut name = String::new();
        let mut rest = self.rest()[1..].char_indices().peekable();
        while let Some((index, c)) = rest.next() {
            if c != '`' {
                name.push(c);
            } else if rest.peek().is_some_and(|&(_, next)| next == '`') {
                name.push('`');
                rest.next();
            } else {
                self.position += index + 2;
                return if name.is_empty() { Err(self.error("a column name is empty")) } else { Ok(name) };
            }
        }
        Err(self.error("a quoted name has no closing backquote"))
    }

    fn word(&mut self) -> &str {
        let start = self.position;
        let length =
            self.rest().find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest().len());
        self.position += length;
        &self.text[start..start + length]
    }

    fn expect(&mut self, c: char) -> Result<(), DdlError> {
        if self.take(c) { Ok(()) } else { Err(self.error(&format!("expected `{c}`"))) }
    }

    fn take(&mut self, c: char) -> bool {
        self.skip_space();
        let taken = self.rest().starts_with(c);
        if taken {
            self.position += c.len_utf8();
        }
        taken
    }

    fn after_space(&mut self) -> usize {
        self.skip_space();
        self.position
    }

    fn skip_space(&mut self) {
        self.position += self.rest().len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn error(&self, message: &str) -> DdlError {
        DdlError { position: self.position, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back_the_same() {
        let text = "id BIGINT NOT NULL, price DECIMAL(12, 2), tags ARRAY<STRING>, \
                    actor STRUCT<id: BIGINT NOT NULL, `odd-``name`: MAP<STRING, DOUBLE>>, d DATE, b BINARY";
        let schema = Schema::from_ddl(text).unwrap();
        assert_eq!(schema.to_string(), text);
        assert_eq!(Schema::from_delta(&schema.to_delta()).unwrap(), schema);
    }

    #[test]
    fn mistakes_name_their_place() {
        let cases = [
            ("id BIGNT", 3, "unknown type `BIGNT`"),
            ("id", 2, "expected a type"),
            ("id INT name STRING", 7, "a comma is missing"),
            ("id INT, id STRING", 8, "column `id` appears twice"),
            ("id INT, ID STRING", 8, "column `ID` has a name that differs from another only in case"),
            ("s STRUCT<`a b`: INT>", 9, "column `a b` has a name with characters"),
            ("tags ARRAY<STRING", 17, "expected `>`"),
            ("price DECIMAL(39, 2)", 14, "a decimal has 1 to 38 digits"),
            ("`id INT", 0, "a quoted name has no closing backquote"),
            ("s STRUCT<>", 9, "a struct needs at least one field"),
        ];
        for (text, position, message) in cases {
            let error = Schema::from_ddl(text).unwrap_err();
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.message.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let text = format!("a {}INT{}", "ARRAY<".repeat(100), ">".repeat(100));
        assert!(Schema::from_ddl(&text).unwrap_err().message.contains("nest deeper"));
    }
}
