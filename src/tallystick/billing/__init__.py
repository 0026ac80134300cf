"""Usage becomes rated items, invoices and charges: an application of ``pipeline``, ``boundary`` and ``ledger``.

Owns: what is billed, how it is priced, when it is invoiced and charged, and the invariants that any moment must keep.
Must not know: how it is started, and on which broker or database.
"""
