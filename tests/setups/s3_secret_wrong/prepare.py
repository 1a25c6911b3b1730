world.env["S3_SECRET"] = "a wrong one"
