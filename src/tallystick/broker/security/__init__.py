"""Who a client is, what it may do, and over which door it came in: listeners, TLS, SASL, access control lists."""
