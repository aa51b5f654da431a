"""A search of settings: short trainings side by side within a budget of time, the best of which goes on to the end."""
