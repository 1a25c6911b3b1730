world.table(("id", "long"), ("name", "string"), protocol=(4, 8))
