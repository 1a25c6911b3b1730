world.dir.joinpath("ca.pem").write_text("not a certificate\n")
