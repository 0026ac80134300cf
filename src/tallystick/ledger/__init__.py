"""Money and the double-entry journal.

Owns: amounts in minor units, journal transactions that sum to zero, the tables that keep them so, and the lines of an
outside statement. Must not know: what is billed, or who posts and why.
"""
