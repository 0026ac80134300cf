"""What goes wrong on purpose, each fault by its name.

Owns: the faults, what each one needs from the place it strikes, and when they strike. Must not know: who judges.
"""
