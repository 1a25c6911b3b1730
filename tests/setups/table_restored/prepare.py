# Spark's RESTORE to version 0: the files go, every `txn` stays.
import json
world.thalweg()
actions = [json.loads(line) for version in world.versions()
           for line in world.log_file(f"{version:020}.json").read_text().splitlines()]
removed = [{"remove": {"path": action["add"]["path"], "deletionTimestamp": 1, "dataChange": True}}
           for action in actions if "add" in action]
assert removed
info = {"timestamp": 1, "operation": "RESTORE", "operationParameters": {"version": 0}}
world.commit(world.versions()[-1] + 1, {"commitInfo": info}, *removed)
