world.env["USER_PASSWORD"] = "canary-0f6c1d"
