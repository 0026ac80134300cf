"""What a user's tests need: the pytest plugin. It loads with every pytest run, so nothing is imported at its top."""
