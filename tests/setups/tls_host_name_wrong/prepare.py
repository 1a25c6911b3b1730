world.env["USER_PASSWORD"] = "thalweg-secret"
