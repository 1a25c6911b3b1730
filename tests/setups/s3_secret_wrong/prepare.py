world.env["S3_SECRET"] = "canary-0f6c1d"
