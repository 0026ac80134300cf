"""Breaches of the rules, found by looking: in client settings, in a group, on a cluster; of any application.

Owns: what is looked at, and what each finding says. Must not know: Tallystick's runtime; the settings and groups may be
anybody's.
"""
