"""Filters of every reader against the rows that a table holds.

usage: filters.py TABLE

Each value of each column, at the top and in the struct `s`, is asked for by
`=`, `<=` and `>=`. A reader that finds another number of rows than there are
was led astray by statistics: it is named, and the exit code is 1.
"""

import json
import operator
import sys

import deltalake
import lake
import polars
import pyarrow
import pyarrow.compute as compute

OPERATORS = {"=": operator.eq, "<=": operator.le, ">=": operator.ge}
COUNTED = {"=": compute.equal, "<=": compute.less_equal, ">=": compute.greater_equal}


def columns(rows):
    """Each column: its path, and its values."""
    for name in rows.column_names:
        values = rows[name].combine_chunks()
        if pyarrow.types.is_struct(values.type):
            for member in values.type:
                yield (name, member.name), compute.struct_field(values, member.name)
        else:
            yield (name,), values


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("table")
    place = parser.parse_args().table
    table = deltalake.DeltaTable(place)
    rows, dataset, lazy = table.to_pyarrow_table(), table.to_pyarrow_dataset(), polars.scan_delta(place)
    duckdb = lake.duck()
    wrong, asked = [], 0
    for path, values in columns(rows):
        column = polars.col(path[0])
        for member in path[1:]:
            column = column.struct.field(member)
        name = ".".join(path)
        kind = polars.from_arrow(values.slice(0, 0)).dtype
        for value in set(values.drop_null().to_pylist()):
            scalar = pyarrow.scalar(value, type=values.type)
            for sign, compare in OPERATORS.items():
                there = compute.sum(COUNTED[sign](values, scalar)).as_py() or 0
                found = {
                    "deltalake": dataset.to_table(filter=compare(compute.field(*path), scalar)).num_rows,
                    "polars": lazy.filter(compare(column, polars.lit(value, dtype=kind))).select(polars.len()).collect().item(),
                    "duckdb": duckdb.execute(
                        f"SELECT count(*) FROM delta_scan({lake.literal(place)}) WHERE {name} {sign} ?", [value]
                    ).fetchone()[0],
                }
                asked += 1
                wrong += [
                    f"{reader}: {name} {sign} {value!r} finds {count} rows of {there}"
                    for reader, count in found.items()
                    if count != there
                ]
    for one in wrong:
        print(one, file=sys.stderr)
    print(json.dumps({"asked": asked, "wrong": len(wrong)}))
    return 1 if wrong else 0


if __name__ == "__main__":
    lake.run(main)
