world.topic(records=10)
world.thalweg()
world.delete_topic()
world.topic(records=10)
