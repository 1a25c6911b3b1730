//! Spark DDL to Arrow fields: the types that the workloads need.
//!
//! It is apart from thalweg's own parser, so that the peer shares no code with
//! what it is compared to.

use anyhow::{Result, bail, ensure};
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
            let name = self.word()?.to_owned();
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
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "ARRAY" => {
                self.expect('<')?;
                // Delta's Arrow mapping names the element so.
                let element = Field::new("element", self.data_type()?, true);
                self.expect('>')?;
                DataType::List(element.into())
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
        assert!(parse("id BIGINTS").is_err());
        assert!(parse("id BIGINT)").is_err());
    }
}
