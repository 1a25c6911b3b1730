world.topic()
world.produce(texts=["not JSON", "nor this"])
