"""Adapters: one module for each provider's way of speaking."""
