world.in_a_mount("ro")
