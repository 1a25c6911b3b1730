world.table(("id", "long"), ("at", "timestamp_ntz"))
