"""Two sides of records, matched; what is left over; and a certificate that says so.

Owns: control totals, matching rules, breaks, the certificate. Must not know: from which topic, table or file the
records were read: they come in as the plain values of ``ledger.facts`` and ``ledger.statement``.
"""
