"""What a person types: ``tallystick broker``, ``run``, ``sandbox`` and ``demo``.

Owns: options, help texts, exit codes. Must not know: how anything works; each command imports its part when it runs.
"""
