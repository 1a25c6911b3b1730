world.place.write_text("")
