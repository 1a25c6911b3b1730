world.table(("id", "long"), ("name", "string"))
world.log_file(f"{0:020}.json").write_text('{"protocol":{"minRea')
