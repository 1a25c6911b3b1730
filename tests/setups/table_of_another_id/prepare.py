config = world.config()
world.thalweg(config=config.replace('"returns"', '"orders"'))
