world.table(("id", "long"), ("name", "string"), protocol=(2, 5), properties={"delta.columnMapping.mode": "name"})
