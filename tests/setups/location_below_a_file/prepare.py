world.dir.joinpath("file").write_text("")
