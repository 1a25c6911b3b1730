world.in_a_mount("size=64k")
