"""Exactly-once loops as their projects document them, each a program that ``tallystick verify`` can judge.

Each copies records from ``VERIFY_SOURCE`` to ``VERIFY_SINK``, unchanged, and is started again whenever it ends: what a
project's document leaves to a supervisor, a supervisor does.
"""
