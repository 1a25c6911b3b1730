world.table(("id", "long"), ("name", "string"), properties={"delta.setTransactionRetentionDuration": "interval 7 days"})
