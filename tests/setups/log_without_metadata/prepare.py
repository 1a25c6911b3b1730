world.commit(0, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
