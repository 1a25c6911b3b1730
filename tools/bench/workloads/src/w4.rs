//! W4, changes of two tables as Debezium tells them: envelopes over TPC-H's orders and lineitem.
//!
//! Inserts, updates and deletes of one database in one topic; decimals and dates are text
//! (`decimal.handling.mode=string`, `time.precision.mode=isostring`). `Changes` owns which
//! row changes and how; the rows are tpchgen's. With the inline schema each record
//! is what Kafka Connect's JsonConverter makes of it: `{"schema":…,"payload":…}`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::LazyLock;

use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    LineItem, LineItemGenerator, LineItemGeneratorIterator, Order, OrderGenerator, OrderGeneratorIterator,
};
use tpchgen::text::TextPool;

use crate::random::Random;
use crate::row::Row;

/// The columns of both tables: no name is in both.
const COLUMNS: &str = "o_orderkey: BIGINT, o_custkey: BIGINT, o_orderstatus: STRING, o_totalprice: DECIMAL(15, 2), \
    o_orderdate: DATE, o_orderpriority: STRING, o_clerk: STRING, o_shippriority: INT, o_comment: STRING, \
    l_orderkey: BIGINT, l_partkey: BIGINT, l_suppkey: BIGINT, l_linenumber: INT, l_quantity: DECIMAL(15, 2), \
    l_extendedprice: DECIMAL(15, 2), l_discount: DECIMAL(15, 2), l_tax: DECIMAL(15, 2), l_returnflag: STRING, \
    l_linestatus: STRING, l_shipdate: DATE, l_commitdate: DATE, l_receiptdate: DATE, l_shipinstruct: STRING, \
    l_shipmode: STRING, l_comment: STRING";

const ORDER_LEAVES: usize = 9;
const LINE_LEAVES: usize = 16;
const TRANSACTION_LEAVES: usize = 3;

/// Members of the envelope, with the sign between a name and its type.
fn envelope(sign: &str) -> String {
    format!(
        "before{sign} STRUCT<{COLUMNS}>, after{sign} STRUCT<{COLUMNS}>, source{sign} STRUCT<version: STRING, \
         connector: STRING, name: STRING, ts_ms: BIGINT, snapshot: STRING, db: STRING, sequence: STRING, \
         schema: STRING, `table`: STRING, txId: BIGINT, lsn: BIGINT>, transaction{sign} STRUCT<id: STRING, \
         total_order: BIGINT, data_collection_order: BIGINT>, op{sign} STRING, ts_ms{sign} BIGINT"
    )
}

pub static DDL: LazyLock<String> = LazyLock::new(|| envelope(""));

/// The member `schema` is of no interest to a table; `payload` is the envelope.
pub static DDL_OF_PAYLOAD: LazyLock<String> = LazyLock::new(|| format!("payload STRUCT<{}>", envelope(":")));

/// TPC-H at this scale is cut into as many parts; a seed begins at one of them.
const SCALE: i32 = 1000;
/// Comments are cut out of so much text. TPC-H's own 300 MB would take seconds to make.
const TEXT_BYTES: i32 = 4 << 20;
/// Rows that may still change.
const KEPT: usize = 10_000;

static TEXT: LazyLock<TextPool> =
    LazyLock::new(|| TextPool::new(TEXT_BYTES, Distributions::static_default()));

#[derive(Clone)]
enum Subject {
    Order(Box<Order<'static>>),
    Line(Box<LineItem<'static>>),
}

/// The changes of the database, one after the other.
pub(crate) struct Changes {
    part: i32,
    orders: OrderGeneratorIterator<'static>,
    lines: std::iter::Peekable<LineItemGeneratorIterator<'static>>,
    /// Of the order whose lines come next.
    order_key: i64,
    kept: VecDeque<Subject>,
    written: i64,
}

impl Changes {
    pub fn new(seed: u64) -> Changes {
        let part = 1 + (seed % SCALE as u64) as i32;
        let (orders, lines) = tables(part);
        Changes { part, orders, lines, order_key: 0, kept: VecDeque::new(), written: 0 }
    }

    /// Two in ten change or delete a row of before.
    pub fn write(&mut self, inline_schema: bool, now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
        if inline_schema {
            row.unknown("schema", &SCHEMA);
            row.open("payload");
        }
        let kind = if self.kept.is_empty() { 9 } else { random.below(10) };
        let (operation, subject) = match kind {
            0 => {
                let place = random.below(self.kept.len() as u64) as usize;
                let gone = self.kept.swap_remove_back(place).expect("it is one of those that are kept");
                row_of(Some(&gone), "before", row);
                row_of(None, "after", row);
                ("d", gone)
            }
            1 => {
                let place = random.below(self.kept.len() as u64) as usize;
                let before = self.kept[place].clone();
                self.kept[place].change();
                row_of(Some(&before), "before", row);
                row_of(Some(&self.kept[place]), "after", row);
                ("u", before)
            }
            _ => {
                let new = self.next_row();
                row_of(None, "before", row);
                row_of(Some(&new), "after", row);
                self.keep(new.clone());
                ("c", new)
            }
        };
        self.written += 1;
        self.source(&subject, now_ms, row);
        row.null_of("transaction", TRANSACTION_LEAVES);
        row.string("op", operation);
        row.integer("ts_ms", now_ms + 5);
        if inline_schema {
            row.close();
        }
    }

    fn keep(&mut self, subject: Subject) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(subject);
    }

    /// An order, then its lines, then the next order.
    fn next_row(&mut self) -> Subject {
        if let Some(line) = self.lines.next_if(|line| line.l_orderkey == self.order_key) {
            return Subject::Line(Box::new(line));
        }
        let order = self.orders.next().unwrap_or_else(|| {
            self.part = 1 + self.part % SCALE;
            (self.orders, self.lines) = tables(self.part);
            self.orders.next().expect("each part has orders")
        });
        self.order_key = order.o_orderkey;
        Subject::Order(Box::new(order))
    }

    fn source(&self, subject: &Subject, now_ms: i64, row: &mut Row<'_>) {
        row.open("source");
        row.string("version", "3.3.1.Final");
        row.string("connector", "postgresql");
        row.string("name", "shop");
        row.integer("ts_ms", now_ms);
        row.string("snapshot", "false");
        row.string("db", "tpch");
        let position = 30_000_000_000 + 120 * self.written;
        row.string("sequence", &format!("[\"{}\",\"{position}\"]", position - 56));
        row.string("schema", "public");
        row.string("table", if matches!(subject, Subject::Order(_)) { "orders" } else { "lineitem" });
        row.integer("txId", 700_000 + self.written / 5);
        row.integer("lsn", position);
        row.close();
    }
}

type Tables = (OrderGeneratorIterator<'static>, std::iter::Peekable<LineItemGeneratorIterator<'static>>);

fn tables(part: i32) -> Tables {
    let (scale, distributions) = (f64::from(SCALE), Distributions::static_default());
    let orders =
        OrderGenerator::new_with_distributions_and_text_pool(scale, part, SCALE, distributions, &TEXT);
    let lines =
        LineItemGenerator::new_with_distributions_and_text_pool(scale, part, SCALE, distributions, &TEXT);
    (orders.iter(), lines.iter().peekable())
}

impl Subject {
    /// What an update does: an order is paid, a line is shipped.
    fn change(&mut self) {
        match self {
            Subject::Order(order) => order.o_shippriority += 1,
            Subject::Line(line) => line.l_quantity += 1,
        }
    }
}

fn row_of(subject: Option<&Subject>, name: &str, row: &mut Row<'_>) {
    match subject {
        None => row.null_of(name, ORDER_LEAVES + LINE_LEAVES),
        Some(Subject::Order(order)) => {
            row.open(name);
            write_order(order, row);
            row.absent(LINE_LEAVES);
            row.close();
        }
        Some(Subject::Line(line)) => {
            row.open(name);
            row.absent(ORDER_LEAVES);
            write_line(line, row);
            row.close();
        }
    }
}

fn write_order(order: &Order<'_>, row: &mut Row<'_>) {
    row.integer("o_orderkey", order.o_orderkey);
    row.integer("o_custkey", order.o_custkey);
    row.string("o_orderstatus", &order.o_orderstatus.to_string());
    row.verbatim("o_totalprice", format_args!("{}", order.o_totalprice));
    row.verbatim("o_orderdate", format_args!("{}", order.o_orderdate));
    row.string("o_orderpriority", order.o_orderpriority);
    row.string("o_clerk", &order.o_clerk.to_string());
    row.integer("o_shippriority", i64::from(order.o_shippriority));
    row.string("o_comment", order.o_comment);
}

fn write_line(line: &LineItem<'_>, row: &mut Row<'_>) {
    row.integer("l_orderkey", line.l_orderkey);
    row.integer("l_partkey", line.l_partkey);
    row.integer("l_suppkey", line.l_suppkey);
    row.integer("l_linenumber", i64::from(line.l_linenumber));
    row.verbatim("l_quantity", format_args!("{}.00", line.l_quantity));
    row.verbatim("l_extendedprice", format_args!("{}", line.l_extendedprice));
    row.verbatim("l_discount", format_args!("{}", line.l_discount));
    row.verbatim("l_tax", format_args!("{}", line.l_tax));
    row.string("l_returnflag", line.l_returnflag);
    row.string("l_linestatus", line.l_linestatus);
    row.verbatim("l_shipdate", format_args!("{}", line.l_shipdate));
    row.verbatim("l_commitdate", format_args!("{}", line.l_commitdate));
    row.verbatim("l_receiptdate", format_args!("{}", line.l_receiptdate));
    row.string("l_shipinstruct", line.l_shipinstruct);
    row.string("l_shipmode", line.l_shipmode);
    row.string("l_comment", line.l_comment);
}

/// Kafka Connect's schema of the envelope.
static SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let columns = connect_fields(COLUMNS);
    let source = "version: STRING, connector: STRING, name: STRING, ts_ms: BIGINT, snapshot: STRING, db: STRING, \
                  sequence: STRING, schema: STRING, table: STRING, txId: BIGINT, lsn: BIGINT";
    let mut fields = Vec::new();
    for name in ["before", "after"] {
        fields.push(format!(
            r#"{{"type":"struct","fields":[{columns}],"optional":true,"name":"shop.public.Value","field":"{name}"}}"#
        ));
    }
    fields.push(format!(
        r#"{{"type":"struct","fields":[{}],"optional":false,"name":"io.debezium.connector.postgresql.Source","field":"source"}}"#,
        connect_fields(source)
    ));
    fields.push(connect_fields("op: STRING, ts_ms: BIGINT"));
    format!(
        r#"{{"type":"struct","fields":[{}],"optional":false,"name":"shop.public.Envelope","version":2}}"#,
        fields.join(",")
    )
});

fn connect_fields(columns: &str) -> String {
    let mut text = String::new();
    // A decimal's comma stands before a space and a digit.
    for column in columns.replace(", 2)", ")").split(", ") {
        let (name, kind) = column.split_once(": ").expect("a name and a type");
        let kind = match kind {
            "BIGINT" => "int64",
            "INT" => "int32",
            _ => "string",
        };
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, r#"{comma}{{"type":"{kind}","optional":true,"field":"{name}"}}"#)
            .expect("writing to a string does not fail");
    }
    text
}
