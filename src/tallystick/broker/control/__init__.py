"""The way from whoever started a broker to that broker: commands about faults and topics, and what comes back."""
