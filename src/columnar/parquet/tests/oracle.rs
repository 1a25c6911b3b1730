//! Our pages against those of the crate's own writer.

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::column::reader::ColumnReader;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;

/// The same rows and row groups, written by `ArrowWriter`, with statistics that follow the same rules.
fn stock(schema: &Schema, batches: &Batches) -> Bytes {
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(128))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema.to_arrow(), options).unwrap();
    let mut columns = Columns::new(schema);
    for (rows, flush) in batches {
        rows.iter().for_each(|row| push_row(&mut columns, row));
        writer.write(&columns.freeze()).unwrap();
        if *flush {
            writer.flush().unwrap();
        }
    }
    writer.into_inner().unwrap().into()
}

/// Definition and repetition levels of every chunk, and its values as text.
fn levels(bytes: &Bytes) -> Vec<(Vec<i16>, Vec<i16>, String)> {
    macro_rules! read {
        ($reader:expr, $slots:expr) => {{
            let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let mut reader = $reader;
            reader.read_records($slots, Some(&mut definition), Some(&mut repetition), &mut values).unwrap();
            (definition, repetition, format!("{values:?}"))
        }};
    }
    let file = SerializedFileReader::new(bytes.clone()).unwrap();
    let mut chunks = Vec::new();
    for at in 0..file.num_row_groups() {
        let row_group = file.get_row_group(at).unwrap();
        for leaf in 0..row_group.num_columns() {
            let slots = row_group.metadata().column(leaf).num_values() as usize;
            chunks.push(match row_group.get_column_reader(leaf).unwrap() {
                ColumnReader::BoolColumnReader(reader) => read!(reader, slots),
                ColumnReader::Int32ColumnReader(reader) => read!(reader, slots),
                ColumnReader::Int64ColumnReader(reader) => read!(reader, slots),
                ColumnReader::FloatColumnReader(reader) => read!(reader, slots),
                ColumnReader::DoubleColumnReader(reader) => read!(reader, slots),
                ColumnReader::ByteArrayColumnReader(reader) => read!(reader, slots),
                ColumnReader::FixedLenByteArrayColumnReader(reader) => read!(reader, slots),
                ColumnReader::Int96ColumnReader(_) => panic!("no type of ours"),
            });
        }
    }
    chunks
}

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    let options = parquet::arrow::arrow_reader::ArrowReaderOptions::new()
        .with_page_index_policy(parquet::file::metadata::PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options).unwrap();
    builder.metadata().as_ref().clone()
}

/// The footer says the same of every chunk.
fn assert_same_footer(ours: &ParquetMetaData, theirs: &ParquetMetaData, context: &Schema) {
    assert_eq!(ours.file_metadata().schema(), theirs.file_metadata().schema());
    assert_eq!(ours.file_metadata().column_orders(), theirs.file_metadata().column_orders());
    assert_eq!(ours.num_row_groups(), theirs.num_row_groups());
    for (our_group, their_group) in ours.row_groups().iter().zip(theirs.row_groups()) {
        assert_eq!(our_group.num_rows(), their_group.num_rows());
        for (our, their) in our_group.columns().iter().zip(their_group.columns()) {
            assert_eq!(our.num_values(), their.num_values(), "{context}");
            assert_eq!(our.statistics(), their.statistics(), "{context}");
        }
    }
}

/// Pages begin at rows, follow one another without gaps, and none is larger than a page and a slice.
fn assert_pages(metadata: &ParquetMetaData, page_rows: usize) {
    let offsets = metadata.offset_index().map_or(&[][..], Vec::as_slice);
    assert_eq!(offsets.len(), metadata.num_row_groups());
    for (group, of_group) in metadata.row_groups().iter().zip(offsets) {
        for (chunk, of_chunk) in group.columns().iter().zip(of_group) {
            let (mut at, mut row) = (chunk.data_page_offset(), 0);
            for page in of_chunk.page_locations() {
                assert_eq!(page.offset, at);
                assert!(page.first_row_index - row < 2 * page_rows as i64);
                (at, row) = (at + i64::from(page.compressed_page_size), page.first_row_index);
            }
            assert!(group.num_rows() - row < 2 * page_rows as i64);
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            assert_eq!(at, start + chunk.compressed_size());
        }
    }
}

proptest! {
    #[test]
    fn any_rows_are_what_the_stock_writer_writes(
        ((schema, batches), page_rows, codec) in (
            model::schema().prop_flat_map(|schema| {
                let batches = batches(&schema);
                (Just(schema), batches)
            }),
            1_usize..20,
            prop_oneof![Just(Compression::Zstd(1)), Just(Compression::Snappy), Just(Compression::None)],
        ),
    ) {
        let encoder = Encoder::new(&schema, codec).unwrap().pages_of(page_rows);
        let theirs = stock(&schema, &batches);
        let first = write_with(encoder, &schema, &batches);
        // What is kept from file to file changes nothing that is read.
        let second = write_with(first.encoder, &schema, &batches);
        for ours in [&first.bytes, &second.bytes] {
            prop_assert_eq!(levels(ours), levels(&theirs), "{}", schema);
            let metadata = metadata(ours);
            assert_same_footer(&metadata, &self::metadata(&theirs), &schema);
            assert_pages(&metadata, page_rows);
        }
        prop_assert_eq!(&first.rows, &all(&batches));
        prop_assert_eq!(&second.rows, &first.rows);
        prop_assert_eq!(first.closed.stats, second.closed.stats);
    }
}

/// Rows of one column from a function of their number.
fn column(ddl: &str, rows: i64, value: impl Fn(i64) -> Value) -> (Schema, Batches) {
    let rows: Vec<Vec<Value>> = (0..rows).map(|row| vec![value(row)]).collect();
    (table(ddl), rows.chunks(4096).map(|rows| (rows.to_vec(), false)).collect())
}

fn encodings((schema, batches): &(Schema, Batches)) -> Vec<Encoding> {
    let written = write(schema, batches, Compression::None);
    assert_eq!(written.rows, all(batches));
    assert_eq!(levels(&written.bytes), levels(&stock(schema, batches)));
    assert_same_footer(&metadata(&written.bytes), &metadata(&stock(schema, batches)), schema);
    let chunk = written.metadata.row_group(0).column(0);
    let mut encodings: Vec<_> = chunk.encodings().filter(|encoding| *encoding != Encoding::RLE).collect();
    encodings.sort();
    encodings
}

fn scrambled(row: i64) -> i64 {
    let mixed = (row + 1).wrapping_mul(0x1E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x3F58_476D_1CE4_E5B9)
}

#[test]
fn the_encoding_follows_from_the_values() {
    use Encoding::{DELTA_BINARY_PACKED, PLAIN, RLE_DICTIONARY};
    let integer = |value: i64| Value::Integer(value.into());
    let text = |value: i64| Value::Text(format!("value number {value}"));
    let rows = 30_000;
    let cases = [
        ("rising ids", column("a BIGINT", rows, |row| integer(10_000_000 + row)), vec![DELTA_BINARY_PACKED]),
        (
            "few integers",
            column("a INT", rows, |row| integer(scrambled(row) >> 60)),
            vec![PLAIN, RLE_DICTIONARY],
        ),
        ("random integers", column("a BIGINT", rows, |row| integer(scrambled(row))), vec![PLAIN]),
        (
            "few doubles",
            column("a DOUBLE", rows, |row| model::float((row % 9) as f64)),
            vec![PLAIN, RLE_DICTIONARY],
        ),
        ("many doubles", column("a DOUBLE", rows, |row| model::float(row as f64)), vec![PLAIN]),
        ("few strings", column("a STRING", rows, |row| text(row % 100)), vec![PLAIN, RLE_DICTIONARY]),
        ("many strings", column("a STRING", rows, text), vec![PLAIN]),
        ("booleans", column("a BOOLEAN", rows, |row| Value::Boolean(row % 3 == 0)), vec![PLAIN]),
        ("nulls", column("a BIGINT", rows, |_| Value::Null), vec![PLAIN]),
        (
            "nulls first",
            column("a BIGINT", 60_000, |row| if row < 30_000 { Value::Null } else { integer(row) }),
            vec![PLAIN, DELTA_BINARY_PACKED],
        ),
    ];
    for (name, rows, mut expected) in cases {
        expected.sort();
        assert_eq!(encodings(&rows), expected, "{name}");
    }
}

#[test]
fn a_dictionary_that_grows_is_given_up_and_its_pages_stay() {
    use Encoding::{DELTA_BINARY_PACKED, PLAIN, RLE_DICTIONARY};
    let few_first = |row: i64| if row < 20_000 { row % 50 } else { row };
    let text = column("a STRING", 90_000, |row| Value::Text(format!("value number {}", few_first(row))));
    assert_eq!(encodings(&text), [PLAIN, RLE_DICTIONARY]);
    let numbers = column("a BIGINT", 200_000, |row| Value::Integer(few_first(row).into()));
    let mut expected = vec![PLAIN, RLE_DICTIONARY, DELTA_BINARY_PACKED];
    expected.sort();
    assert_eq!(encodings(&numbers), expected);

    let first = write(&text.0, &text.1, Compression::None);
    let chunk = first.metadata.row_group(0).column(0);
    let dictionary = chunk.data_page_offset() - chunk.dictionary_page_offset().unwrap();
    assert!((1_000_000..1_200_000).contains(&dictionary), "{dictionary}");
    let second = write_with(first.encoder, &text.0, &text.1);
    let chunk = second.metadata.row_group(0).column(0);
    assert_eq!(chunk.dictionary_page_offset(), None, "it is remembered from file to file");
    assert_eq!(second.rows, first.rows);
}

#[test]
fn a_batch_of_large_values_is_cut_into_pages() {
    let large = |row: i64| Value::Text(format!("{row}").repeat(100_000));
    let (schema, batches) = column("a STRING", 30, large);
    let written = write(&schema, &batches, Compression::Zstd(1));
    assert_eq!(written.rows, all(&batches));
    let metadata = metadata(&written.bytes);
    assert!(metadata.offset_index().unwrap()[0][0].page_locations().len() > 3);
}

#[test]
fn pages_of_numbers_can_be_skipped_by_their_bounds() {
    let (schema, batches) = column("a BIGINT", 100_000, |row| Value::Integer(row.into()));
    let metadata = metadata(&write(&schema, &batches, Compression::None).bytes);
    let index = &metadata.column_index().unwrap()[0][0];
    assert_eq!(index.get_boundary_order(), Some(basic::BoundaryOrder::ASCENDING));
    let ColumnIndexMetaData::INT64(index) = index else { panic!("{index:?}") };
    let pages = metadata.offset_index().unwrap()[0][0].page_locations();
    assert!(pages.len() > 3 && index.num_pages() as usize == pages.len());
    for (at, page) in pages.iter().enumerate() {
        let next = pages.get(at + 1).map_or(100_000, |next| next.first_row_index);
        assert_eq!(index.min_value(at), Some(&page.first_row_index));
        assert_eq!(index.max_value(at), Some(&(next - 1)));
        assert_eq!(index.null_count(at), Some(0));
    }
}
