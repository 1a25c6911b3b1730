world.closed()
