world.table(("id", "long"), ("name", "string"), protocol=(3, 7), features=["rowTracking"])
