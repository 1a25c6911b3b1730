# The versions before the checkpoint were cleaned up, and then it was lost.
world.table(("id", "long"), ("name", "string"))
world.log_file(f"{0:020}.json").unlink()
world.commit(11, {"commitInfo": {"timestamp": 0, "operation": "WRITE"}})
world.log_file("_last_checkpoint").write_text('{"version":10,"size":4}')
