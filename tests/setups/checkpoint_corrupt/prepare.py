world.table(("id", "long"), ("name", "string"))
world.log_file(f"{0:020}.checkpoint.parquet").write_bytes(b"PAR1, and nothing of it")
world.log_file("_last_checkpoint").write_text('{"version":0,"size":2}')
