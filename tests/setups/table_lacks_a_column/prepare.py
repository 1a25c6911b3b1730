world.table(("id", "long"))
