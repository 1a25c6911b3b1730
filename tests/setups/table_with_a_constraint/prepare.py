world.table(("id", "long"), ("name", "string"), protocol=(1, 3), properties={"delta.constraints.positive": "id > 0"})
