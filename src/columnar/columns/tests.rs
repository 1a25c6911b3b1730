use arrow::buffer::Buffer;
use proptest::prelude::*;

use super::*;
use crate::columnar::model::{Value, push, push_row, row, rows_of, schema};

#[derive(Clone, Debug)]
enum Action {
    Push,
    /// Fill some of the columns, then take the row back.
    Abandon(usize),
    Truncate(usize),
    /// Have the encoder look at what is there.
    Resolve,
    Recover,
    /// Recover while someone still holds the batch.
    Share,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => Just(Action::Push),
        2 => (0_usize..5).prop_map(Action::Abandon),
        1 => (0_usize..20).prop_map(Action::Truncate),
        1 => Just(Action::Resolve),
        1 => Just(Action::Recover),
        1 => Just(Action::Share),
    ]
}

proptest! {
    #[test]
    fn columns_hold_what_a_list_of_rows_holds(
        (schema, rows) in schema().prop_flat_map(|schema| {
            let rows = proptest::collection::vec(row(&schema), 1..30);
            (Just(schema), rows)
        }),
        actions in proptest::collection::vec(action(), 1..60),
    ) {
        let mut columns = Columns::new(&schema);
        let mut model: Vec<Vec<Value>> = Vec::new();
        let mut source = rows.iter().cycle();
        for action in actions.into_iter().chain([Action::Recover]) {
            match action {
                Action::Push => {
                    let row = source.next().unwrap();
                    push_row(&mut columns, row);
                    model.push(row.clone());
                }
                Action::Abandon(count) => {
                    let row = source.next().unwrap();
                    let (children, at) = columns.open_row();
                    children.iter_mut().zip(row).take(count).for_each(|(column, value)| push(column, value));
                    columns.truncate(at);
                }
                Action::Truncate(rows) => {
                    columns.truncate(rows);
                    model.truncate(rows);
                }
                Action::Resolve => {
                    // What is owed ends a batch as soon as what is written.
                    let used = columns.bytes_used();
                    columns.write_nulls();
                    prop_assert_eq!(columns.bytes_used(), used);
                }
                Action::Recover => {
                    let batch = columns.freeze();
                    prop_assert_eq!(rows_of(&batch), std::mem::take(&mut model));
                    columns.recover(batch);
                }
                Action::Share => {
                    let batch = columns.freeze();
                    let expected = std::mem::take(&mut model);
                    columns.recover(batch.clone());
                    push_row(&mut columns, &rows[0]);
                    model.push(rows[0].clone());
                    prop_assert_eq!(rows_of(&batch), expected, "a shared batch never changes");
                }
            }
            prop_assert_eq!(columns.rows(), model.len());
        }
    }

    #[test]
    fn rows_copied_one_by_one_are_equal(
        (data_type, values) in crate::columnar::model::data_type().prop_flat_map(|data_type| {
            let values = proptest::collection::vec(crate::columnar::model::value(&data_type, true), 1..20);
            (Just(data_type), values)
        }),
    ) {
        let mut source = Column::new(&data_type);
        values.iter().for_each(|value| push(&mut source, value));
        let mut copy = source.empty_like();
        (0..values.len()).for_each(|at| copy.push_from(&source, at));
        let array = copy.freeze(&data_type.to_arrow());
        let read: Vec<Value> = (0..values.len()).map(|at| crate::columnar::model::read(&array, at)).collect();
        prop_assert_eq!(read, values);
    }
}

fn wide() -> Columns {
    let ddl = "b BOOLEAN, l BIGINT, d DECIMAL(10, 2), s STRING, x BINARY, a ARRAY<STRUCT<v: INT>>, \
               m MAP<STRING, DOUBLE>, t TIMESTAMP";
    Columns::new(&Schema::from_ddl(ddl).unwrap())
}

fn wide_row() -> Vec<Value> {
    let one = Value::Integer(1);
    vec![
        Value::Boolean(true),
        one.clone(),
        one.clone(),
        Value::Text("text".into()),
        Value::Bytes(vec![1, 2]),
        Value::List(vec![Value::Row(vec![one.clone()]), Value::Null]),
        Value::Map(vec![(Value::Text("k".into()), crate::columnar::model::float(1.0))]),
        one,
    ]
}

/// Where every buffer of an array and its children lies.
fn addresses(array: &ArrayRef) -> Vec<*const u8> {
    fn collect(data: &arrow::array::ArrayData, out: &mut Vec<*const u8>) {
        out.extend(data.nulls().map(|nulls| nulls.buffer().as_ptr()));
        out.extend(data.buffers().iter().map(Buffer::as_ptr));
        data.child_data().iter().for_each(|child| collect(child, out));
    }
    let mut out = Vec::new();
    collect(&array.to_data(), &mut out);
    out
}

#[test]
fn a_written_batch_gives_every_buffer_back() {
    let mut columns = wide();
    let fill = |columns: &mut Columns| {
        for _ in 0..100 {
            push_row(columns, &wide_row());
            push_row(columns, &vec![Value::Null; 8]);
        }
        columns.freeze()
    };
    let first = fill(&mut columns);
    let before: Vec<_> = first.columns().iter().flat_map(addresses).collect();
    columns.recover(first);
    let held = columns.bytes();
    let second = fill(&mut columns);
    let after: Vec<_> = second.columns().iter().flat_map(addresses).collect();
    assert_eq!(before, after, "the second batch lies where the first did");
    columns.recover(second);
    assert_eq!(columns.bytes(), held);
    assert!(held > 200 * 8);
}

#[test]
fn without_nulls_there_is_no_bitmap() {
    let mut columns = wide();
    push_row(&mut columns, &vec![Value::Null; 8]);
    columns.truncate(0);
    push_row(&mut columns, &wide_row());
    let batch = columns.freeze();
    assert!(batch.columns().iter().all(|column| column.nulls().is_none()));
}

#[test]
fn memory_that_is_shared_or_late_is_left_alone() {
    let mut columns = wide();
    push_row(&mut columns, &wide_row());
    let batch = columns.freeze();
    columns.recover(batch.clone());
    assert_eq!(columns.bytes_used(), 5 * 4, "only the leading zero of each list of offsets");
    push_row(&mut columns, &wide_row());
    columns.recover(batch);
    assert_eq!(rows_of(&columns.freeze()), vec![wide_row()]);
}
