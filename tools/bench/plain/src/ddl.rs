//! Spark DDL to Arrow fields: the types that the workloads need.
//!
//! It is apart from thalweg's own parser, so that the peer shares no code with
//! what it is compared to.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

pub fn parse(text: &str) -> Result<Fields> {
    let mut parser = Parser { rest: text };
    let fields = parser.fields()?;
    ensure!(parser.peek().is_none(), "`{}` was not expected", parser.rest);
    Ok(fields)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn fields(&mut self) -> Result<Fields> {
        let mut fields = Vec::new();
        loop {
            let name = self.name()?;
            self.take(':');
            let data_type = self.data_type()?;
            let nullable = !self.not_null()?;
            fields.push(Field::new(name, data_type, nullable));
            if !self.take(',') {
                return Ok(fields.into());
            }
        }
    }

    fn data_type(&mut self) -> Result<DataType> {
        let name = self.word()?.to_ascii_uppercase();
        Ok(match name.as_str() {
            "BOOLEAN" => DataType::Boolean,
            "INT" => DataType::Int32,
            "BIGINT" => DataType::Int64,
            "DOUBLE" => DataType::Float64,
            "STRING" => DataType::Utf8,
            "DATE" => DataType::Date32,
            "DECIMAL" => {
                self.expect('(')?;
                let precision = self.word()?.parse()?;
                self.expect(',')?;
                let scale = self.word()?.parse()?;
                self.expect(')')?;
                DataType::Decimal128(precision, scale)
            }
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "ARRAY" => {
                self.expect('<')?;
                // Delta's Arrow mapping names the element so.
                let element = Field::new("element", self.data_type()?, true);
                self.expect('>')?;
                DataType::List(element.into())
            }
            "MAP" => {
                self.expect('<')?;
                let key = Field::new("key", self.data_type()?, false);
                self.expect(',')?;
                let value = Field::new("value", self.data_type()?, true);
                self.expect('>')?;
                let entries = DataType::Struct(vec![key, value].into());
                DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
            }
            "STRUCT" => {
                self.expect('<')?;
                let fields = self.fields()?;
                self.expect('>')?;
                DataType::Struct(fields)
            }
            _ => bail!("type `{name}` is not known"),
        })
    }

    fn not_null(&mut self) -> Result<bool> {
        if !self.peek().is_some_and(|next| next.eq_ignore_ascii_case(&'n')) {
            return Ok(false);
        }
        let (not, null) = (self.word()?.to_ascii_uppercase(), self.word()?.to_ascii_uppercase());
        ensure!(not == "NOT" && null == "NULL", "`{not} {null}` was not expected");
        Ok(true)
    }

    /// A column's name, which may stand in backquotes.
    fn name(&mut self) -> Result<String> {
        if !self.take('`') {
            return Ok(self.word()?.to_owned());
        }
        let end = self.rest.find('`').context("a backquote is missing")?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(name.to_owned())
    }

    fn word(&mut self) -> Result<&str> {
        let rest = self.rest.trim_start();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        ensure!(length > 0, "a name is missing before `{rest}`");
        let (word, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(word)
    }

    fn peek(&self) -> Option<char> {
        self.rest.trim_start().chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        ensure!(self.take(wanted), "`{wanted}` is missing before `{}`", self.rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_types_are_read() {
        let fields =
            parse("id BIGINT NOT NULL, a ARRAY<STRUCT<b: STRING, c: STRUCT<d: DOUBLE>>>, e BOOLEAN").unwrap();
        assert_eq!(fields.len(), 3);
        assert!(!fields[0].is_nullable());
        let DataType::List(element) = fields[1].data_type() else { panic!("{:?}", fields[1]) };
        let DataType::Struct(inner) = element.data_type() else { panic!("{element:?}") };
        assert_eq!(inner[1].name(), "c");
        let fields = parse("`@at` TIMESTAMP, m MAP<STRING, DECIMAL(15, 2)>, d DATE").unwrap();
        assert_eq!(fields[0].name(), "@at");
        assert!(matches!(fields[1].data_type(), DataType::Map(_, false)));
        assert!(parse("id BIGINTS").is_err());
        assert!(parse("id BIGINT)").is_err());
    }
}
