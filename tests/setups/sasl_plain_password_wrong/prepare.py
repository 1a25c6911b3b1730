world.env["USER_PASSWORD"] = "a wrong one"
