world.as_nobody()
