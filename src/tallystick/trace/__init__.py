"""One event, wherever it went: topics, groups, SQL, a provider, its settlement file.

Owns: where an event is looked for, and the timeline. Must not know: the application; it follows ids alone.
"""
