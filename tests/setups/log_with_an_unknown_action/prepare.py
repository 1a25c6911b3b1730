world.table(("id", "long"), ("name", "string"), more=[{"teleport": {"to": "elsewhere"}}])
