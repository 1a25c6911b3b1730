world.table(("id", "long"), ("name", "string"), ("day", "date", {"delta.generationExpression": "CAST(at AS DATE)"}), protocol=(1, 4))
