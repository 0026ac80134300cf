"""What a person, a browser and a program read of a verification.

Owns: the pages and tables. Must not know: how a run is made or judged.
"""
