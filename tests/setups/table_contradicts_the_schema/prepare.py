world.table(("id", "integer"), ("name", "string"))
