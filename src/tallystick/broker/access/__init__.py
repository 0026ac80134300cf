"""What each API needs: which operation on which resource, and what is answered to who may not.

A handler checks nothing. It is called behind a guard that refuses the request, takes rows out of it, or takes rows out
of the response, by the table here. An API without an entry in it is for those who may ALTER the cluster.
"""
