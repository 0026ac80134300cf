"""What ``make run`` and ``tallystick demo`` do: where the parts are wired together and then broken on purpose.

Owns: the order of a demonstration, its kills and its screen. Must not know: how any part works inside.
"""
