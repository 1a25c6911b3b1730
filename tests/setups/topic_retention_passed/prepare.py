world.topic(records=10)
world.thalweg()
world.produce(range(10, 30))
world.delete_records(before=20)
