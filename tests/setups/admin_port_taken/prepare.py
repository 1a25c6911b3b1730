world.listen()
