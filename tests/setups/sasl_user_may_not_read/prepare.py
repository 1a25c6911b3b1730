world.env["USER_PASSWORD"] = "stranger-secret"
