world.table(("id", "long"), ("name", "string"))
world.commit(2, {"commitInfo": {"timestamp": 0, "operation": "WRITE"}})
