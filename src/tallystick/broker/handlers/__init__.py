"""One module per API key, each naming its version range. ``broker.registry`` lists them."""
