world.table(("id", "long"), ("name", "string"), partitioned=["name"])
